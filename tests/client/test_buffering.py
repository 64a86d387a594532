"""What comes between an endpoint and its client: real proxies, and servers that hold back as proxies do."""

import asyncio
import gzip
import json
import zlib
from dataclasses import replace

import charted
import pytest
from comparing import run as made
from comparing import said
from haproxy_server import behind_haproxy, needs_haproxy
from loops import on
from raw_server import DONE, LAST_CHUNK, STREAM_HEAD, ask, chunk, event
from runfiles import T

from evalkit.analysis.summary_json import summary_json
from evalkit.charts import catalogue, load
from evalkit.client.buffering import buffering_flags
from evalkit.comparing.comparison import compare
from evalkit.endpoint import Endpoint
from evalkit.evaluation import evaluate
from evalkit.loadtest.slo import Slo
from evalkit.loadtest.step import read_step
from evalkit.record import Answer, Timing, Usage
from evalkit.report import run_contents
from evalkit.report.markdown_report import markdown
from evalkit.runfile.store import RunFile
from evalkit.scripted.server import Law, Script, serve
from evalkit.wording import run_results
from evalkit.wording.times_trust import times_trust

MS = 1_000_000
PACE_S = 0.012
AT_ONCE = "arrived almost all at once: their first-token time is that of the whole answer"


def read(*reads, ttft_ms=300.0, answer=None, usage=None):
    """The flags of reads as (ms after the first, events)."""
    arrivals = tuple(round((ttft_ms + after) * MS) for after, _ in reads)
    timing = Timing(0, 0, 0, 0, arrivals, tuple(count for _, count in reads), end=arrivals[-1] if arrivals else 0)
    return buffering_flags(timing, answer, usage)


@pytest.mark.parametrize(
    ("reads", "flags"),
    [
        ([(0, 20)], ("buffered",)),
        ([(0, 18), (6, 2)], ("buffered",)),  # a last event comes by itself
        ([(0, 1), (0.3, 7), (0.9, 12)], ("buffered",)),  # let go at once, and read in several parts
        ([(0, 2), (30, 1)], ("buffered",)),
        ([(0, 1), (30, 1)], ()),
        ([(0, 1), (190, 19)], ()),  # the first token was not held back
        ([(n * 10, 1) for n in range(20)], ()),
        ([(n * 0.5, 1) for n in range(100)], ()),  # 2,000 tokens a second, one by one
        ([(n * 0.1, 1) for n in range(100)], ("buffered",)),  # a large answer, read in many parts
        ([(n * 5.0, 1) for n in range(3)], ()),  # a short answer to a long prompt
        ([(0, 21), (220, 21), (387, 18)], ("first_read_late",)),
        ([(0, 2), *((n * 10, 1) for n in range(1, 40))], ()),  # 10 ms of 300
        ([(0, 3), *((n * 10, 1) for n in range(1, 40))], ("first_read_late",)),
        ([], ()),
    ],
)
def test_what_is_told_from_the_reads(reads, flags):
    assert read(*reads) == flags


def test_what_is_late_beside_a_short_time_is_not_beside_a_long_one():
    reads = [(0, 3), *((n * 10, 1) for n in range(1, 40))]
    assert read(*reads, ttft_ms=1000.0) == ()
    # and never what is too short to matter
    assert read((0, 2), *((n, 1) for n in range(1, 40)), ttft_ms=3.0) == ()


@pytest.mark.parametrize(
    ("answer", "usage", "flagged"),
    [
        (Answer("B"), Usage(9, 2), False),
        (Answer("The sum is 35."), Usage(9, 8), True),
        (Answer("The sum is 35."), None, False),
        (Answer("word " * 20), None, True),
        (Answer(reasoning="word " * 20), Usage(9, None), True),
        (None, None, False),
    ],
)
def test_a_stream_of_one_event_is_that_of_a_whole_answer_if_it_held_one(answer, usage, flagged):
    assert read((0, 1), answer=answer, usage=usage) == (("buffered",) if flagged else ())


# --- over real sockets


def held(batches):
    """A handler that writes these batches of bytes, each once the time that its tokens took is over."""

    async def handler(request, writer):
        writer.write(STREAM_HEAD)
        for tokens, data in batches:
            await asyncio.sleep(tokens * PACE_S)
            if data:
                writer.write(chunk(data))
        writer.write(LAST_CHUNK)

    return handler


