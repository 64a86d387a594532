"""OpenTelemetry spans: their attributes by today's conventions, and nothing that was said unless asked for."""

import json
import re

import pytest
from runfiles import MS, S, T, endpoint, never_sent, talk, write

from evalkit.errors import SettingsError
from evalkit.exporting.formats import export_run
from evalkit.importing.import_run import import_answers

READ = """
import sys
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
spans = []
for line in open(sys.argv[1], encoding="utf-8"):
    request = json_format.Parse(line, ExportTraceServiceRequest())
    spans += request.resource_spans[0].scope_spans[0].spans
print(len(spans), spans[1].attributes[0].value.string_value)
"""
IDS = {"traceId": 32, "spanId": 16, "parentSpanId": 16}


def plain(value):
    ((kind, found),) = value.items()
    kinds = {"intValue": int, "arrayValue": lambda many: list(map(plain, many.get("values", [])))}
    return kinds.get(kind, lambda same: same)(found)


def attributes(one):
    assert len({each["key"] for each in one["attributes"]}) == len(one["attributes"])
    return {each["key"]: plain(each["value"]) for each in one["attributes"]}


def traces(run, path, **options):
    """The spans of each line, checked as OTLP JSON has them."""
    done = export_run(run, "otlp-json", path, **options)
    found = []
    for line in path.read_text(encoding="utf-8").removesuffix("\n").split("\n"):
        (resource,) = json.loads(line)["resourceSpans"]
        assert attributes(resource["resource"])["service.name"] == "evalkit"
        (scope,) = resource["scopeSpans"]
        for span in scope["spans"]:
            for name, length in IDS.items():
                assert name not in span or re.fullmatch(f"[0-9a-f]{{{length}}}", span[name])
            assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
            assert isinstance(span["startTimeUnixNano"], str)
        root, *turns = scope["spans"]
        assert {(each["traceId"], each["parentSpanId"]) for each in turns} == {(root["traceId"], root["spanId"])}
        found.append(scope["spans"])
    spans = [span for trace in found for span in trace]
    assert done.rows == len(spans) == len({span["spanId"] for span in spans})
    return found, done


def test_a_conversation_is_a_trace_and_a_turn_a_span(run, tmp_path):
    found, _ = traces(run.path, tmp_path / "x.jsonl")
    assert [len(trace) for trace in found] == [5, 5, 2, 2, 2, 2, 3, 3, 3, 3]
    root, first, *_, last = found[0]
    assert (root["name"], root["kind"], first["name"], first["kind"]) == ("conversation", 1, "chat scripted", 3)
    assert root["startTimeUnixNano"] == first["startTimeUnixNano"]
    assert root["endTimeUnixNano"] == last["endTimeUnixNano"]
    about = attributes(first)
    assert about | {"server.port": 1, "gen_ai.response.time_to_first_chunk": 1} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "scripted",
        "server.address": "127.0.0.1",
        "server.port": 1,
        "gen_ai.conversation.id": "long",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.max_tokens": 64,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 8,
        "evalkit.repeat": 1,
        "evalkit.turn": 1,
        "evalkit.attempts": 1,
        "evalkit.outcome": "answered",
        "gen_ai.response.time_to_first_chunk": 1,
    }
    took_s = (int(first["endTimeUnixNano"]) - int(first["startTimeUnixNano"])) / 1e9
    assert 0 < about["gen_ai.response.time_to_first_chunk"] <= took_s < 60
    (event,) = first["events"]
    assert (event["name"], event["timeUnixNano"]) == ("gen_ai.evaluation.result", first["endTimeUnixNano"])
    assert attributes(event) == {
        "gen_ai.evaluation.name": "number",
        "gen_ai.evaluation.score.value": 1.0,
        "gen_ai.evaluation.score.label": "correct",
    }


def test_the_ids_are_the_same_at_each_export(run, tmp_path):
    (first, _), (second, _) = (traces(run.path, tmp_path / f"{name}.jsonl") for name in "ab")
    assert first == second


