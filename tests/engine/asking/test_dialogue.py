"""One conversation against the scripted server, over real HTTP: what each turn sees, tool rounds, retries."""

import asyncio
import json

import pytest
from raw_server import answer, completion, serving

from evalkit.client.transport import Transport
from evalkit.conversation import Conversation, Message, ToolCall, Turn
from evalkit.endpoint import Endpoint
from evalkit.engine.asking.dialogue import Dialogue
from evalkit.engine.asking.request_sender import RequestSender
from evalkit.engine.asking.tool_functions import as_coroutines
from evalkit.engine.pacing.pause import Pause
from evalkit.engine.pacing.retries import RetryPolicy
from evalkit.record import NO_RESULT, Answer, Attempt, Timing, TurnRecord
from evalkit.runfile.finished_turn import stored_record
from evalkit.scripted.server import Calling, Fault, Law, Script, serve

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
FAST = RetryPolicy(retries=2, base_s=0.001, cap_s=0.001)


def talk(script, conversation, *, answered=None, stream=True, retry=FAST, params=None, **fields):
    """Ask the conversation; give its records, and the sender as it was left."""

    async def all_turns(base_url, model):
        endpoint = Endpoint(base_url, model, params=params or {})
        async with Transport(endpoint) as transport:
            sender = RequestSender(transport, endpoint, stream=stream, retry=retry)
            dialogue = Dialogue(sender, conversation, **fields)
            records = []

            async def keep(record):
                records.append(record)
                return True

            await dialogue.run(keep, answered)
            return records, sender

    with serve(script) as server:
        return asyncio.run(all_turns(server.base_url, server.model))


def seen_by(bodies):
    """An answer function that keeps the messages it is asked with, and numbers its answers."""

    def answer(body):
        bodies.append(body)
        return f"answer {len(bodies)}"

    return answer


THREE = Conversation("c", tuple(Turn(f"question {n}", assistant=f"golden {n}") for n in (1, 2, 3)), system="Be brief.")


ONE = Conversation("c", (Turn("question"),))


def test_own_history_shows_the_models_own_answers():
    bodies = []
    records, _ = talk(Script(answer=seen_by(bodies)), THREE)
    assert [record.answer.text for record in records] == ["answer 1", "answer 2", "answer 3"]
    assert [message["content"] for message in bodies[2]["messages"]] == [
        "Be brief.", "question 1", "answer 1", "question 2", "answer 2", "question 3",
    ]  # fmt: skip


def test_golden_history_shows_the_datasets_answers():
    bodies = []
    talk(Script(answer=seen_by(bodies)), THREE, history="golden")
    assert [message["content"] for message in bodies[2]["messages"]] == [
        "Be brief.", "question 1", "golden 1", "question 2", "golden 2", "question 3",
    ]  # fmt: skip


def test_context_is_between_the_system_prompt_and_the_first_turn():
    bodies = []
    shot = (Message("user", "1 + 1?"), Message("assistant", "2"))
    talk(Script(answer=seen_by(bodies)), Conversation("c", (Turn("2 + 2?"),), system="S", context=shot))
    assert [message["content"] for message in bodies[0]["messages"]] == ["S", "1 + 1?", "2", "2 + 2?"]


def test_a_failed_turn_ends_an_own_history_and_the_rest_is_not_sent():
    records, _ = talk(Script(faults=[Fault("server_error", numbers={2, 3, 4})]), THREE)
    assert [record.status for record in records] == ["answered", "error", "error"]
    assert [len(record.attempts) for record in records] == [1, 3, 0]
    assert records[2].failure.kind == "cancelled"
    assert records[2].failure.message == ("Not sent: turn 2 failed (server), and this turn needs its answer.")


def test_a_failed_turn_does_not_hinder_a_golden_history():
    records, _ = talk(Script(faults=[Fault("server_error", numbers={2, 3, 4})]), THREE, history="golden")
    assert [record.status for record in records] == ["answered", "error", "answered"]


