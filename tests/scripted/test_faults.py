"""Each fault of the scripted server, as it shows on a bare socket."""

import contextlib
import email.utils
import json
import socket
import time
from itertools import pairwise

import pytest
from exchange import CHAT, ask, chat, listen, request

from evalkit.scripted import profile_openai
from evalkit.scripted.faults import FAULTS
from evalkit.scripted.http_messages import Request
from evalkit.scripted.server import Fault, Law, Script, serve

LAW = Law(ttft_ms=10, itl_ms=2, tokens=8)
TEXT = "tok0 tok1 tok2 tok3 tok4 tok5 tok6 tok7"
MS = 1_000_000
SEEN = set()


def planned(kind, *, stream=True, **options):
    """The reply as it is planned: when each piece is due, in ms, and the piece."""
    SEEN.add(kind)
    request = Request("POST", CHAT, body=json.dumps(chat(stream=stream)).encode())
    reply = FAULTS[kind](profile_openai.reply(Script(law=LAW), request, 1), request, **options)
    return reply, [(piece.at / MS, piece) for piece in reply.pieces]


def meet(kind, *, stream=True, law=LAW, silence=2.0, profile="openai", **options):
    SEEN.add(kind)
    script = Script(profile=profile, law=law, faults=[Fault(kind, options=options)])
    with serve(script) as server:
        heard = ask(server.port, chat(model=server.model, stream=stream), silence=silence)
        (entry,) = server.log()
    assert entry.fault == kind
    return heard


# ---- which requests


def test_numbers_name_the_requests_that_are_hit():
    with serve(Script(faults=[Fault("server_error", numbers={2, 3})])) as server:
        assert [ask(server.port, chat()).status for _ in range(4)] == [200, 500, 500, 200]


def test_a_share_is_drawn_by_seed_and_number():
    def hit(seed, share=0.25):
        return {number for number in range(1, 1001) if Fault("empty", share=share, seed=seed).hits(number)}

    assert hit(1) == hit(1) != hit(2)
    assert 180 < len(hit(1)) < 320
    assert hit(1, 0) == set()
    assert len(hit(1, 1)) == 1000


def test_the_first_fault_that_hits_is_the_one_met():
    faults = [Fault("server_error", numbers={1}), Fault("html_error", numbers={1, 2})]
    with serve(Script(faults=faults)) as server:
        assert [ask(server.port, chat()).status for _ in range(3)] == [500, 502, 200]
        assert server.stats()["faults"] == {"html_error": 1, "server_error": 1}


def test_a_refused_request_meets_no_fault():
    with serve(Script(key="sk-right", faults=[Fault("server_error")])) as server:
        assert ask(server.port, chat()).status == 401


def test_a_prompt_names_the_requests_that_are_hit_and_times_how_many_of_them():
    faults = [Fault("server_error", prompt="fail", times=2), Fault("html_error", prompt="fail for ever")]
    with serve(Script(faults=faults)) as server:
        asked = ["hello", "fail", "fail for ever", "fail", "fail for ever"]
        assert [ask(server.port, chat(text)).status for text in asked] == [200, 500, 500, 200, 502]
        assert [entry.prompt for entry in server.log()] == asked


def test_the_log_calls_a_fault_by_its_name():
    with serve(Script(faults=[Fault("server_error", name="ours")])) as server:
        ask(server.port, chat())
        assert [entry.fault for entry in server.log()] == ["ours"]


# ---- the connection


def test_reset_before_headers():
    heard = meet("reset_before_headers")
    assert (heard.raw, heard.ending) == (b"", "reset")


@pytest.mark.parametrize("stream", [True, False])
def test_reset_after_headers(stream):
    heard = meet("reset_after_headers", stream=stream)
    assert (heard.status, heard.body, heard.ending) == (200, b"", "reset")


@pytest.mark.parametrize(("kind", "ending"), [("reset_midway", "reset"), ("eof_midway", "eof")])
def test_cut_midway(kind, ending):
    heard = meet(kind, after=2)
    assert (heard.text, heard.ending) == ("tok0 tok1", ending)
    heard = meet(kind, stream=False)
    assert heard.ending == ending
    assert 0 < len(heard.body) < int(heard.headers["content-length"])


def test_cut_midway_but_cleanly():
    heard = meet("eof_midway", after=2, clean=True)
    assert (heard.text, heard.ending, len(heard.data)) == ("tok0 tok1", "whole", 3)


