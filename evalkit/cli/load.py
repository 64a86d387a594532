"""The commands that put load on an endpoint, or on this client itself: ``load`` and ``calibrate``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from evalkit.cli import shared_flags
from evalkit.errors import SettingsError

T = TypeVar("T", int, float)


def add_load(commands: Any) -> None:
    """``evalkit load``."""
    parser = shared_flags.command(
        commands, "load", load,
        "Ask a dataset under one load after another: throughput, times and accuracy, until the endpoint gives no more.",
        "evalkit load data/primary_math.jsonl --concurrency 1,2,4,8 --slo ttft=200ms,tpot=50ms --max-tokens 64",
    )  # fmt: skip
    parser.add_argument("data", type=Path, metavar="DATA", help="dataset: .jsonl, .json or .csv")
    shared_flags.add_endpoint(parser)
    shared_flags.add_sampling(parser)
    how = parser.add_argument_group("the load")
    how.add_argument(
        "--concurrency", metavar="N,N,…", help="conversations at once, step by step (default: 1,2,4,… till saturation)"
    )
    how.add_argument("--rate", metavar="R,R,…", help="or conversations begun a second, step by step")
    how.add_argument(
        "--arrivals", choices=("constant", "poisson"),
        help="with --rate: the gaps between them (default: constant)",
    )  # fmt: skip
    shared_flags.add_seed(how)
    how.add_argument("--slo", metavar="METRIC=TIME,…", help="objectives of a turn: ttft=200ms,tpot=50ms,latency=2s")
    how.add_argument(
        "--warm-up", type=int, metavar="N",
        help="conversations left out first (default: as many as are at once; with --rate a second's worth)",
    )  # fmt: skip
    how.add_argument(
        "--per-step", type=int, metavar="N",
        help="conversations of a step after those (default: 4 times those at once, 10 seconds of a rate; 20 at least)",
    )  # fmt: skip
    how.add_argument("--step-time", type=float, metavar="S", help="or seconds of a step")
    how.add_argument(
        "--out", type=Path, metavar="FOLDER", help="for the run files (default: runs/load-DATA-MODEL-TIME)"
    )
    shared_flags.add_json(parser)


def add_calibrate(commands: Any) -> None:
    """``evalkit calibrate``."""
    parser = shared_flags.command(
        commands, "calibrate", calibrate,
        "Measure what this client itself adds to the times on this machine, against a server that knows the truth.",
        "evalkit calibrate --streams 1,16,64,256",
    )  # fmt: skip
    parser.add_argument("--streams", metavar="N,N,…", help="streams at once, level by level (default: 1,16,64,256)")
    shared_flags.add_json(parser)


def load(parsed: argparse.Namespace) -> int:
    """``evalkit load``."""
    from evalkit.console.load import show_sweep
    from evalkit.console.terminal import output, say, tell, watching
    from evalkit.datasets import reader
    from evalkit.loadtest import sweep
    from evalkit.loadtest.slo import Slo
    from evalkit.runfile import file_names

    how: dict[str, Any] = {
        "concurrency": _numbers(parsed.concurrency, "--concurrency", int),
        "rate": _numbers(parsed.rate, "--rate", float),
        "arrivals": shared_flags.arrivals(parsed),
        "warm_up": parsed.warm_up,
        "per_step": parsed.per_step,
        "step_time_s": parsed.step_time,
        "seed": parsed.arrivals_seed,
    }
    # what is wrong here is said before a model is started for it
    sweep.Plan.of(**how)
    slo = Slo.of(parsed.slo)
    if parsed.no_stream and (unknown := [name for name in ("ttft", "tpot") if name in slo.limits_ms]):
        raise SettingsError(f"--slo {unknown[0]} and --no-stream exclude each other: a whole answer has no such time")
    next(iter(reader.read(parsed.data, limit=1)), None)
    cut_short: list[sweep.Sweep] = []

    def tell_of(done: sweep.Sweep) -> None:
        if parsed.json:
            tell(done.to_json())
        else:
            show_sweep(output(), done)

    with (
        shared_flags.endpoint(parsed) as endpoint,
        file_names.new_load_folder(parsed.data, endpoint.model, out=parsed.out) as folder,
    ):
        try:
            with watching() as watch:
                done = sweep.load(
                    parsed.data, endpoint, slo=slo, out=folder, watch=watch, stream=not parsed.no_stream,
                    interrupted=cut_short.append, **how,
                )  # fmt: skip
        except KeyboardInterrupt:
            if any(folder.glob(f"*{file_names.SUFFIX}")):
                say(f"stopped. The steps so far are in {folder}, a run file each: evalkit show {folder}/…")
            for done in cut_short:
                if done.measured:
                    tell_of(done)
            raise
    tell_of(done)
    return 1 if any(step.failed for step in done.measured) else 0


def calibrate(parsed: argparse.Namespace) -> int:
    """``evalkit calibrate``."""
    from evalkit.checkup import client_bias
    from evalkit.console.load import show_calibration
    from evalkit.console.terminal import output, tell, watching

    streams = _numbers(parsed.streams, "--streams", int)
    with watching() as watch:
        done = client_bias.calibrate(client_bias.STREAMS if streams is None else streams, watch)
    if parsed.json:
        tell(done.to_json())
    else:
        show_calibration(output(), done)
    return 0


def _numbers(text: str | None, flag: str, kind: Callable[[str], T]) -> tuple[T, ...] | None:
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise SettingsError(f"{flag} {text!r}: write {what} with commas between, such as {flag} 1,2,4,8") from None
