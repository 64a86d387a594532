"""Every fault of network or server in whole runs: what is retried, what is recorded, which message the user reads.

The table is that of ``faulttable``. All faults of one way of asking are met in one run, each tied to the prompt of a
conversation of its own: one that meets it each time, and one that meets it the first time only.
"""

import asyncio
import json
import re
import socket
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import loops
import pytest
import uvloop
from faulttable import (
    ALL,
    CASES,
    FLOOD,
    HUGE,
    MOVED,
    REFUSED,
    RESET,
    REUSED,
    TEXT,
    TOTAL_S,
    TTFT_S,
    Case,
    masked,
    page_table,
)  # fmt: skip
from raw_server import RawServer, send, streams

import evalkit as ek
from evalkit.client.transport import Transport
from evalkit.engine.pacing.incomplete_answers import LOST_ON_REUSE
from evalkit.runfile import store
from evalkit.scripted.server import Fault, Law, Script, serve

pytest_generate_tests = loops.pytest_generate_tests
KEY = "tkQ7Zx2Wb9Lm4Rt6Yc8Nv1Hp3Js5Gd0K"
LIMITS = {"timeout_s": TOTAL_S, "ttft_timeout_s": TTFT_S}
RUNFILE_LIMIT = 8 * 2**20
PLAIN = "plain"
NAME = "flips.example"
WAYS = [True, False]
WAY_NAMES = ["stream", "whole"]


def prompt(name):
    return f"<{name}>"


def fault(case, name, times=None):
    return Fault(case.fault, prompt=prompt(name), times=times, options=case.options)


def ask_all(faults, names, *, stream, limits=LIMITS, retries=1, concurrency=1):
    """A run over a conversation for each name: what it recorded, and what the server saw."""
    with TemporaryDirectory() as folder, serve(Script(law=Law(tokens=6), faults=faults), process=True) as server:
        data, out = Path(folder, "data.jsonl"), Path(folder, "run.evalkit")
        rows = [{"id": name, "turns": [{"user": prompt(name)}]} for name in names]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        endpoint = ek.Endpoint(server.base_url, server.model, **limits)
        done = ek.evaluate(
            data, endpoint, out=out, stream=stream, retries=retries, concurrency=concurrency
        )  # fmt: skip
        return SimpleNamespace(
            outcome=done.outcome, base_url=server.base_url, stats=server.stats(), log=server.log(),
            size=out.stat().st_size, names=names, told=done.failures(100), **recorded(out),
        )  # fmt: skip


def recorded(out):
    """The rows of a run file by conversation."""
    found = {"turns": {}, "attempts": {}}
    for table, order in (("turn", "turn"), ("attempt", "attempt.id")):
        connection = store.open_to_read(out)
        cursor = connection.execute(
            f"SELECT c.id AS name, {table}.* FROM {table} JOIN conversation c ON position = conversation "
            f"ORDER BY {order}"
        )
        columns = [column[0] for column in cursor.description]
        for row in cursor:
            found[f"{table}s"].setdefault(row[0], []).append(SimpleNamespace(**dict(zip(columns, row, strict=True))))
        connection.close()
    return found


@cache
def met(stream):
    """The run that meets all faults of the table."""
    cases = [case for case in CASES if case.end(stream)]
    passing = [case for case in cases if case.end(stream).again]
    faults = [fault(case, case.name) for case in cases]
    faults += [fault(case, f"{case.name}, once", times=1) for case in passing]
    # retries are a share of all first tries: a run that only fails would be left without
    healthy = [f"healthy {number}" for number in range(300)]
    names = [PLAIN, *healthy, *(case.name for case in cases), *(f"{case.name}, once" for case in passing)]
    return ask_all(faults, names, stream=stream, concurrency=len(names))


def ways(cases):
    """(case, whether a stream is asked for) of all that there is, for ``parametrize``."""
    return [
        pytest.param(case, stream, id=f"{case.name}-{name}")
        for case in cases
        for stream, name in zip(WAYS, WAY_NAMES, strict=True)
        if case.end(stream)
    ]


def check_end(done, case: Case, name: str, stream: bool, tries: int):
    """That the turn ended as the table says."""
    end = case.end(stream)
    (turn,) = done.turns[name]
    attempts = done.attempts[name]
    assert turn.error_kind == end.kind
    assert turn.status == ("answered" if end.kind is None else "error")
    assert turn.http_status == end.status
    assert_text(turn.answer, end.text)
    assert (turn.ttft_ns is not None) == (stream and end.ttft)
    assert (turn.latency_ns is not None) == (end.kind is None)
    assert (turn.censored_ns is not None) == (end.kind == "timeout")
    assert (turn.error_message is None) == (end.kind is None)
    if end.kind is not None:
        said = masked(turn.error_message, done.base_url)
        assert (re.sub(r"wait \S+ s", "wait N s", said) if "wait N s" in end.message else said) == end.message
        assert turn.error_message in {attempt.error_message for attempt in attempts}
    assert turn.attempts == len(attempts) == tries
    assert [attempt.number for attempt in attempts] == [*range(1, tries + 1)]
    for attempt in attempts:
        assert (attempt.error_kind, attempt.http_status) == (end.kind, end.status)
        if end.kind is not None:
            assert_text(attempt.partial, end.text)


