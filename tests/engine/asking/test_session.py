"""How sessions send requests: by a schedule, with adapted concurrency, until a cap is reached; over real HTTP."""

import json
import os
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest

import evalkit as ek
from evalkit.engine.asking import session
from evalkit.errors import DatasetError
from evalkit.runfile import store
from evalkit.scripted.server import Arithmetic, Calling, Fault, Law, Script, serve


def rows(path, query):
    connection = store.open_to_read(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


@pytest.fixture
def ask(sums, tmp_path):
    """Run a dataset against a scripted server; give the run and what the server saw."""

    def run(script, conversations, turns=1, *, endpoint=None, **settings):
        with serve(script, process=True) as server:
            asked = ek.Endpoint(server.base_url, "scripted", **(endpoint or {}))
            run = ek.evaluate(sums(conversations, turns), asked, out=tmp_path / "r.evalkit", **settings)
            return run, server.stats(), server.log()

    return run


def test_an_open_loop_starts_conversations_when_the_schedule_says(ask):
    run, stats, _ = ask(Script(law=Law(ttft_ms=300, tokens=1)), 20, rate=100)
    due = np.array(rows(run.path, "SELECT due_ns FROM attempt ORDER BY due_ns")).ravel()
    assert set(np.diff(due).tolist()) == {10_000_000}
    assert stats["max_open"] > 10  # nobody waited for the answer before
    latencies = rows(run.path, "SELECT schedule_latency_ns, latency_ns, queue_ns FROM turn")
    assert all(scheduled >= latency + queue for scheduled, latency, queue in latencies)


def test_schedule_latency_shows_the_queue_that_service_latency_hides(ask):
    """100 requests a second at a server that takes 100 ms and one at a time, through two connections."""
    run, _, _ = ask(Script(law=Law(ttft_ms=100, tokens=1, slots=1)), 12, rate=100, concurrency=2)
    turns = rows(run.path, "SELECT latency_ns / 1e6, schedule_latency_ns / 1e6 FROM turn ORDER BY sent_ns")
    latency, scheduled = np.array(turns).T
    assert latency.max() < 500
    assert scheduled[-1] > 900
    result = run.summary_json()["schedule_latency_ms"]
    assert result["p50"] > 400 > run.summary_json()["latency_ms"]["p50"]


def test_a_schedule_is_kept_also_when_all_slots_are_taken(ask):
    run, stats, _ = ask(Script(law=Law(ttft_ms=50, tokens=1)), 10, rate=1000, concurrency=3)
    assert stats["max_open"] <= 4  # three, and the look at the statistics
    due = np.array(rows(run.path, "SELECT due_ns FROM attempt ORDER BY due_ns")).ravel()
    assert (np.diff(due) == 1_000_000).all()


def test_later_turns_of_a_scheduled_conversation_are_due_when_the_one_before_has_ended(ask):
    run, _, _ = ask(Script(law=Law(ttft_ms=20, tokens=1)), 4, 3, rate=50)
    found = rows(run.path, "SELECT turn, schedule_latency_ns - latency_ns FROM turn")
    assert len(found) == 12
    assert all(extra >= 0 for _, extra in found)
    assert rows(run.path, "SELECT count(*) FROM turn WHERE schedule_latency_ns IS NULL") == [(0,)]


def test_a_closed_loop_has_no_schedule_latency(ask):
    run, _, _ = ask(Script(), 2)
    assert rows(run.path, "SELECT DISTINCT schedule_latency_ns FROM turn") == [(None,)]
    assert run.summary_json()["schedule_latency_ms"] == {"p50": None, "p95": None, "p99": None}


def test_auto_finds_about_as_many_slots_as_the_server_has(ask):
    run, _, _ = ask(Script(law=Law(ttft_ms=20, tokens=1, slots=8)), 1000, concurrency="auto")
    trust = json.loads(rows(run.path, "SELECT trust FROM session")[0][0])
    limits = [limit for _, limit in trust["concurrency"]]
    assert limits[0] == 1
    assert max(limits) >= 4
    assert np.median(limits[len(limits) // 2 :]) <= 32
    summary = run.summary_json()
    assert (summary["turns"], summary["answered"], summary["errors"]) == (1000, 1000, {})


def test_auto_falls_when_requests_are_refused(ask):
    script = Script(law=Law(ttft_ms=20, tokens=1), faults=[Fault("rate_limited", numbers=range(40, 44))])
    run, _, _ = ask(script, 150, concurrency="auto", retries=8)
    limits = [limit for _, limit in json.loads(rows(run.path, "SELECT trust FROM session")[0][0])["concurrency"]]
    assert any(after < before for before, after in pairwise(limits))
    assert run.summary_json()["answered"] == 150


def test_a_wait_requested_of_one_request_holds_all_back(ask):
    script = Script(
        law=Law(ttft_ms=5, tokens=1),
        faults=[Fault("rate_limited", numbers={10}, options={"retry_after": 0.6})],
    )
    _, _, log = ask(script, 60, concurrency=4)
    received = np.array([entry.received_ns for entry in log]) / 1e9
    assert np.diff(received).max() > 0.55
    assert (received[10:] < received[9] + 0.55).sum() <= 3  # those that were under way


def test_a_failing_server_is_not_hammered_and_the_message_says_so(ask):
    script = Script(answer=Arithmetic(), faults=[Fault("server_error", numbers=range(5, 500))])
    run, stats, _ = ask(script, 100, concurrency=8, retries=5)
    assert stats["requests"] <= 100 + 10 + 20  # the turns, the reserve, a fifth of the turns
    (kind, _, count), *_ = run.failures()
    assert kind == "server"
    assert count > 80
    assert any("Not tried again: too many of the last requests failed." in text for _, text, _ in run.failures(100))


def test_a_time_limit_ends_the_session_in_an_orderly_way(ask):
    began = time.monotonic()
    run, stats, _ = ask(Script(law=Law(ttft_ms=100, tokens=1)), 500, concurrency=2, max_time_s=0.5)
    assert run.outcome == "max_time_s"
    assert time.monotonic() - began < 30
    assert 4 <= stats["requests"] < 60
    assert rows(run.path, "SELECT count(*) FROM turn WHERE status = 'answered'") == [(stats["requests"],)]
    assert rows(run.path, "SELECT outcome FROM session") == [("max_time_s",)]


def test_a_time_limit_ends_an_open_loop_too(ask):
    run, stats, _ = ask(Script(), 50, rate=2, max_time_s=0.7)
    assert run.outcome == "max_time_s"
    assert stats["requests"] == 2


def test_a_token_cap_ends_the_session_and_resume_continues(sums, tmp_path):
    out = tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic())) as server:
        endpoint = ek.Endpoint(server.base_url, "scripted")
        run = ek.evaluate(sums(30, 2), endpoint, out=out, concurrency=1, max_tokens_total=200)
        tokens = rows(out, "SELECT sum(prompt_tokens + output_tokens) FROM turn")[0][0]
        last = rows(out, "SELECT prompt_tokens + output_tokens FROM turn ORDER BY sent_ns DESC LIMIT 1")[0][0]
        assert run.outcome == "max_tokens_total"
        assert tokens - last < 200 <= tokens
        while ek.resume(out).outcome != "done":
            pass
        assert server.stats()["repeated_prompts"] == 0
    assert rows(out, "SELECT count(*) FROM turn WHERE status = 'answered'") == [(60,)]


def test_a_cost_cap_ends_the_session(ask):
    run, _, _ = ask(Script(answer=Arithmetic()), 50, concurrency=1, max_cost=0.01, price=(100.0, 100.0))
    tokens = rows(run.path, "SELECT sum(prompt_tokens + output_tokens) FROM turn")[0][0]
    assert run.outcome == "max_cost"
    assert 100 <= tokens < 150


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


class Uncounted:
    """A server that reports no usage; keeps the bodies it was sent, in the order they came, by their length in JSON."""

    def __init__(self, answer):
        self._answer, self.sent = answer, []

    def __call__(self, body):
        if "stream_options" not in body:  # refused: not worked on
            self.sent.append(len(json.dumps(body)) / 4)
        return self._answer(body)

    def serve(self):
        return serve(Script(answer=self, faults=[Fault("reject_stream_options")]))


class Insatiable(Calling):
    def __call__(self, body):
        return super().__call__({**body, "messages": body["messages"][:1]})


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        ({"tool_results": {"look": "x" * 8_000}, "tools": [TOOL]}, {"max_tool_rounds": 20}),
        ({"system": "x" * 8_000}, {}),
        ({"tools": [{**TOOL, "function": {**TOOL["function"], "description": "x" * 8_000}}]}, {"max_tool_rounds": 0}),
        ({"context": [{"role": "user", "content": "x" * 8_000}, {"role": "assistant", "content": "y"}]}, {}),
        ({"turns": [{"user": "x" * 8_000, "assistant": "Yes."}, *[{"user": "And?", "assistant": "x" * 900}] * 20]},
         {"history": "golden"}),
    ],
    ids=["tool results", "system prompt", "tools", "context", "golden history"],
)  # fmt: skip
def test_a_token_cap_holds_where_the_server_reports_no_counts(tmp_path, row, settings):
    """It overshoots by what was under way when it was used up: one request."""
    data = tmp_path / "d.jsonl"
    data.write_text("".join(json.dumps({"turns": [{"user": "Look."}], **row}) + "\n" for _ in range(12)))
    server = Uncounted(Insatiable() if "tool_results" in row else lambda body: "Yes.")
    with server.serve() as serving:
        endpoint = ek.Endpoint(serving.base_url, "scripted")
        run = ek.evaluate(
            data, endpoint, out=tmp_path / "r.evalkit", concurrency=1, max_tokens_total=9_000, **settings
        )  # fmt: skip
    assert run.outcome == "max_tokens_total"
    assert 8_000 < sum(server.sent) < 9_500 + max(server.sent)


