"""A recorded turn sent again to a real server, and what is shown of the difference."""

import json
import shutil
from pathlib import Path

import pytest
from commands import evalkit
from recording_server import recording
from runfiles import endpoint

import evalkit as ek
from evalkit.replaying.replay import Outcome, Replay


@pytest.fixture(scope="module")
def server():
    with recording() as serving:
        yield serving


@pytest.fixture(scope="module")
def run(server, tmp_path_factory):
    """One conversation of three turns; the last one fails."""
    folder = tmp_path_factory.mktemp("run")
    data = folder / "d.jsonl"
    turns = [{"user": "one"}, {"user": "two"}, {"user": "three"}]
    data.write_text(json.dumps({"id": "a", "turns": turns}) + "\n", encoding="utf-8")
    server.refuse = lambda body: (400, "no \x1b[31m") if b"three" in body else None
    return ek.evaluate(data, ek.Endpoint(server.base_url, "m"), out=folder / "r.evalkit", retries=0)


@pytest.fixture(autouse=True)
def _answering(server, run):
    server.received.clear()
    server.answers, server.refuse = ["It is 35."], lambda body: None


def replayed(run, *arguments):
    result = evalkit("replay", run.path, *arguments, "--json")
    return result.returncode, json.loads(result.stdout)


def test_the_same_answer(server, run):
    before = run.path.read_bytes()
    code, result = replayed(run, "a", 2)
    assert (code, result["same_answer"], result["differing"], result["diff"]) == (0, True, [], [])
    assert result["recorded"]["answer"] == result["replayed"]["answer"] == "It is 35."
    assert result["replayed"]["latency_ms"] > 0
    (received,) = server.received
    assert evalkit("curl", run.path, "a", 2, "--json").stdout.count("It is 35.") == 2
    assert received.body.decode() == json.loads(evalkit("curl", run.path, "a", 2, "--json").stdout)["body"]
    assert run.path.read_bytes() == before
    shown = evalkit("replay", run.path, "a", 2).stdout
    assert "the answer is the same" in shown
    assert "  It is 35." in shown


def test_another_answer(server, run):
    server.answers = ["It is\n36 \x1b[31m\u202e."]
    code, result = replayed(run, "a", 1)
    assert (code, result["same_answer"]) == (0, False)
    assert "-It is 35." in result["diff"]
    shown = evalkit("replay", run.path, "a", 1).stdout
    assert "the answer is different" in shown
    assert "+36" in shown
    assert not [character for character in shown if not character.isprintable() and character != "\n"]


def test_a_call_in_place_of_text(server, run):
    function = {"name": "add", "arguments": '{"a": 1}'}
    server.answers = [{"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": function}]}]
    code, result = replayed(run, "a", 1)
    assert (code, result["same_answer"]) == (0, False)
    assert '+add({"a": 1})' in result["diff"]
    assert result["differing"] == []  # this server says "stop" after a call too


@pytest.mark.parametrize(
    ("was", "now", "lines"),
    [
        ("-- a\nb\n--- c", "b\n+++ d\n++ e", ["--- a", " b", "---- c", "++++ d", "+++ e"]),
        ("---\ntitle\n---", "title", ["----", " title", "----"]),
        ("--i", "++i", ["---i", "+++i"]),
        ("", "++", ["+++"]),
        ("a\n", "a", "line ends"),
        ("a\r\nb", "a\nb", "line ends"),
        ("a\u2028b", "a\nb\n", "line ends"),
        ("a\n" * 3_000, "a\r\n" * 3_000, "line ends"),
        ("a\n" * 5_000, "a\n" * 3_000, "line 3001 is the first"),
        ("a\n" * 3_000, "a\n" * 5_000, "line 3001 is the first"),
        ("a\n", "a\n", []),
    ],
)
def test_every_line_that_differs_is_shown(was, now, lines):
    recorded, replayed = (Outcome(text, *[None] * 12) for text in (was, now))
    diff = Replay(Path("r.evalkit"), "a", 1, 1, recorded, replayed, None).diff()
    if isinstance(lines, str):
        (line,) = diff
        assert lines in line
    else:
        assert [line for line in diff if not line.startswith("@@")] == lines


def test_a_turn_that_failed_can_be_sent_again(server, run):
    code, result = replayed(run, "a", 3)
    assert (code, result["same_answer"], result["differing"]) == (0, None, ["error"])
    assert result["recorded"]["error"].startswith("bad_request: ")
    shown = evalkit("replay", run.path, "a", 3).stdout
    assert "the turn had failed, and now it is answered" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(("status", "code"), [(500, 1), (401, 3)])
def test_a_request_that_fails_now(server, run, status, code):
    server.refuse = lambda body: (status, "broken")
    assert replayed(run, "a", 1)[0] == code
    assert "the request failed this time" in evalkit("replay", run.path, "a", 1).stdout
    assert "the request failed again" in evalkit("replay", run.path, "a", 3).stdout


def test_a_long_text_is_not_compared_line_by_line(server, run):
    server.answers = ["\n".join(map(str, range(5_000)))]
    _, result = replayed(run, "a", 1)
    assert result["diff"] == ["@@ too long to be compared line by line: line 1 is the first that differs @@"]


def test_nothing_is_sent_to_an_address_that_only_a_file_names(run, tmp_path):
    stranger = {**run.info["endpoint"], "base_url": "http://stranger.example/v1"}
    path = endpoint(Path(shutil.copy(run.path, tmp_path / "r.evalkit")), **stranger)
    result = evalkit("replay", path, "a", 1)
    assert result.returncode == 2
    assert "nothing is sent to an address that only a file names" in result.stderr
    assert f"evalkit replay {path} a 1 --base-url http://stranger.example/v1" in result.stderr


def test_an_embedded_run_starts_its_endpoint_again(embedded, tmp_path):
    """The parameters make the answer the same, whichever port the server has."""
    data = tmp_path / "d.jsonl"
    data.write_text(json.dumps({"id": "a", "turns": [{"user": "Say yes."}]}) + "\n", encoding="utf-8")
    run = ek.evaluate(data, embedded.with_params(max_tokens=4), out=tmp_path / "r.evalkit")
    code, result = replayed(run, "a", 1)
    assert (code, result["same_answer"]) == (0, True), result