def events(count, width=100):
    return [event("x" * width) for _ in range(count)]


def blocks(pieces, size):
    """Pieces of one token each, let go whenever so many bytes are there, and the rest at the end."""
    waiting, tokens, batches = b"", 0, []
    for piece in pieces:
        waiting, tokens = waiting + piece, tokens + 1
        if len(waiting) >= size:
            cut = len(waiting) // size * size
            batches.append((tokens, waiting[:cut]))
            waiting, tokens = waiting[cut:], 0
    return [*batches, (tokens, waiting + DONE)]


def first_token_and_flags(handler):
    (attempt,), _ = ask(on(asyncio.new_event_loop), handler)
    assert attempt.failure is None, attempt.failure
    return attempt.ttft_ns / MS, attempt.flags


@pytest.mark.parametrize("count", [5, 20])
def test_a_stream_that_is_let_go_at_its_end_is_flagged(count):
    ttft, flags = first_token_and_flags(held([(count, b"".join(events(count)) + DONE)]))
    assert ttft >= count * PACE_S * 1000
    assert "buffered" in flags


def test_a_whole_answer_in_many_reads_at_its_end_is_flagged():
    async def handler(request, writer):
        await asyncio.sleep(0.5)
        writer.write(STREAM_HEAD)
        for _ in range(80):
            writer.write(chunk(event("x" * 5000)))
            await asyncio.sleep(0)
        writer.write(chunk(DONE) + LAST_CHUNK)

    assert "buffered" in first_token_and_flags(handler)[1]


@pytest.mark.parametrize(("size", "flag"), [(4096, "first_read_late"), (16384, "buffered")])
def test_a_stream_in_blocks_is_flagged(size, flag):
    pieces = events(80)  # 16 kB in all
    ttft, flags = first_token_and_flags(held(blocks(pieces, size)))
    assert ttft > 15 * PACE_S * 1000
    assert flag in flags


@pytest.mark.parametrize("inflated", [False, True])
def test_a_stream_that_was_compressed_on_its_way_is_flagged(inflated):
    """Compressors let go of nothing before there is enough of it; whether the client inflates it or another proxy."""
    packer = zlib.compressobj(wbits=31)
    batches, tokens = [], 0
    for number in range(60):
        tokens += 1
        if data := packer.compress(event(f"word {number * 7919 % 997} ")):
            batches.append((tokens, data))
            tokens = 0
    batches.append((tokens, packer.compress(DONE) + packer.flush()))
    if inflated:
        inflater = zlib.decompressobj(wbits=31)
        batches = [(tokens, inflater.decompress(data)) for tokens, data in batches]

    async def handler(request, writer):
        encoding = b"" if inflated else b"Content-Encoding: gzip\r\n"
        writer.write(STREAM_HEAD.replace(b"\r\n\r\n", b"\r\n" + encoding + b"\r\n"))
        for tokens, data in batches:
            await asyncio.sleep(tokens * PACE_S)
            if data:
                writer.write(chunk(data))
        writer.write(LAST_CHUNK)

    assert "buffered" in first_token_and_flags(handler)[1]


def test_a_compressed_stream_that_is_flushed_event_by_event_is_not_flagged():
    async def handler(request, writer):
        writer.write(STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n"))
        packer = zlib.compressobj(wbits=31)
        for piece in [*events(10), DONE]:
            writer.write(chunk(packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)))
            await asyncio.sleep(3 * PACE_S)
        writer.write(chunk(packer.flush()) + LAST_CHUNK)

    assert gzip.compress(b"")  # the format is there
    assert not {"buffered", "first_read_late"} & set(first_token_and_flags(handler)[1])


# --- behind HAProxy, as Debian packages it


