"""``evalkit ask``: what it prints, and its exit codes."""

import json

import pytest
from answering import answering
from commands import evalkit, flags
from raw_server import answer, completion

from evalkit.scripted.server import Arithmetic, Fault, Law, Script, serve


@pytest.fixture(scope="module")
def server():
    with serve(Script(answer=Arithmetic()), process=True) as running:
        yield running


def test_ask_prints_answer_and_timing_turn_by_turn(server):
    done = evalkit("ask", "What is 2 + 3?", "What is 4 + 5?", *flags(server))
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert "5" in lines[0]
    assert "9" in lines[2]
    assert lines[1].startswith("[first token after ")


def test_ask_json_is_one_object_also_when_a_turn_failed(server):
    done = evalkit("ask", "What is 2 + 3?", "What is 4 + 5?", *flags(server), "--json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["model"], [turn["turn"] for turn in result["turns"]]) == (0, "scripted", [1, 2])
    assert "9" in result["turns"][1]["answer"]
    assert result["turns"][0]["error"] is None
    assert result["turns"][0]["latency_ms"] >= result["turns"][0]["ttft_ms"] > 0
    nobody = evalkit("ask", "hello", "--base-url", "http://127.0.0.1:9", "--model", "m", "--json")
    (turn,) = json.loads(nobody.stdout)["turns"]
    assert (nobody.returncode, turn["answer"], turn["latency_ms"]) == (3, None, None)
    assert turn["error"].startswith("connection: ")
    assert nobody.stderr.startswith("connection: ")


@pytest.mark.parametrize(
    ("given", "sent"),
    [("Be brief.", ["Be brief."]), ("@prompt.txt", ["Be brief.\nPlease."]), ("", []), ("@empty.txt", [])],
)
def test_ask_reads_the_system_prompt_as_run_does(tmp_path, given, sent):
    (tmp_path / "prompt.txt").write_bytes(b"\xef\xbb\xbfBe brief.\r\nPlease.\r\n")
    (tmp_path / "empty.txt").write_bytes(b"\xef\xbb\xbf\n")
    (tmp_path / "d.jsonl").write_text('{"turns": [{"user": "hello"}]}\n', encoding="utf-8")
    seen = []

    def answer_to(body):
        seen.append([message["content"] for message in body["messages"] if message["role"] == "system"])
        return "Hi"

    with serve(Script(answer=answer_to)) as server:
        for command in (("ask", "hello"), ("run", "d.jsonl")):
            done = evalkit(*command, "--system", given, *flags(server), cwd=tmp_path)
            assert done.returncode == 0, done.stderr
    assert seen == [sent, sent]


@pytest.mark.parametrize(
    ("given", "problem"), [("@none.txt", "cannot be read"), ("\udcff", "half of a surrogate pair")]
)
def test_a_system_prompt_that_cannot_be_sent_is_refused(tmp_path, given, problem):
    done = evalkit("ask", "hello", "--system", given, "--base-url", "http://127.0.0.1:9", "--model", "m", cwd=tmp_path)
    assert done.returncode == 2
    assert problem in " ".join(done.stderr.split())


def test_ask_says_when_a_stream_came_at_once():
    fault = Fault("buffered")
    with serve(Script(faults=[fault], law=Law(ttft_ms=5, itl_ms=10, tokens=8))) as server:
        shown = evalkit("ask", "hello", *flags(server))
        told = evalkit("ask", "hello", *flags(server), "--json")
    assert "; the stream arrived almost all at once: its first-token time is that of the whole answer]" in shown.stdout
    assert "buffered" in json.loads(told.stdout)["turns"][0]["flags"]


@pytest.mark.parametrize(
    ("message", "asked", "shown"),
    [
        ({"text": None, "refusal": "I cannot help."}, "I cannot help.", "  refusal I cannot help."),
        ({"text": "", "reasoning_content": "let me see"}, "(only reasoning) let me see", "  reasoning let me see"),
        ({"text": "\n", "reasoning": "let me see"}, "(only reasoning) let me see", "  reasoning let me see"),
        ({"text": "35", "reasoning": "let me see"}, "35", "  answer 35"),
    ],
)
def test_a_refusal_and_reasoning_alone_are_shown_as_what_they_are(tmp_path, message, asked, shown):
    out, data = tmp_path / "r.evalkit", tmp_path / "d.jsonl"
    data.write_text('{"id": "a", "turns": [{"user": "hello", "target": "x", "scorer": "exact"}]}\n')

    with answering(lambda body, number: answer("200 OK", completion(**message))) as url:
        where = ["--base-url", url, "--model", "m", "--no-stream"]
        once = evalkit("ask", "hello", *where)
        (told,) = json.loads(evalkit("ask", "hello", *where, "--json").stdout)["turns"]
        evalkit("run", data, *where, "--out", out)
    assert once.stdout.splitlines()[0] == asked
    assert (told["refusal"], told["reasoning"]) == (
        message.get("refusal"), message.get("reasoning") or message.get("reasoning_content"),
    )  # fmt: skip
    assert shown in evalkit("show", out, "--conversation", "a").stdout.splitlines()


def test_a_megabyte_of_answer_is_printed_whole():
    with serve(Script(answer=lambda body: "wort " * 200_000)) as server:
        done = evalkit("ask", "hello", *flags(server))
    assert done.stdout.splitlines()[0].strip() == ("wort " * 200_000).strip()


def test_ask_shows_a_hostile_answer_as_text():
    with serve(Script(answer=lambda body: "\x1b[2J\x1b]0;owned\x07[bold]hi[/bold]")) as server:
        done = evalkit("ask", "hello", *flags(server))
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert "[bold]hi[/bold]" in done.stdout
