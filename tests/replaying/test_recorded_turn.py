"""The request of a recorded turn is, byte for byte, the one that the endpoint received."""

import asyncio
import json

import pytest
from commands import evalkit
from recording_server import recording
from runfiles import S, T, endpoint, write

import evalkit as ek
from evalkit.client import request_as_code
from evalkit.errors import RunFileError
from evalkit.replaying.recorded_turn import recorded_turn
from evalkit.runfile.store import RunFile

PROPERTIES = {"b": {"type": "number"}, "a": {"type": "number"}}
FUNCTION = {"name": "add", "description": "adds", "parameters": {"type": "object", "properties": PROPERTIES}}
TOOL = {"type": "function", "function": FUNCTION}
HOSTILE = 'it\'s `id` $(touch owned) \\ "q" \r\n\t!! \u202e \x00 \u2028 \x9b 🙂 %s'


@pytest.fixture(scope="module")
def server():
    with recording() as serving:
        yield serving


@pytest.fixture(autouse=True)
def _empty(server):
    server.received.clear()
    server.answers, server.refuse = [HOSTILE, "It is 35.", ""], lambda body: None


def dataset(tmp_path, *rows):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def asked(server, path, tmp_path, params=None, **settings):
    settings = {"concurrency": 1, "retries": 0, **settings}
    return ek.evaluate(
        path, ek.Endpoint(server.base_url, "m", params=params or {}), out=tmp_path / "r.evalkit", **settings
    )


def bodies(run, keys):
    """The bodies of turns, given as conversation, turn and repeat."""
    return [recorded_turn(run.path, *key).request.body for key in keys]


def received(server):
    return [request.body for request in server.received]


def test_every_turn_with_hostile_text_tools_and_parameters(server, tmp_path):
    path = dataset(
        tmp_path,
        {"id": "a", "system": HOSTILE, "tools": [TOOL], "params": {"top_p": 0.5, "b": {"z": 1, "a": 2}, "stop": None},
         "turns": [{"user": HOSTILE}, {"user": "x" * 20_000}, {"user": "again"}]},
        {"id": "b", "turns": [{"user": "x"}], "context": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "add", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "3"}]},
    )  # fmt: skip
    run = asked(server, path, tmp_path, {"temperature": 0.0, "stop": ["\n"]}, repeats=2, seed=7)
    keys = [(name, turn, repeat) for repeat in (1, 2) for name, turn in [("a", 1), ("a", 2), ("a", 3), ("b", 1)]]
    assert bodies(run, keys) == received(server)
    assert len(set(received(server))) == 8
    assert all(recorded_turn(run.path, *key).order_known for key in keys)


def test_golden_history_whole_answers_and_a_system_prompt_of_the_run(server, tmp_path):
    turns = [{"user": f"q{n}", "assistant": f"gold {n}"} for n in range(3)]
    path = dataset(tmp_path, {"id": "a", "system": "old", "turns": turns})
    server.refuse = lambda body: (400, "no") if b"q1" in body and b"q2" not in body else None
    run = asked(server, path, tmp_path, history="golden", stream=False, system="new")
    first, last = bodies(run, [("a", 1, 1), ("a", 3, 1)])
    assert [first, last] == received(server)
    refused = json.loads(recorded_turn(run.path, "a", 2).request.body)  # a turn that failed has a request too
    assert [message["content"] for message in refused["messages"]] == ["new", "q0", "gold 0", "q1"]


@pytest.mark.parametrize("reason", ["Unrecognized request argument: stream_options", "Bad Request"])
def test_what_a_session_left_out_for_the_endpoint_is_left_out(server, tmp_path, reason):
    """The first refusal names ``stream_options``, or nothing: then they are left out on a guess."""
    server.refuse = lambda body: (400, reason) if b"stream_options" in body else None
    path = dataset(tmp_path, *({"id": name, "turns": [{"user": "x"}, {"user": "y"}]} for name in "ab"))
    run = asked(server, path, tmp_path)
    assert bodies(run, [("a", 1, 1), ("a", 2, 1), ("b", 1, 1), ("b", 2, 1)]) == received(server)
    assert b"stream_options" not in received(server)[0]


def test_a_refused_demand_of_a_call(server, tmp_path):
    demand = {"tool_choice": "required"}
    server.refuse = lambda body: (400, "tool_choice must be auto") if b'"required"' in body else None
    path = dataset(
        tmp_path, *({"id": name, "tools": [TOOL], "params": demand, "turns": [{"user": "x"}]} for name in "ab")
    )
    run = asked(server, path, tmp_path)
    assert bodies(run, [("a", 1, 1), ("b", 1, 1)]) == received(server)
    assert b'"tool_choice":"auto"' in received(server)[1]