def assert_text(text, expected):
    if expected.endswith("…"):
        assert text.startswith(expected[:-1])
    else:
        assert (text or "") == expected


def entries(done, name):
    """What the server saw of a conversation."""
    return [entry for entry in done.log if entry.prompt == prompt(name)]


@pytest.mark.parametrize(("case", "stream"), ways(CASES))
def test_a_permanent_fault(case, stream):
    done, end = met(stream), case.end(stream)
    check_end(done, case, case.name, stream, tries=(2 if end.again else 1) + end.cause)
    seen = entries(done, case.name)
    assert len(seen) == len(done.attempts[case.name]) * case.requests
    assert {entry.fault for entry in seen} - {None} == {case.fault}
    if end.kind is None:
        assert end.flag in (*done.turns[case.name][0].flags.split(), "")


@pytest.mark.parametrize(("case", "stream"), [way for way in ways(CASES) if way.values[0].end(way.values[1]).again])
def test_a_temporary_fault(case, stream):
    done, name = met(stream), f"{case.name}, once"
    (turn,), (bad, good) = done.turns[name], done.attempts[name]
    assert (turn.status, turn.answer, turn.attempts) == ("answered", TEXT, 2)
    assert (bad.error_kind, good.error_kind) == (case.end(stream).kind, None)
    first, second = entries(done, name)
    assert (first.fault, second.fault) == (case.fault, None)
    # the turn's times are those of the good attempt: neither the failed one nor the wait is in them
    assert good.sent_ns - bad.end_ns >= case.wait_s * 1e9
    assert second.received_ns - first.received_ns >= case.wait_s * 1e9
    assert turn.sent_ns == good.sent_ns
    assert 0 < turn.latency_ns <= good.end_ns - good.sent_ns
    assert (turn.ttft_ns is not None) == stream
    assert turn.turn_time_ns == good.end_ns - bad.due_ns >= turn.latency_ns + case.wait_s * 1e9


@pytest.mark.parametrize("stream", WAYS, ids=WAY_NAMES)
def test_nothing_is_lost_or_counted_twice(stream):
    done = met(stream)
    assert done.outcome == "done"
    assert sorted(done.turns) == sorted(done.names)
    assert {len(rows) for rows in done.turns.values()} == {1}
    (plain,) = done.turns[PLAIN]
    assert (plain.status, plain.answer, plain.attempts) == ("answered", TEXT, 1)
    requests = {case.name: case.requests for case in CASES}
    asked = sum(requests.get(name, 1) * len(rows) for name, rows in done.attempts.items())
    assert asked == done.stats["requests"] == len(done.log)
    kinds = Counter(rows[0].error_kind for rows in done.turns.values() if rows[0].status == "error")
    assert count(done.told) == kinds
    for rows in done.attempts.values():
        for earlier, later in pairwise(rows):
            assert earlier.end_ns <= later.due_ns <= later.slot_ns <= later.sent_ns


def count(told):
    """Failures by kind, as a run tells them."""
    found = Counter()
    for kind, _, number in told:
        found[kind] += number
    return found


# ---- what connections there are decides


@pytest.mark.parametrize("stream", WAYS, ids=WAY_NAMES)
def test_reset_before_the_headers(stream):
    done = ask_all([fault(RESET, RESET.name)], [RESET.name, PLAIN], stream=stream)
    check_end(done, RESET, RESET.name, stream, tries=2)
    assert [entry.fault for entry in done.log] == [RESET.fault, RESET.fault, None]


@pytest.mark.parametrize("stream", WAYS, ids=WAY_NAMES)
def test_a_kept_connection_closed_as_it_is_used_again(stream):
    """It is asked again at once, also when no retries are wanted."""
    done = ask_all([fault(REUSED, REUSED.name)], [PLAIN, REUSED.name], stream=stream, retries=0)
    (turn,), (lost, good) = done.turns[REUSED.name], done.attempts[REUSED.name]
    assert (turn.status, turn.answer) == ("answered", TEXT)
    assert (lost.error_kind, lost.connection_opened, good.connection_opened) == ("connection", 0, 1)
    assert re.fullmatch(
        r"An idle connection was closed by HOST just as it was used again\. Send the request again\.",
        masked(lost.error_message, done.base_url),
    )
    assert LOST_ON_REUSE in lost.error_message  # by which run files tell such a failure from one of the model
    assert [entry.fault for entry in done.log] == [None, REUSED.fault, None]


def test_a_server_that_goes_down_and_comes_back():
    name = f"{REFUSED.name}, once"
    done = ask_all([fault(REFUSED, name, times=1)], [PLAIN, name], stream=True, retries=6)
    (turn,), attempts = done.turns[name], done.attempts[name]
    assert (turn.status, turn.answer) == ("answered", TEXT)
    lost, *refused, good = attempts
    assert {masked(attempt.error_message, done.base_url) for attempt in refused} == {REFUSED.stream.message}
    assert {attempt.error_kind for attempt in (lost, *refused)} == {"connection"}
    assert turn.sent_ns == good.sent_ns >= refused[-1].end_ns
    assert [entry.fault for entry in done.log] == [None, REFUSED.fault, None]


