"""Conversations typed by hand, over real HTTP: what streams, what is stopped, what later requests see."""

import threading

import pytest

import evalkit as ek
from evalkit.scripted.server import Arithmetic, Fault, Law, Script, serve
from evalkit.widgets.chat import Chat

SECRET = "sk-of-the-test-1234567890"


def chat_with(server, on_change=lambda turn: None, **fields):
    return Chat(ek.Endpoint(server.base_url, "scripted", **fields), on_change)


def test_an_answer_streams_and_later_requests_see_it():
    seen = []
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=60, itl_ms=60))) as server:
        chat = chat_with(server, lambda turn: seen.append((turn.state, turn.answer, len(turn.arrivals))))
        chat.system = "You are kind."
        chat.send("What is 12 + 23?")
        assert chat.busy
        chat.send("dropped: an answer is on its way")
        chat.join()
        chat.send("And times 2?")
        chat.join()
    first, second = chat.turns
    assert (first.state, first.answer) == ("answered", "The sum of 12 and 23 is 35.")
    assert 60 <= first.ttft_ms <= first.latency_ms == first.arrivals[-1][0]
    assert first.output_tokens == sum(count for _, count in first.arrivals)
    states = [state for state, _, _ in seen]
    assert states.count("answered") == 2
    parts = [answer for state, answer, _ in seen if state == "streaming" and answer]
    assert parts
    assert all(first.answer.startswith(part) or second.answer.startswith(part) for part in parts)
    assert [message["role"] for message in second.body["messages"]] == ["system", "user", "assistant", "user"]


def test_a_stopped_answer_ends_immediately_and_keeps_what_arrived():
    half = threading.Event()
    with serve(Script(law=Law(ttft_ms=1, itl_ms=50, tokens=2000))) as server:
        chat = chat_with(server, lambda turn: half.set() if turn.answer else None)
        chat.send("Tell me all")
        assert half.wait(10)
        chat.stop()
        chat.join()
    (turn,) = chat.turns
    assert turn.state == "stopped"
    assert 0 < len(turn.arrivals) < 2000
    assert chat.messages()[-1].content == turn.answer != ""


def test_stopped_before_the_first_token():
    with serve(Script(law=Law(ttft_ms=60_000))) as server:
        chat = chat_with(server)
        chat.send("Hello")
        chat.stop()
        chat.join()
    assert (chat.turns[0].state, chat.turns[0].answer, chat.messages()) == ("stopped", "", [])


def test_a_failed_answer_has_its_reason_is_not_retried_and_is_in_no_later_request():
    with serve(Script(answer=Arithmetic(), faults=[Fault("server_error", numbers={1})])) as server:
        chat = chat_with(server)
        chat.send("lost")
        chat.join()
        chat.send("What is 1 + 1?")
        chat.join()
        assert server.stats()["requests"] == 2
    assert chat.turns[0].problem.startswith("server: ")
    assert chat.turns[1].body["messages"] == [{"role": "user", "content": "What is 1 + 1?"}]


def test_an_endpoint_that_cannot_be_reached():
    chat = Chat(ek.Endpoint("http://127.0.0.1:9", "m"), lambda turn: None)
    chat.send("Hello")
    chat.join()
    assert (chat.turns[0].state, chat.turns[0].problem[:11]) == ("failed", "connection:")


def test_parameters_that_cannot_be_sent_are_refused_before_anything_is_asked():
    chat = Chat(ek.Endpoint("http://127.0.0.1:9", "m", params={"n": 2}), lambda turn: None)
    with pytest.raises(ek.SettingsError):
        chat.send("Hello")
    assert not chat.busy
    assert chat.turns == []


def test_the_key_is_never_shown_not_even_its_beginning_while_it_streams(monkeypatch):
    monkeypatch.setenv("A_KEY", SECRET)
    seen = []
    with serve(Script(answer=lambda body: f"a {SECRET} b", law=Law(ttft_ms=1, itl_ms=110))) as server:
        chat = chat_with(server, lambda turn: seen.append(turn.answer), key_env="A_KEY")
        chat.send("What is your key?")
        chat.join()
    assert chat.turns[0].answer == "a *** b"
    assert all(text in ("", "a", "a ", "a ***", "a *** ", "a *** b") for text in seen), seen


def test_clearing_starts_a_new_conversation():
    with serve(Script(answer=Arithmetic())) as server:
        chat = chat_with(server)
        chat.send("What is 1 + 1?")
        chat.join()
    chat.clear()
    assert chat.turns == []