def test_a_resumed_conversation_and_a_raised_limit(server, tmp_path):
    """A session that continues a conversation sends the row of the run file, whose keys are sorted."""
    path = dataset(tmp_path, {"id": "a", "tools": [TOOL], "turns": [{"user": "x"}, {"user": "y"}]})
    failing = [True]
    server.refuse = lambda body: (500, "later") if failing[0] and b'"y"' in body else None
    run = asked(server, path, tmp_path, {"max_tokens": 5})
    failing[0] = False
    ek.resume(run.path, endpoint=ek.Endpoint(server.base_url, "m", params={"max_tokens": 5}))
    one, two = received(server)
    assert one.index(b'"name"') < one.index(b'"description"')
    assert two.index(b'"name"') > two.index(b'"description"')
    assert bodies(run, [("a", 1, 1), ("a", 2, 1)]) == [one, two]


def test_without_its_dataset_the_values_are_those_of_the_request(server, tmp_path):
    path = dataset(
        tmp_path, {"id": "a", "tools": [TOOL], "turns": [{"user": "x"}]}, {"id": "b", "turns": [{"user": "y"}]}
    )
    run = asked(server, path, tmp_path)
    path.unlink()
    with_tools, without = recorded_turn(run.path, "a", 1), recorded_turn(run.path, "b", 1)
    assert (with_tools.order_known, without.order_known) == (False, True)
    assert json.loads(with_tools.request.body) == json.loads(received(server)[0])
    assert without.request.body == received(server)[1]
    assert "another order" in evalkit("curl", run.path, "a", "1").stderr


def test_the_last_request_of_tool_rounds(server, tmp_path):
    """The calls, their further keys and results go back, in the order in which they came."""
    function = {"name": "add", "arguments": "", "thought_signature": "s"}
    call = {"index": 0, "id": "x", "type": "function", "function": function, "extra_content": {"z": 1, "a": 2}}
    server.answers = [{"tool_calls": [call], "reasoning_content": "hm"}, "It is 35."] * 2
    path = dataset(
        tmp_path, {"id": "a", "tools": [TOOL], "tool_results": {"add": 3}, "turns": [{"user": "x"}, {"user": "y"}]}
    )
    run = asked(server, path, tmp_path)
    _, first, _, second = received(server)
    assert bodies(run, [("a", 1, 1), ("a", 2, 1)]) == [first, second]
    assert recorded_turn(run.path, "a", 1).rounds == 1
    assert "this is the last one" in evalkit("curl", run.path, "a", "1").stderr


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (("z", 1, 1), "has no conversation 'z'; its conversations begin with 'a'"),
        (("a", 9, 1), "has no turn 9 of conversation 'a' in repeat 1"),
        (("a", 1, 2), "has no turn 1 of conversation 'a' in repeat 2"),
        (("a", 2, 1), "turn 2 of conversation 'a' was never sent"),
    ],
)
def test_turns_without_a_request(tmp_path, key, words):
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1), T("a", 2, error="cancelled")])]))
    with RunFile.open(path) as run, run.connection as connection:
        connection.execute("UPDATE turn SET attempts = 0 WHERE turn = 2")
    with pytest.raises(RunFileError) as error:
        recorded_turn(path, *key)
    assert words in str(error.value)


def test_an_earlier_answer_that_no_longer_counts(tmp_path):
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1, error="truncated"), T("a", 2)])]))
    with pytest.raises(RunFileError, match="saw an answer of turn 1 that no longer counts"):
        recorded_turn(path, "a", 2)


def test_an_imported_run_has_no_requests(tmp_path):
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1)])]), source="imported")
    with pytest.raises(RunFileError, match="imported from another tool"):
        recorded_turn(path, "a", 1)


def test_a_file_cannot_name_the_variable_of_another_key(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-for-strangers")
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1)])]), key_env="AWS_SECRET_ACCESS_KEY")
    assert recorded_turn(path, "a", 1).request.key_env == request_as_code.KEY_VARIABLE
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")  # the user pairs the address with a variable
    assert recorded_turn(path, "a", 1).request.key_env == "OPENAI_API_KEY"
    printed = evalkit("curl", path, "a", "1").stdout
    assert not [word for word in ("not-for-strangers", "AWS") if word in printed]


def test_the_embedded_endpoint_is_named_by_the_variables_that_serve_prints(tmp_path):
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1)])]), source="embedded", key_env="EVALKIT_X")
    request = recorded_turn(path, "a", 1).request
    assert "curl -N \"$SERVICE_HOST\"'/v1/chat/completions'" in request.curl()
    assert '"Authorization: Bearer $TASKINGAI_API_KEY"' in request.curl()
    assert "base_url=os.environ['SERVICE_HOST'] + '/v1', api_key=os.environ['TASKINGAI_API_KEY']" in request.python()


def test_a_request_is_made_where_an_event_loop_runs_already(server, tmp_path):
    run = asked(server, dataset(tmp_path, {"id": "a", "turns": [{"user": "x"}]}), tmp_path)

    async def in_a_notebook():
        return bodies(run, [("a", 1, 1)])

    assert asyncio.run(in_a_notebook()) == received(server)