@pytest.mark.parametrize("stream", WAYS, ids=WAY_NAMES)
def test_refused(stream, tmp_path):
    data, out = tmp_path / "one.jsonl", tmp_path / "run.evalkit"
    data.write_text(json.dumps({"id": REFUSED.name, "turns": [{"user": "hello"}]}) + "\n", encoding="utf-8")
    with socket.socket() as taken:  # bound and never listening: nobody else can have the port
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(ek.EndpointError) as caught:
            ek.evaluate(data, ek.Endpoint(url, "m"), out=out, stream=stream, retries=1)
    said = "The only turn failed (connection), none was answered. "
    assert masked(str(caught.value), url) == said + REFUSED.end(stream).message
    done = SimpleNamespace(base_url=url, **recorded(out))
    check_end(done, REFUSED, REFUSED.name, stream, tries=2)


# ---- what does not end


@pytest.mark.parametrize(("case", "stream"), ways([HUGE, FLOOD]))
def test_an_answer_without_end(case, stream):
    """It ends at the bound, and the run file does not swell."""
    done = ask_all([fault(case, case.name)], [PLAIN, case.name], stream=stream, limits={"timeout_s": 60})
    check_end(done, case, case.name, stream, tries=1)
    assert done.size < RUNFILE_LIMIT


# ---- where the key goes, and where a name leads


def test_a_redirect_to_another_host_never_takes_the_key_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    data, out = tmp_path / "one.jsonl", tmp_path / "run.evalkit"
    data.write_text("".join(json.dumps({"id": n, "turns": [{"user": n}]}) + "\n" for n in "ab"), encoding="utf-8")
    with socket.create_server(("127.0.0.2", 0)) as elsewhere:
        elsewhere.setblocking(False)
        to = f"http://127.0.0.2:{elsewhere.getsockname()[1]}/v1/chat/completions"
        script = Script(key=KEY, faults=[Fault("redirect", prompt="b", options={"to": to})])
        with serve(script) as server:
            endpoint = ek.Endpoint(server.base_url, server.model, key_env="MY_KEY")
            ek.evaluate(data, endpoint, out=out, concurrency=1)
        with pytest.raises(BlockingIOError):  # nobody has called
            elsewhere.accept()
    (turn,) = recorded(out)["turns"]["b"]
    assert turn.error_kind == "protocol"
    assert KEY.encode() not in out.read_bytes()


@pytest.fixture
def name_leads_to(monkeypatch):
    """The addresses that each look-up of a name finds, one after the other; the last stays."""
    found = []

    def finding(getaddrinfo):
        async def look_up(loop, host, port, **more):
            if host != NAME:
                return await getaddrinfo(loop, host, port, **more)
            address = found.pop(0) if len(found) > 1 else found[0]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        return look_up

    for loop in (asyncio.BaseEventLoop, uvloop.Loop):
        monkeypatch.setattr(loop, "getaddrinfo", finding(loop.getaddrinfo))
    return found


def test_a_name_with_a_new_address_is_looked_up_again(run, name_leads_to):
    name_leads_to += ["127.0.0.2", "127.0.0.1"]

    async def go():
        async with (
            RawServer(streams) as server,
            Transport(ek.Endpoint(f"http://{NAME}:{server.port}", "m")) as transport,
        ):
            return server.port, [await send(transport) for _ in range(3)]

    port, (dead, *alive) = run(go())
    assert dead.failure.kind == MOVED.stream.kind
    assert masked(dead.failure.message, f"http://{NAME}:{port}") == MOVED.stream.message
    assert [(attempt.failure, attempt.answer.text, attempt.connection_opened) for attempt in alive] == [
        (None, "35", True),
        (None, "35", False),
    ]


def test_a_name_that_moves_while_a_connection_is_kept(run, name_leads_to):
    name_leads_to += ["127.0.0.2", "127.0.0.1"]

    async def go():
        async with (
            RawServer(streams) as new,
            Transport(ek.Endpoint(f"http://{NAME}:{new.port}", "m")) as transport,
        ):
            async with RawServer(streams, host="127.0.0.2", port=new.port) as old:
                before = [await send(transport) for _ in range(2)]
            after = await send(transport)
        return before, after, len(old.requests), len(new.requests)

    before, after, old, new = run(go())
    assert [attempt.failure for attempt in (*before, after)] == [None] * 3
    assert (old, new) == (2, 1)
    assert after.connection_opened


# ---- the page


def test_the_page_shows_this_table():
    page = (Path(ek.__file__).parent / "docs" / "faults.md").read_text(encoding="utf-8")
    assert f"\n\n{page_table()}\n\n" in page


def test_every_case_has_a_name_of_its_own():
    assert len({case.name for case in ALL}) == len(ALL)