def test_a_temporary_fault_is_retried_and_each_attempt_is_a_record():
    records, _ = talk(
        Script(faults=[Fault("server_error", numbers={1}, options={"status": 503})]),
        Conversation("c", (Turn("hello"),)),
    )
    first, second = records[0].attempts
    assert (first.failure.kind, second.failure) == ("server", None)
    assert (first.number, second.number) == (1, 2)
    assert second.timing.due > first.timing.end
    assert records[0].good is second


def test_answered_turns_are_not_sent_again_but_are_seen():
    bodies = []
    kept = TurnRecord("c", 1, 1, (Attempt(Timing(0, 0, 0), answer=Answer("kept answer")),))
    records, _ = talk(Script(answer=seen_by(bodies)), THREE, answered={1: kept})
    assert [record.turn for record in records] == [2, 3]
    assert [message["content"] for message in bodies[0]["messages"]][1:3] == ["question 1", "kept answer"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_tool_round_gives_the_result_and_takes_the_answer_after_it(stream):
    conversation = Conversation(
        "c", (Turn("Weather in Paris?"),), tools=(TOOL,), tool_results={"get_weather": {"sky": "sunny"}}
    )
    records, _ = talk(Script(answer=Calling()), conversation, stream=stream)
    record = records[0]
    assert record.failure is None
    assert [call.name for call in record.tool_calls] == ["get_weather"]
    assert [attempt.round for attempt in record.attempts] == [0, 1]
    assert record.exchange[0].tool_calls[0].name == "get_weather"
    assert record.exchange[1].content == '{"sky": "sunny"}'
    assert record.exchange[1].tool_call_id == record.exchange[0].tool_calls[0].id
    assert record.answer.text


@pytest.mark.parametrize(("city", "rounds"), [("Rome", [0, 1]), ("Oslo", [0])])
def test_a_result_by_arguments_is_given_to_the_call_that_it_fits(city, rounds):
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": json.dumps({"city": city})},
    }
    results = {"get_weather": {"$by_arguments": [{"arguments": {"city": "Rome"}, "result": "sunny"}]}}
    conversation = Conversation("c", (Turn("Weather?"),), tools=(TOOL,), tool_results=results)
    records = []

    async def handler(request, writer):
        given = json.loads(request.body)["messages"][-1]["role"] == "tool"
        writer.write(answer("200 OK", completion("Sunny.") if given else completion(None, tool_calls=[call])))

    async def keep(record):
        records.append(record)
        return True

    async def ask():
        async with serving(handler) as (server, transport):
            sender = RequestSender(transport, Endpoint(server.url, "m"), stream=False)
            await Dialogue(sender, conversation).run(keep)

    asyncio.run(ask())
    (record,) = records
    assert record.failure is None
    assert [attempt.round for attempt in record.attempts] == rounds
    assert [message.content for message in record.exchange[1:]] == ["sunny"] * (len(rounds) - 1)


def test_python_functions_are_called_and_the_model_sees_their_errors():
    def get_weather(city):
        raise LookupError(f"no weather for {city or 'nowhere'}")

    conversation = Conversation("c", (Turn("Weather in Paris?"),), tools=(TOOL,))
    records, _ = talk(Script(answer=Calling()), conversation, functions=as_coroutines({"get_weather": get_weather}))
    assert records[0].exchange[1].content.startswith('{"error": "LookupError: no weather for ')


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({("a", 1): 2}, "TypeError"),
        ("half \ud800", "half ?"),
        ({"at": object}, "object"),
        ({"at": float("nan")}, "ValueError"),
        ([float("inf")], "ValueError"),
    ],
    ids=["no JSON key", "half a character", "no JSON value", "not a number", "infinity"],
)
def test_results_that_cannot_be_sent_as_they_are_do_not_end_a_run(result, told):
    conversation = Conversation("c", (Turn("Weather in Paris?"),), tools=(TOOL,))
    records, _ = talk(
        Script(answer=Calling()), conversation, functions=as_coroutines({"get_weather": lambda city: result})
    )
    assert told in records[0].exchange[1].content
    assert records[0].status == "answered"