def test_a_cap_reached_between_tool_rounds_is_reported_and_resume_sends_the_turn_again(tmp_path):
    data = tmp_path / "d.jsonl"
    data.write_text(json.dumps({"tools": [TOOL], "tool_results": {"look": "x" * 4_000}, "turns": [{"user": "Look."}]}))
    out = tmp_path / "r.evalkit"
    with serve(Script(answer=Calling())) as server:
        endpoint = ek.Endpoint(server.base_url, "scripted")
        run = ek.evaluate(data, endpoint, out=out, max_tokens_total=1)
        told = rows(out, "SELECT status, error_kind, error_message, attempts, latency_ns FROM turn")
        assert run.outcome == "max_tokens_total"
    words = "Not finished: max_tokens_total is used up, and the model was still calling functions."
    assert told == [("error", "cancelled", words, 1, None)]


def test_a_resumed_history_counts_towards_a_cap_where_the_server_reports_no_counts(tmp_path, sums):
    data = tmp_path / "d.jsonl"
    turns = [{"user": "Look at this: " + "x" * 8_000}, *[{"user": "And?"}] * 12]
    data.write_text(json.dumps({"turns": turns}))
    out = tmp_path / "r.evalkit"
    server = Uncounted(lambda body: "y" * 100)
    with server.serve() as serving:
        endpoint = ek.Endpoint(serving.base_url, "scripted")
        assert ek.evaluate(data, endpoint, out=out, max_tokens_total=9_000).outcome == "max_tokens_total"
        server.sent.clear()
        assert ek.resume(out).outcome == "max_tokens_total"
    assert 8_500 < sum(server.sent) < 9_500 + max(server.sent)