@needs_haproxy
@pytest.mark.parametrize(
    ("option", "tokens", "key"),
    [
        ("", 16, "streams_at_once"),
        ("", 60, "streams_first_read_late"),
        ("option http-no-delay", 16, None),
        ("option http-no-delay", 60, None),
    ],
)
def test_behind_haproxy(sums, tmp_path, option, tokens, key):
    law = Law(ttft_ms=300, itl_ms=12, tokens=tokens)
    with (
        serve(Script(law=law), process=True) as server,
        behind_haproxy(tmp_path, server.base_url, defaults=f"  {option}") as url,
    ):
        for number in range(3):  # a busy machine may read a first token late
            out = tmp_path / f"run{number}.evalkit"
            run = evaluate(sums(4, 1), Endpoint(url, server.model), out=out, concurrency=1)
            summary = summary_json(run.path)
            counts = {name: summary["trust"][name] for name in ("streams_at_once", "streams_first_read_late")}
            if counts[key] == 4 if key else not any(counts.values()):
                break
    assert summary["trust"]["streams"] == 4
    sentences = dict(times_trust(summary["trust"], 1))
    if key is None:
        assert counts == {"streams_at_once": 0, "streams_first_read_late": 0}
        assert 300 <= summary["ttft_ms"]["p50"] < 420
        return
    assert counts[key] == 4
    assert summary["ttft_ms"]["p50"] > 420
    expected = (
        f"4 of 4 streams {AT_ONCE}" if key == "streams_at_once" else "in 4 of 4 streams the first read held several"
    )
    assert any(expected in text and warning for text, warning in sentences.items())


# --- where it is said


def flagged(path, flag, count=10):
    """A run of ten streams, so many of them with this flag."""
    made(path, [T(f"c{n}", 1, tokens=9, prompt_tokens=20 + n) for n in range(10)], endpoint={"model": "m"})
    with RunFile.open(path) as file:
        file.connection.execute("UPDATE turn SET flags = ? WHERE conversation < ?", (flag, count))
        file.connection.execute("UPDATE attempt SET flags = ? WHERE conversation < ?", (flag, count))
        file.connection.commit()
    return path


def test_it_is_said_wherever_a_first_token_time_is(tmp_path):
    path = flagged(tmp_path / "run.evalkit", "buffered no_done")
    said(path, dataset={"path": "sums.jsonl"}, endpoint={"base_url": "http://127.0.0.1:9/v1", "params": {}})
    summary = json.loads(json.dumps(summary_json(path)))["trust"]
    assert (summary["streams"], summary["streams_at_once"], summary["streams_first_read_late"]) == (10, 10, 0)
    assert f"10 of 10 streams {AT_ONCE}" in markdown([run_contents.read_run(path, drawn=False)])
    charts = catalogue.charts(path)
    noted = {name for name, chart in charts.items() if any(AT_ONCE in note for note in chart._notes)}
    assert {"latency", "first-token-distribution", "prompt-length"} <= noted
    assert any("the stream arrived almost all at once" in note for note in charts["answer"]._notes)
    assert not noted & {"accuracy", "latency-distribution", "gaps"}
    other = flagged(tmp_path / "other.evalkit", "first_read_late", 8)
    first, second = compare(path, other).contrasts[0].warnings
    assert first == f"A: 10 of 10 streams {AT_ONCE}"
    assert second.startswith("B: in 8 of 10 streams the first read held several tokens: their first-token time may be ")


def test_a_few_are_counted_and_not_worth_a_word(tmp_path):
    summary = summary_json(flagged(tmp_path / "run.evalkit", "buffered", 1))["trust"]
    assert (summary["streams_at_once"], run_results.first_token_warnings(100, 5, 5)) == (1, [])
    assert len(run_results.first_token_warnings(100, 6, 6)) == 2


def test_a_step_of_a_load_test_counts_them_too(tmp_path):
    step = read_step(flagged(tmp_path / "run.evalkit", "buffered", 6), 4, warm_up=0, open_loop=False, slo=Slo.of(None))
    assert step.streams == (10, 6, 0)
    trust = step.to_json("concurrency")["trust"]
    assert (trust["streams"], trust["streams_at_once"], trust["streams_first_read_late"]) == (10, 6, 0)
    swept = charted.sweep()
    swept.measured = (replace(swept.measured[0], streams=(10, 6, 0)), *swept.measured[1:])
    noted = load.LoadFirstToken(swept)._notes
    assert f"concurrency 1: 6 of 10 streams {AT_ONCE}" in noted
    assert not any("streams" in note for note in load.LoadAccuracy(swept)._notes)