def test_tool_rounds_are_bounded():
    class Insatiable(Calling):
        def __call__(self, body):
            return super().__call__({**body, "messages": body["messages"][:1]})

    conversation = Conversation("c", (Turn("Weather?"),), tools=(TOOL,), tool_results={"get_weather": "rain"})
    records, _ = talk(Script(answer=Insatiable()), conversation, max_tool_rounds=3)
    assert len(records[0].attempts) == 4
    assert len(records[0].tool_calls) == 4


def test_a_call_without_a_result_is_the_answer_and_later_turns_see_it_closed():
    bodies = []

    def answer(body):
        bodies.append(body)
        return Calling()(body) if len(bodies) == 1 else "fine"

    conversation = Conversation("c", (Turn("Weather in Paris?"), Turn("Thank you.")), tools=(TOOL,))
    records, _ = talk(Script(answer=answer), conversation)
    assert isinstance(records[0].answer.tool_calls[0], ToolCall)
    assert [message["role"] for message in bodies[1]["messages"]] == ["user", "assistant", "tool", "user"]
    assert bodies[1]["messages"][2]["content"] == NO_RESULT


def test_a_legacy_function_call_gets_an_id_so_that_its_result_can_name_it():
    call = ToolCall("get_weather", "{}")
    bodies = []
    kept = TurnRecord("c", 1, 1, (Attempt(Timing(0, 0, 0), answer=Answer(tool_calls=(call,))),))
    conversation = Conversation("c", (Turn("Weather?"), Turn("Thanks.")), tools=(TOOL,))
    talk(Script(answer=seen_by(bodies)), conversation, answered={1: kept})
    _, assistant, tool, _ = bodies[0]["messages"]
    assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"] == "call_1_0_0"


@pytest.mark.parametrize("form", ["tool_calls", "function_call"])
def test_ids_made_up_for_calls_differ_and_are_the_same_after_a_resume(form):
    """Two turns with tool rounds, one whose calls have no result, one that sees them all."""
    told = {"name": "get_weather", "arguments": "{}"}
    calls = {"tool_calls": [{"function": told}, {"function": told}]} if form == "tool_calls" else {form: told}
    conversation = Conversation(
        "c", tuple(Turn(f"Question {n}") for n in range(4)), tools=(TOOL,), tool_results={"get_weather": "sunny"}
    )

    async def handler(request, writer):
        messages = json.loads(request.body)["messages"]
        results = sum(message["role"] == "tool" for message in messages[-2 if form == "tool_calls" else -1 :])
        number = sum(message["role"] == "user" for message in messages)
        called = number < 4 and (not results or number == 3)
        writer.write(answer("200 OK", completion(None, **calls) if called else completion("Sunny.")))

    async def ask(answered):
        records = []

        async def keep(record):
            records.append(record)
            return True

        async with serving(handler) as (server, transport):
            sender = RequestSender(transport, Endpoint(server.url, "m"), stream=False)
            await Dialogue(sender, conversation, max_tool_rounds=1).run(keep, answered)
            return records, json.loads(server.requests[-1].body)["messages"]

    records, seen = asyncio.run(ask(None))
    ids = [call["id"] for message in seen for call in message.get("tool_calls", ())]
    assert len(ids) == len(set(ids)) == (8 if form == "tool_calls" else 4)
    assert [message["tool_call_id"] for message in seen if message["role"] == "tool"] == ids
    stored = {record.turn: as_stored(record) for record in records[:3]}
    assert asyncio.run(ask(stored))[1] == seen


def as_stored(record):
    """A turn as the next session reads it from the run file."""
    calls = json.dumps([call.to_json() for call in record.tool_calls])
    exchange = json.dumps([message.to_json() for message in record.exchange])
    return stored_record(record.conversation, record.repeat, record.turn, record.answer.text, None, calls, exchange)


