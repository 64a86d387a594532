"""The requests of real runs, made again: those that were sent, also after the endpoint refused something."""

import json

import pytest
from checkups import checkup
from recording_server import recording

import evalkit as ek
from evalkit.recorded import recording_file


@pytest.fixture
def server():
    with recording() as serving:
        yield serving


def run_of(server, tmp_path, rows, **given):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    target, out = ek.Endpoint(server.base_url, "m"), tmp_path / "r.evalkit"
    return ek.evaluate(path, target, out=out, concurrency=1, retries=0, check=False, **given).path


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
CALL = {"index": 0, "id": "x", "type": "function", "function": {"name": "add", "arguments": "{}", "signature": "s"}}
ROUNDS = {"tools": [TOOL], "tool_results": {"add": 3}, "turns": [{"user": "x"}, {"user": "y"}]}
REFUSALS = {
    "a demanded call": lambda body: (400, "tool_choice must be auto") if b'"required"' in body else None,
    "keys by name": lambda body: (400, "Extra inputs: messages.1.tool_calls.0.function.signature is not permitted")
    if b'"signature"' in body else None,
    "tool rounds": lambda body: (400, "roles must alternate")
    if b'"tool"' in body and body.count(b'"role":"user"') > 1 else None,
    "token counts of a stream": lambda body: (400, "Unknown: stream_options") if b"stream_options" in body else None,
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_a_run_left_out_for_its_endpoint_is_left_out(server, tmp_path, name):
    sent = []

    def refuse(body):
        sent.append(json.loads(body))
        return REFUSALS[name](body)

    server.refuse = refuse
    server.answers = [{"tool_calls": [CALL]}, "It is 3.", "And 4.", {"tool_calls": [CALL]}, "It is 5.", "And 6."]
    params = {"tool_choice": "required"} if name == "a demanded call" else {}
    rows = [{"id": each, "params": params, **ROUNDS} for each in "ab"]
    path = run_of(server, tmp_path, rows)
    assert len(sent) > len(server.received)
    assert [each.request for each in recording_file.read(path).exchanges] == sent


def test_what_a_checkup_had_found_refused_was_never_sent(server, tmp_path):
    server.refuse = REFUSALS["token counts of a stream"]
    found = checkup(server.base_url, stream_usage="unsupported")
    with pytest.warns(UserWarning, match="stream_options.include_usage refused"):
        path = run_of(server, tmp_path, [{"id": each, "turns": [{"user": "x"}]} for each in "ab"], checkup=found)
    sent = [json.loads(each.body) for each in server.received]
    assert not any("stream_options" in body for body in sent)
    assert [each.request for each in recording_file.read(path).exchanges] == sent
