"""What an endpoint refuses is found once and then left out of requests: against the scripted TaskingAI, over HTTP."""

import asyncio
import json
from pathlib import Path

import pytest

import evalkit as ek
from evalkit.client.transport import Transport
from evalkit.conversation import Conversation, Message, ToolCall, Turn
from evalkit.endpoint import Endpoint
from evalkit.engine.asking.dialogue import Dialogue
from evalkit.engine.asking.request_sender import RequestSender
from evalkit.engine.pacing.retries import RetryPolicy
from evalkit.record import CALL_NOT_DEMANDED, NO_TOOL_ROUNDS
from evalkit.scripted.server import Calling, Fault, Script, serve
from evalkit.wording import caveats

MODELS = ["X5lM" + "a" * 20, "Tp" + "b" * 6]
MODEL_NAMES = ["assistant", "model"]
DATA = Path(__file__).parents[3] / "data" / "function_calls.jsonl"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
FOUR = Conversation(
    "c", tuple(Turn(f"Weather in {city}?") for city in ("Paris", "Rome", "Oslo", "Bonn")), system="Be brief.",
    tools=(TOOL,), tool_results={"get_weather": {"sky": "sunny"}}, params={"tool_choice": "required"},
)  # fmt: skip


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("THE_KEY", "tk" + "Abcd1234" + "s" * 22)


def talk(script, conversation, model=None, *, stream=True):
    """Ask the conversation; give its records, and the bodies that the model was asked with."""
    bodies = []
    inner = script.answer or Calling()

    def answer(body):
        bodies.append(body)
        return inner(body)

    async def go(base_url, name):
        endpoint = Endpoint(base_url, model or name, "THE_KEY")
        async with Transport(endpoint) as transport:
            sender = RequestSender(transport, endpoint, stream=stream, retry=RetryPolicy(2, base_s=0.001, cap_s=0.001))
            records = []

            async def keep(record):
                records.append(record)
                return True

            await Dialogue(sender, conversation).run(keep)
            return records

    with serve(Script(profile=script.profile, answer=answer, faults=script.faults)) as server:
        return asyncio.run(go(server.base_url, server.model)), bodies


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("model", MODELS, ids=MODEL_NAMES)
def test_refused_demands_and_tool_rounds_are_found_once(model, stream):
    records, bodies = talk(Script(profile="taskingai"), FOUR, model, stream=stream)
    assert [record.status for record in records] == ["answered"] * 4
    # a refused demand, a call, its answer; a refused history, a call, its answer; then nothing is refused any more
    assert [len(record.attempts) for record in records] == [3, 3, 2, 2]
    assert [CALL_NOT_DEMANDED in record.good.flags for record in records] == [True] * 4
    assert [NO_TOOL_ROUNDS in record.good.flags for record in records] == [False, True, True, True]
    said = [record.answer.text for record in records]
    assert all("sunny" in text for text in said)
    # the final answers of earlier turns are kept, and the calls and results of the last turn
    last = bodies[-1]["messages"]
    assert [m["content"] for m in last if m["role"] == "assistant" and not m.get("tool_calls")] == said[:3]
    assert [message["role"] for message in last[-3:]] == ["user", "assistant", "tool"]
    assert sum(message["role"] == "tool" for message in last) == 1


@pytest.mark.parametrize(
    "choice",
    [{"type": "function", "function": {"name": "get_weather"}}, "any"],
    ids=["one by name", "another word"],
)
def test_other_demands_are_left_to_the_model_too(choice):
    conversation = Conversation("c", FOUR.turns[:1], tools=(TOOL,), params={"tool_choice": choice})
    (record,), _ = talk(Script(profile="taskingai"), conversation, MODELS[1])
    assert [attempt.http_status for attempt in record.attempts] == [422, 200]
    assert [call.name for call in record.tool_calls] == ["get_weather"]


def test_an_endpoint_that_accepts_everything_gets_unchanged_requests():
    records, bodies = talk(Script(), FOUR)
    assert [len(record.attempts) for record in records] == [2] * 4
    assert {flag for record in records for flag in record.good.flags} <= {"buffered"}
    assert sum(message["role"] == "tool" for message in bodies[-1]["messages"]) == 4
    assert bodies[0]["tool_choice"] == "required"


def test_an_empty_stream_of_an_endpoint_that_accepts_tool_rounds_is_only_retried():
    """The third turn's first request comes to nothing; the second turn's have been answered."""
    records, bodies = talk(Script(faults=[Fault("empty", numbers={5})]), FOUR)
    assert [len(record.attempts) for record in records] == [2, 2, 3, 2]
    assert {flag for record in records for flag in record.good.flags} <= {"buffered"}
    assert sum(message["role"] == "tool" for message in bodies[-1]["messages"]) == 4


def test_a_guess_that_does_not_help_is_not_kept():
    """Three requests come to nothing, one of them without tool rounds; what is answered then has them."""
    records, bodies = talk(Script(faults=[Fault("empty", numbers={3, 4})]), FOUR)
    assert [record.status for record in records] == ["answered"] * 4
    assert [NO_TOOL_ROUNDS in attempt.flags for attempt in records[1].attempts] == [False, True, False, False]
    assert sum(message["role"] == "tool" for message in bodies[-1]["messages"]) == 4


def test_a_refusal_that_names_something_else_is_no_refusal_of_a_demand():
    conversation = Conversation("c", FOUR.turns[:1], tools=({**TOOL, "type": "retrieval"},), params=FOUR.params)
    (record,), _ = talk(Script(profile="taskingai"), conversation, MODELS[0])
    assert (record.status, len(record.attempts)) == ("error", 2)  # the demand is refused first, then the tool
    assert record.failure.kind == "bad_request"


def test_context_with_tool_rounds_is_found_too():
    call = ToolCall("get_weather", '{"city": "Rome"}', "call_1")
    shot = (
        Message("user", "Weather in Rome?"), Message("assistant", None, (call,)),
        Message("tool", "rain", tool_call_id="call_1"), Message("assistant", "It rains."),
    )  # fmt: skip
    conversation = Conversation("c", (Turn("And in Oslo?"),), context=shot)
    (record,), _ = talk(Script(profile="taskingai", answer=lambda body: "Snow."), conversation, MODELS[0])
    assert [attempt.failure is None for attempt in record.attempts] == [False, True]
    assert record.good.flags.count(NO_TOOL_ROUNDS) == 1


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("model", MODELS, ids=MODEL_NAMES)
def test_the_function_calls_of_the_bundled_data_run_on_taskingai(tmp_path, model, stream):
    with serve(Script(profile="taskingai", answer=Calling())) as server:
        run = ek.evaluate(
            DATA, Endpoint(server.base_url, model, "THE_KEY"), out=tmp_path / "r.evalkit", stream=stream, limit=8
        )
    told = run.summary_json()
    assert told["errors"] == {}
    assert told["caveats"]["call_not_demanded"] == told["turns"]
    assert told["caveats"]["no_tool_rounds"] > 0
    assert told["ignored_parameters"]["tool_choice"] is None  # it was not demanded in the end, so it is not ignored
    sentences = " ".join(caveats.sentences(told["caveats"]))
    assert "the endpoint refuses a required call (tool_choice)" in sentences
    assert "had only their final answers in the history" in sentences
    assert json.dumps(told)