def test_what_was_said_is_there_only_when_asked_for(run, tmp_path):
    traces(run.path, tmp_path / "without.jsonl")
    assert not re.search("12 [+] 23|The sum|brief|final number", (tmp_path / "without.jsonl").read_text())
    found, _ = traces(run.path, tmp_path / "with.jsonl", content=True)
    about = attributes(found[0][2])
    roles = [message["role"] for message in json.loads(about["gen_ai.input.messages"])]
    assert roles == ["user", "assistant", "user"]
    assert json.loads(about["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    (answer,) = json.loads(about["gen_ai.output.messages"])
    assert (answer["role"], answer["finish_reason"], answer["parts"][0]["type"]) == ("assistant", "stop", "text")
    assert "276" in answer["parts"][0]["content"]
    (event,) = found[0][3]["events"]
    assert attributes(event)["gen_ai.evaluation.score.label"] == "incorrect"
    assert attributes(event)["gen_ai.evaluation.explanation"] == "the final number is 2, not 3"


def test_with_the_golden_history_a_turn_has_seen_the_golden_answers(golden, tmp_path):
    found, _ = traces(golden.path, tmp_path / "x.jsonl", content=True)
    seen = json.loads(attributes(found[0][4])["gen_ai.input.messages"])
    golden_answers = [each["parts"][0]["content"] for each in seen if each["role"] == "assistant"]
    assert golden_answers == ["35", "276", "3"]


def test_a_failed_turn_is_an_error_and_one_that_was_never_sent_is_no_span(tmp_path):
    turns = [
        T("a", 1, error="timeout"),
        T("a", 2, error="cancelled"),
        T("b", 1, error="cancelled"),
    ]
    run = never_sent(write(tmp_path / "r.evalkit", [S(turns, end_ms=None)]), (0, 1, 2), (1, 1, 1))
    ((_, span),), done = traces(run, tmp_path / "x.jsonl")
    assert span["status"] == {"code": 2}
    assert attributes(span)["error.type"] == "timeout"
    assert "events" not in span
    assert done.left_out == {"turns without times: never sent, or interrupted": 2}
    ((_, span),), _ = traces(run, tmp_path / "x.jsonl", content=True)
    assert span["status"]["message"]


def test_the_times_are_those_of_the_wall_clock(tmp_path):
    run = write(tmp_path / "r.evalkit", [S([T("a", 1, sent_ms=250, latency_ms=400)], start_ms=100)])
    ((_, span),), _ = traces(run, tmp_path / "x.jsonl")
    assert int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]) == 400 * MS


def test_texts_and_settings_of_strangers_stay_texts(tmp_path):
    name = 'a"\0\u2028\x1b'
    run = write(
        tmp_path / "r.evalkit", [S([T(name, 1, text="x" * 100_000, score=1.0)])], [talk(name, (1,), tags=("t",))]
    )
    endpoint(
        run, model="m\n{}", base_url="http://[bad", params={"temperature": "hot", "seed": True, "stop": ["a", "b"]}
    )
    ((root, span),), _ = traces(run, tmp_path / "x.jsonl", content=True)
    about = attributes(span)
    assert (about["gen_ai.conversation.id"], about["gen_ai.request.model"]) == (name, "m\n{}")
    assert about["gen_ai.request.stop_sequences"] == ["a", "b"]
    assert not about.keys() & {"server.address", "server.port", "gen_ai.request.temperature", "gen_ai.request.seed"}
    assert attributes(root)["evalkit.tags"] == ["t"]


def test_an_imported_run_has_no_times_to_write(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "a", "question": "q", "answer": "x"}\n')
    run = import_answers(tmp_path / "a.jsonl", out=tmp_path / "r.evalkit").run
    with pytest.raises(SettingsError, match="has no times, which every span needs: choose another format"):
        export_run(run, "otlp-json", tmp_path / "x.jsonl")
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.timeout(300)
def test_the_reader_of_opentelemetry_accepts_every_line(run, tools_python, tmp_path):
    _, done = traces(run.path, tmp_path / "x.jsonl", content=True)
    read = tools_python(READ, tmp_path / "x.jsonl")
    assert read.stdout.split() == [str(done.rows), "chat"] == ["30", "chat"], read.stderr[-2_000:]