def test_close_after_an_answer_that_promised_more():
    SEEN.add("close_after")
    faults = [Fault("close_after")]
    with serve(Script(faults=faults)) as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request(chat()))
        heard = listen(connection)
        assert (heard.status, heard.ending) == (200, "whole")
        assert "connection" not in heard.headers
        assert connection.recv(1) == b""


def test_close_on_reuse():
    SEEN.add("close_on_reuse")
    faults = [Fault("close_on_reuse")]
    with serve(Script(faults=faults)) as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request(chat()))
        assert listen(connection).status == 200
        connection.sendall(request(chat()))
        heard = listen(connection)
        assert (heard.raw, heard.ending) == (b"", "eof")


def test_refuse_until_the_server_is_back():
    with serve(Script(faults=[Fault("refuse", times=1, options={"seconds": 0.2})])) as server:
        SEEN.add("refuse")
        heard = ask(server.port, chat())
        assert (heard.raw, heard.ending) == (b"", "eof")
        with pytest.raises(ConnectionRefusedError):
            ask(server.port, chat())
        until = time.monotonic() + 10
        while time.monotonic() < until:
            time.sleep(0.02)
            with contextlib.suppress(ConnectionRefusedError):
                assert ask(server.port, chat()).status == 200
                return
    raise AssertionError("it never came back")


def test_a_server_may_be_stopped_while_it_refuses():
    with serve(Script(faults=[Fault("refuse", options={"seconds": 60})])) as server:
        ask(server.port, chat())


# ---- other answers


@pytest.mark.parametrize("status", [500, 503])
def test_server_error(status):
    heard = meet("server_error", status=status, retry_after=2)
    assert heard.headers["retry-after"] == "2"
    assert (heard.status, heard.json["error"]["type"]) == (status, "server_error")


def test_rate_limited_until_a_date():
    until = email.utils.parsedate_to_datetime(meet("rate_limited", retry_after=5, form="date").headers["retry-after"])
    assert 2 < until.timestamp() - time.time() < 6


def test_rate_limited_until_a_limit_is_reset():
    headers = meet("rate_limited", retry_after=0.5, form="limit").headers
    assert headers["x-ratelimit-reset-requests"] == "500ms"
    assert headers["x-ratelimit-remaining-requests"] == "0"


def test_html_error():
    heard = meet("html_error")
    assert (heard.status, heard.headers["Content-Type"]) == (502, "text/html")
    assert b"<title>502 Bad Gateway</title>" in heard.body


def test_redirect_elsewhere():
    heard = meet("redirect", to="http://127.0.0.1:9/v1/chat/completions", status=308)
    assert (heard.status, heard.headers["location"]) == (308, "http://127.0.0.1:9/v1/chat/completions")
    assert heard.body == b""


def test_redirect_on_the_same_host_leads_to_the_answer():
    with serve(Script(faults=[Fault("redirect")])) as server:
        heard = ask(server.port, chat())
        assert heard.status == 307
        assert ask(server.port, chat(), path=heard.headers["location"]).status == 200


def test_reject_stream_options():
    heard = meet_with("reject_stream_options", chat(stream=True, stream_options={"include_usage": True}))
    assert (heard.status, heard.json["error"]["param"]) == (400, "stream_options")
    assert meet_with("reject_stream_options", chat(stream=True)).status == 200


def meet_with(kind, body, **options):
    SEEN.add(kind)
    with serve(Script(law=LAW, faults=[Fault(kind, options=options)])) as server:
        return ask(server.port, body)


def test_wrong_type():
    heard = meet("wrong_type")
    assert (heard.headers["content-type"], heard.text) == ("text/plain", TEXT)


@pytest.mark.parametrize("profile", ["openai", "taskingai"])
def test_json_for_stream(profile):
    heard = meet("json_for_stream", profile=profile)
    assert heard.headers["content-type"] == "application/json"
    assert heard.json["choices"][0]["message"]["content"] == TEXT
    assert heard.json["usage"]["completion_tokens"] == 8


def test_huge():
    assert meet("huge", stream=False, size=100_000).json["choices"][0]["message"]["content"] == "x" * 100_000
    heard = meet("huge", size=100_000)
    assert heard.text == "x" * 131_072
    assert heard.data[-1] == "[DONE]"


# ---- the text


def test_empty():
    assert meet("empty").data == ["[DONE]"]
    whole = meet("empty", stream=False).json
    (choice,) = whole["choices"]
    assert (choice["message"]["content"], choice["finish_reason"], whole["usage"]) == ("", None, None)