def test_nothing_is_retried_once_a_cap_is_reached(tmp_path):
    data = tmp_path / "d.jsonl"
    data.write_text(json.dumps({"turns": [{"user": "x" * 4_000}]}))
    out = tmp_path / "r.evalkit"
    with serve(Script(faults=[Fault("eof_midway")])) as server:
        run = ek.evaluate(data, ek.Endpoint(server.base_url, "scripted"), out=out, max_tokens_total=500)
        assert server.stats()["requests"] == 1
    ((message,),) = rows(out, "SELECT error_message FROM turn")
    assert run.outcome == "max_tokens_total"
    assert message.endswith(" Not tried again: max_tokens_total is used up.")


def test_functions_are_called_in_the_users_own_process(tmp_path):
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    data = tmp_path / "d.jsonl"
    data.write_text(json.dumps({"tools": [tool], "turns": [{"user": "Weather in Paris?"}]}), encoding="utf-8")
    seen = []

    def get_weather(city):
        seen.append((os.getpid(), city))
        return {"sky": "clear"}

    with serve(Script(answer=Calling())) as server:
        endpoint = ek.Endpoint(server.base_url, "scripted")
        run = ek.evaluate(data, endpoint, out=tmp_path / "r.evalkit", functions={"get_weather": get_weather})
    assert seen == [(os.getpid(), "Paris")]
    assert rows(run.path, "SELECT status, attempts FROM turn") == [("answered", 2)]
    exchange = json.loads(rows(run.path, "SELECT exchange FROM turn")[0][0])
    assert json.loads(exchange[1]["content"]) == {"sky": "clear"}


def test_a_reading_error_is_raised_after_the_items_read_before_it():
    def items():
        yield 1
        yield 2
        raise DatasetError("is broken")

    ahead = session._read_ahead(items())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(DatasetError):
        next(ahead)


def test_reading_ahead_stops_where_other_tasks_must_run():
    read = []

    def items():
        for item in (1, None, 2, 3):
            read.append(item)
            yield item

    ahead = session._read_ahead(items())
    assert [next(ahead), next(ahead), read] == [1, None, [1, None]]
    assert list(ahead) == [2, 3]


def test_the_asking_process_starts_without_what_few_datasets_need():
    heavy = {"chardet", "numpy", "pandas", "pyarrow"}
    code = f"import sys, evalkit.engine.asking.session; print({heavy} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