@pytest.mark.parametrize("where", ["row", "endpoint", "both"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "demand",
    [{"tool_choice": "required"}, {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
     {"function_call": {"name": "get_weather"}}],
    ids=["required", "one by name", "legacy"],
)  # fmt: skip
def test_a_demanded_call_is_not_demanded_again_after_its_result(where, stream, demand):
    bodies = []

    def answer(body):
        bodies.append(body)
        return Calling()(body)

    (name, wanted), *_ = demand.items()
    conversation = Conversation(
        "c", (Turn("Weather in Paris?"), Turn("And in Rome?")), tools=(TOOL,), tool_results={"get_weather": "sunny"},
        params={} if where == "endpoint" else demand,
    )  # fmt: skip
    talk(Script(answer=answer), conversation, stream=stream, params={} if where == "row" else {**demand, "seed": 7})
    assert [body.get(name) for body in bodies] == [wanted, None, wanted, None]
    assert where == "row" or {body["seed"] for body in bodies} == {7}


def test_refused_stream_options_are_left_out_from_then_on():
    records, sender = talk(Script(faults=[Fault("reject_stream_options")]), THREE)
    assert [record.status for record in records] == ["answered"] * 3
    assert [len(record.attempts) for record in records] == [2, 1, 1]
    assert sender.fallbacks.no_usage


def cut(script, conversation, after_s, *, stream=True, retry=FAST, **fields):
    """What is kept of a conversation whose task is cancelled after so long."""

    async def begun(base_url, model):
        endpoint = Endpoint(base_url, model)
        async with Transport(endpoint) as transport:
            records = []

            async def keep(record):
                records.append(record)
                return False

            sender = RequestSender(transport, endpoint, stream=stream, retry=retry)
            task = asyncio.create_task(Dialogue(sender, conversation, **fields).run(keep))
            await asyncio.sleep(after_s)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return records

    with serve(script) as server:
        return asyncio.run(begun(server.base_url, server.model))


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_cut_by_the_end_of_the_session_is_stored_as_a_lower_bound(stream):
    (record,) = cut(Script(law=Law(ttft_ms=5_000)), ONE, 0.3, stream=stream)
    (attempt,) = record.attempts
    assert record.interrupted
    assert record.failure.kind == attempt.failure.kind == "cancelled"
    assert attempt.latency_ns is None
    assert 0.1e9 < attempt.censored_ns == attempt.timing.end - attempt.timing.sent < 5e9


def test_the_part_of_an_answer_that_came_before_the_session_ended_is_kept_with_its_first_token():
    (record,) = cut(Script(law=Law(ttft_ms=20, itl_ms=2_000)), ONE, 0.5)
    assert record.answer.text
    assert record.attempts[0].ttft_ns >= 20e6
    assert record.attempts[0].censored_ns > record.attempts[0].ttft_ns


def test_a_turn_that_waits_for_a_retry_keeps_its_attempts():
    slow = RetryPolicy(retries=3, base_s=30, cap_s=30)
    (record,) = cut(Script(faults=[Fault("server_error", share=1.0)]), ONE, 0.3, retry=slow)
    assert [attempt.failure.kind for attempt in record.attempts] == ["server"]
    assert (record.failure.kind, record.attempts[-1].censored_ns) == ("cancelled", None)
    assert "waited" in record.failure.message


def test_a_turn_that_waits_for_a_function_keeps_the_call_and_has_no_latency():
    async def never(arguments):
        await asyncio.sleep(60)

    conversation = Conversation("c", (Turn("Weather?"),), tools=(TOOL,))
    (record,) = cut(Script(answer=Calling()), conversation, 0.3, functions={"get_weather": never})
    assert [call.name for call in record.tool_calls] == ["get_weather"]
    assert (record.failure.kind, record.good) == ("cancelled", None)


def test_a_turn_that_was_never_sent_leaves_nothing():
    pause = Pause()
    pause.hold(60)

    async def go(base_url, model):
        endpoint = Endpoint(base_url, model)
        async with Transport(endpoint) as transport:
            records = []

            async def keep(record):
                records.append(record)
                return False

            task = asyncio.create_task(Dialogue(RequestSender(transport, endpoint, pause=pause), ONE).run(keep))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return records

    with serve(Script()) as server:
        assert asyncio.run(go(server.base_url, server.model)) == []