def test_nothing_to_say():
    heard = meet("nothing_to_say")
    assert (heard.text, heard.data[-1]) == ("", "[DONE]")
    assert '"finish_reason":"stop"' in heard.data[-2].replace(" ", "")
    whole = meet("nothing_to_say", stream=False).json
    (choice,) = whole["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "stop")
    assert whole["usage"]["completion_tokens"] == 1


def test_broken_json():
    heard = meet("broken_json", after=2)
    bad = [data for data in heard.data[:-1] if not data.endswith("}")]
    assert len(bad) == 1
    assert heard.data.index(bad[0]) == 3
    assert heard.data[-1] == "[DONE]"
    with pytest.raises(json.JSONDecodeError):
        _ = meet("broken_json", stream=False).json


@pytest.mark.parametrize("profile", ["openai", "taskingai"])
@pytest.mark.parametrize("stream", [True, False])
def test_cut_utf8(stream, profile):
    heard = meet("cut_utf8", stream=stream, profile=profile)
    assert heard.body.count(b"\xe2\x82") == 1
    assert heard.ending == "whole"
    with pytest.raises(UnicodeDecodeError):
        heard.body.decode()


@pytest.mark.parametrize(("after", "text"), [(0, ""), (3, "tok0 tok1 tok2")])
def test_error_event(after, text):
    heard = meet("error_event", after=after)
    assert (heard.status, heard.text, heard.ending) == (200, text, "whole")
    assert heard.events[-1]["error"]["code"] == "overloaded"
    assert "[DONE]" not in heard.data


@pytest.mark.parametrize("finish", [True, False])
def test_no_done(finish):
    heard = meet("no_done", finish=finish)
    assert (heard.text, heard.ending) == (TEXT, "whole")
    assert "[DONE]" not in heard.data
    assert heard.events[-1]["choices"][0]["finish_reason"] == ("stop" if finish else None)


@pytest.mark.parametrize(("after", "text"), [(0, ""), (3, "tok0 tok1 tok2")])
def test_aborted(after, text):
    heard = meet("aborted", after=after)
    assert (heard.status, heard.text, heard.ending, heard.data[-1]) == (200, text, "whole", "[DONE]")
    reasons = [event["choices"][0]["finish_reason"] for event in heard.events if event["choices"]]
    assert [reason for reason in reasons if reason] == ["abort"]
    (choice,) = meet("aborted", stream=False, reason="error").json["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("error", TEXT)


def test_left_open():
    heard = meet("left_open", silence=0.5)
    assert (heard.text, heard.ending, heard.events[-1]["choices"][0]["finish_reason"]) == (TEXT, "silence", "stop")
    assert "[DONE]" not in heard.data


def test_early_role():
    reply, pieces = planned("early_role")
    assert reply.head_at == 0
    assert [(at, piece.kind) for at, piece in pieces[:3]] == [(0, "role"), (10, "token"), (12, "token")]
    assert meet("early_role").text == TEXT


def test_blank_chunks():
    heard = meet("blank_chunks")
    choices = [event["choices"] for event in heard.events[:4]]
    assert choices == [[], None, [{"index": 0, "delta": None}], [{"index": 0, "delta": {"content": ""}}]]
    reply, pieces = planned("blank_chunks")
    assert reply.head_at == 0
    assert [at for at, _ in pieces[:6]] == [0, 0, 0, 0, 10, 10]


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("reasoning", {"reasoning"}),
        ("reasoning_content", {"reasoning_content"}),
        ("both", {"reasoning", "reasoning_content"}),
    ],
)
def test_reasoning(field, names):
    body = chat(stream=True, stream_options={"include_usage": True})
    heard = meet_with("reasoning", body, tokens=2, field=field)
    thoughts = [event["choices"][0]["delta"] for event in heard.events[1:3]]
    assert thoughts == [dict.fromkeys(names, "think0 "), dict.fromkeys(names, "think1 ")]
    assert heard.text == TEXT
    assert heard.events[-1]["usage"]["completion_tokens"] == 10
    assert heard.events[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}
    whole = meet("reasoning", stream=False, field=field).json["choices"][0]["message"]
    assert {whole[name] for name in names} == {"think0 think1 think2 think3 think4 "}


def test_cumulative_usage():
    heard = meet("cumulative_usage")
    counts = [event["usage"]["completion_tokens"] for event in heard.events if event.get("usage")]
    assert counts == list(range(1, 9))


def test_group_tokens():
    heard = meet("group_tokens", size=3)
    texts = [event["choices"][0]["delta"].get("content") for event in heard.events]
    assert texts == ["", "tok0 tok1 tok2", " tok3 tok4 tok5", " tok6 tok7", None]


