"""The bias of the client on this machine: its times compared with the true times of a test server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from evalkit.analysis import client_trust
from evalkit.endpoint import Endpoint
from evalkit.engine.session_thread import Watcher
from evalkit.errors import SettingsError
from evalkit.evaluation import evaluate
from evalkit.runfile import store
from evalkit.runfile.store import SUFFIX
from evalkit.scripted.server import Law, Numbered, Script, ScriptedHandle, serve
from evalkit.stats import quantiles
from evalkit.stats.estimate import Estimate

LAW = Law(ttft_ms=50, itl_ms=10, tokens=20)
STREAMS = (1, 16, 64, 256)
TURNS_A_STREAM = 8
LEAST_TURNS = 20
_NS_PER_MS = 1e6
_QUANTILES = {"p50": 0.5, "p99": 0.99}
_TURNS = """
    SELECT t.answer, t.ttft_ns, t.latency_ns FROM turn t JOIN attempt a USING (conversation, repeat, turn)
    WHERE t.status = 'answered' AND t.attempts = 1 AND NOT a.connection_opened"""


@dataclass(frozen=True, slots=True)
class Level:
    """The bias at one number of parallel streams.

    Parameters
    ----------
    streams : int
        Streams open in parallel.
    turns : int
        Number of turns compared: each on a connection that was open before.
    ttft_error_ms, latency_error_ms : dict
        ``p50`` and ``p99`` to Estimate of the client's time minus the server's time of the same request, in ms; p99 is
        missing below 100 turns.
    ttft_ms : float or None
        Median of the client's TTFT.
    loop_lag_p99_ms : float or None
        p99 of the client's event-loop lag.
    cpu_share : float or None
        CPU time of the client, as a share of one core.
    server_late_p99_ms : float or None
        How late the server was against its own schedule. The server records when it really sent, so the errors do not
        include this.
    client_bound : bool or None
        Whether the client limited the times: see ``analysis.client_trust.client_bound``.
    """

    streams: int
    turns: int
    ttft_error_ms: dict[str, Estimate]
    latency_error_ms: dict[str, Estimate]
    ttft_ms: float | None
    loop_lag_p99_ms: float | None
    cpu_share: float | None
    server_late_p99_ms: float | None
    client_bound: bool | None

    def sentence(self) -> str:
        """The bias in a sentence: "TTFT +0.4 ms, p99 +1.1 ms at 64 streams, this machine"."""
        shown = [
            f"{'' if name == 'p50' else 'p99 '}{value:+.2g} ms"
            for name in _QUANTILES
            if (value := self.ttft_error_ms[name].value) is not None
        ]
        streams = "1 stream" if self.streams == 1 else f"{self.streams} streams"
        return f"TTFT {', '.join(shown) or 'not measured'} at {streams}, this machine"

    def to_json(self) -> dict[str, Any]:
        """One row of ``--json``."""
        return {
            "streams": self.streams,
            "turns": self.turns,
            "ttft_error_ms": {name: each.value for name, each in self.ttft_error_ms.items()},
            "latency_error_ms": {name: each.value for name, each in self.latency_error_ms.items()},
            "ttft_ms": self.ttft_ms,
            "loop_lag_p99_ms": self.loop_lag_p99_ms,
            "cpu_share": self.cpu_share,
            "server_late_p99_ms": self.server_late_p99_ms,
            "client_bound": self.client_bound,
        }


@dataclass(frozen=True, slots=True)
class Calibration:
    """The bias at each number of streams, in rising order; only complete levels if the user ``stopped`` it."""

    levels: tuple[Level, ...]
    stopped: bool = False

    @property
    def trusted_streams(self) -> int | None:
        """The most streams at which the client does not limit the times; None: it does at the fewest already."""
        trusted = None
        for level in self.levels:
            if level.client_bound is not False:
                break
            trusted = level.streams
        return trusted

    def to_json(self) -> dict[str, Any]:
        """The object that ``evalkit calibrate --json`` prints; missing values are None."""
        return {
            "law": {"ttft_ms": LAW.ttft_ms, "itl_ms": LAW.itl_ms, "tokens": LAW.tokens},
            "levels": [level.to_json() for level in self.levels],
            "trusted_streams": self.trusted_streams,
            "stopped": self.stopped,
        }


def calibrate(streams: Sequence[int] = STREAMS, watch: Watcher | None = None) -> Calibration:
    """Run against the bundled test server, and compare the times of each turn with those that the server recorded.

    The runs are ordinary: real HTTP, a run file in a temporary folder, connections that are already open. The server,
    in a process of its own on this machine, takes 50 ms to the first of 20 tokens and 10 ms to each later one. All
    streams start together and stay in step, so that their tokens arrive in bursts: this is the hard case.

    Parameters
    ----------
    streams : sequence of int
        Number of parallel streams at each level, in rising order.
    watch : callable, optional
        Called with the ``Progress`` of the running level about ten times per second; when it returns ``True``, the
        result ends with the level before.

    Raises
    ------
    SettingsError
        ``streams`` is empty, not rising, or holds something other than whole numbers above 0.
    """
    levels = tuple(streams)
    rising = all(few < many for few, many in pairwise(levels))
    if not levels or not rising or any(type(each) is not int or each < 1 for each in levels):
        shown = ", ".join(map(str, levels)) or "none"
        raise SettingsError(f"streams are {shown}: give whole numbers in rising order, such as 1,16,64,256")
    measured: list[Level] = []
    with TemporaryDirectory(prefix="evalkit-calibrate-") as folder:
        for each in levels:
            level = _level(Path(folder), each, watch)
            if level is None:
                return Calibration(tuple(measured), stopped=True)
            measured.append(level)
    return Calibration(tuple(measured))


def _level(folder: Path, streams: int, watch: Watcher | None) -> Level | None:
    """Measure one level; None: the user stopped it."""
    path = folder / f"streams-{streams}{SUFFIX}"
    turns = max(streams * TURNS_A_STREAM, LEAST_TURNS) + streams
    with _server() as server:
        endpoint = Endpoint(server.base_url, server.model)
        run = evaluate(_dataset(folder, turns), endpoint, out=path, watch=watch, concurrency=streams, retries=0)
        if run.outcome == "stopped":
            return None
        truth = {entry.number: entry for entry in server.log()}
    with store.reading(path) as connection:
        rows = connection.execute(_TURNS).fetchall()
        trust = orjson.loads(connection.execute("SELECT trust FROM session").fetchone()[0])
    ttft, latency, late = [], [], []
    for answer, ttft_ns, latency_ns in rows:
        entry = truth[int(answer.split(maxsplit=1)[0])]
        if entry.first_ns is not None and entry.last_ns is not None:
            ttft.append((ttft_ns, entry.first_ns - entry.received_ns))
            latency.append((latency_ns, entry.last_ns - entry.received_ns))
            late.append(entry.late_ns)
    client_ttft = _ms([measured for measured, _ in ttft])
    median = float(np.median(client_ttft)) if len(client_ttft) else None
    return Level(
        streams=streams,
        turns=len(ttft),
        ttft_error_ms=_errors(ttft),
        latency_error_ms=_errors(latency),
        ttft_ms=median,
        loop_lag_p99_ms=trust["loop_lag_p99_ms"],
        cpu_share=trust["cpu_share"],
        server_late_p99_ms=quantiles.quantile(_ms(late), 0.99).value,
        client_bound=client_trust.client_bound(trust["loop_lag_p99_ms"], median),
    )


@contextmanager
def _server() -> Iterator[ScriptedHandle]:
    # a new server for each level: the numbers in its answers start at 1
    with serve(Script(law=LAW, answer=Numbered(LAW.tokens)), process=True) as server:
        yield server


def _dataset(folder: Path, rows: int) -> Path:
    path = folder / f"{rows}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"id": f"{n}", "turns": [{"user": f"Question {n}"}]}) + "\n" for n in range(rows))
    return path


def _errors(pairs: Sequence[tuple[int, int]]) -> dict[str, Estimate]:
    errors = _ms([measured - true for measured, true in pairs])
    return {name: quantiles.quantile(errors, q) for name, q in _QUANTILES.items()}


def _ms(nanoseconds: Sequence[int]) -> NDArray[np.float64]:
    return np.array(nanoseconds, dtype=np.float64) / _NS_PER_MS