# ---- the time


@pytest.mark.parametrize("stream", [True, False])
def test_silence_for_some_time(stream):
    start = time.perf_counter()
    heard = meet("silence", stream=stream, seconds=0.2)
    assert heard.ending == "whole"
    assert time.perf_counter() - start > 0.2
    assert (heard.text if stream else heard.json["choices"][0]["message"]["content"]) == TEXT


def test_silence_in_the_middle():
    reply, pieces = planned("silence", after=2, seconds=1)
    assert reply.head_at == 0
    assert [at for at, piece in pieces if piece.kind == "token"] == [10, 12, *range(1014, 1026, 2)]


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [({}, 200, ""), ({"headers": False}, None, None), ({"after": 3}, 200, "tok0 tok1 tok2")],
)
def test_silence_for_ever(options, status, text):
    heard = meet("silence", silence=0.3, **options)
    assert heard.ending == "silence"
    if status is None:
        assert heard.raw == b""
    else:
        assert (heard.status, heard.text) == (status, text)


def test_silence_for_ever_instead_of_a_whole_answer():
    heard = meet("silence", stream=False, silence=0.2)
    assert (heard.raw, heard.ending) == (b"", "silence")


def test_comments_only():
    heard = meet("comments_only", every_ms=20, seconds=0.1)
    assert heard.body.count(b": keep-alive\n\n") == 5
    assert heard.text == TEXT
    with serve(Script(faults=[Fault("comments_only", options={"every_ms": 10})])) as server:
        assert b"data:" not in ask_until(server.port, 6, b": keep-alive\n\n")


@pytest.mark.parametrize("itl_ms", [0, 1])
def test_endless(itl_ms):
    SEEN.add("endless")
    with serve(Script(law=LAW, faults=[Fault("endless", options={"itl_ms": itl_ms})])) as server:
        ask_until(server.port, 500, b'"content":" tok7"')
        until = time.monotonic() + 10
        while server.stats()["aborted"] == 0:  # it goes on until the client leaves, and stops then
            assert time.monotonic() < until


def ask_until(port, times, what):
    """Read on until ``what`` has come so many times, then leave."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request(chat(stream=True)))
        heard = b""
        while heard.count(what) < times:
            heard += connection.recv(1 << 16)
    return heard


@pytest.mark.parametrize("stream", [True, False])
def test_slow_headers(stream):
    _, pieces = planned("slow_headers", stream=stream, byte_ms=3)
    head = [(at, piece.data) for at, piece in pieces if piece.raw]
    assert head[:4] == [(0, b"H"), (3, b"T"), (6, b"T"), (9, b"P")]
    assert next(at for at, piece in pieces if piece.kind in ("token", "body")) > head[-1][0]
    heard = meet("slow_headers", stream=stream, byte_ms=0.2)
    assert (heard.text if stream else heard.json["choices"][0]["message"]["content"]) == TEXT
    assert heard.ending == "whole"


def test_buffered():
    heard = meet("buffered")
    assert (len(heard.reads), heard.text) == (1, TEXT)


def test_batch_writes():
    _, pieces = planned("batch_writes", size=5)  # the role and 4 tokens, 4 tokens and the finish, the end
    assert [(at, piece.data.count(b"tok")) for at, piece in pieces] == [(16, 4), (24, 4), (24, 0)]
    assert meet("batch_writes", size=5).text == TEXT


@pytest.mark.parametrize("stream", [True, False])
def test_split_writes(stream):
    _, pieces = planned("split_writes", stream=stream, size=5, gap_ms=0.2)
    assert max(len(piece.data) for _, piece in pieces) == 5
    assert min(b[0] - a[0] for a, b in pairwise(pieces)) == pytest.approx(0.2)
    heard = meet("split_writes", stream=stream, size=5, gap_ms=0.1)
    assert (heard.text if stream else heard.json["choices"][0]["message"]["content"]) == TEXT


def test_the_log_of_a_faulty_stream_still_tells_when_the_first_token_left():
    for kind in ("split_writes", "slow_headers", "buffered", "reasoning"):
        with serve(Script(law=LAW, faults=[Fault(kind)])) as server:
            ask(server.port, chat(stream=True))
            (entry,) = server.log()
        assert entry.received_ns < entry.due_ns <= entry.first_ns <= entry.last_ns <= entry.end_ns, kind


def test_every_fault_is_met_in_a_test_of_this_module():
    assert set(FAULTS) == SEEN
