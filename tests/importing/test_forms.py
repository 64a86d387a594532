"""Each form read from real files, from older and broken ones, and from any JSON: an error names the place."""

import json
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from importing import CHAT, EVAL, PICK, batch_answer, deflated, eval_parts, inspect_json, lines

from evalkit.errors import DatasetError
from evalkit.importing import forms, inspect_log, log_zip


def read(path, **how):
    source = forms.read(path, **how)
    return source, list(source.answers())


def test_a_log_of_inspect(tmp_path):
    source, answers = read(EVAL)
    assert (source.form, source.model, source.scorer) == ("inspect", "mockllm/model", "match")
    assert source.about["task"] == "small"
    assert len(answers) == 10
    assert {(answer.id, answer.repeat) for answer in answers} >= {("q0", 1), ("q0", 2), ("chat", 2)}
    first = answers[0]
    assert first.row == {
        "id": "q0",
        "system": "Answer briefly.",
        "turns": [{"user": "What is 12 + 23?", "target": "35"}],
    }
    assert (first.answer.text, first.answer.finish_reason) == ("35", "stop")
    assert first.usage.output_tokens == 2
    assert (first.score.value, first.score.extracted) == (1.0, "35")
    chat = next(answer for answer in answers if answer.id == "chat")
    assert [message["role"] for message in chat.row["context"]] == ["user", "assistant"]
    assert chat.row["turns"][0]["target"] == ["4", "four"]
    old = deflated(tmp_path / "old.eval", eval_parts())
    assert read(old)[1] == answers


def test_a_log_whose_run_did_not_end(tmp_path):
    parts = eval_parts()
    del parts["header.json"]
    source, answers = read(deflated(tmp_path / "cut.eval", parts))
    assert len(answers) == 10
    assert source.scorer == "match"  # the first that is found
    parts["samples/q0_epoch_1.json"]["error"] = {"message": "RuntimeError('boom')", "traceback": "…"}
    failed = read(deflated(tmp_path / "failed.eval", parts))[1][0]
    assert (failed.failure.kind, failed.failure.message, failed.answer) == ("server", "RuntimeError('boom')", None)


@pytest.mark.parametrize(
    ("value", "score"),
    [
        ("C", 1), ("I", 0), ("P", 0.5), ("N", 0), ("yes", 1), ("False", 0), (True, 1), (0.25, 0.25), ("0.5", 0.5),
        (10**400, None), (-1e300, None),
        (7, None), (float("nan"), None), ("c", None), ("maybe", None), ([1], None), ({"a": 1}, None), (None, None),
    ],
)  # fmt: skip
def test_scores_of_inspect_are_numbers_as_inspect_counts_them(tmp_path, value, score):
    log = inspect_json(tmp_path / "log.json", scores={"mine": {"value": value, "explanation": "why"}})
    source, answers = read(log, score="mine")
    assert answers[0].score.value == score
    assert answers[0].score.reason
    assert bool(source.notes) == (score is None)


@pytest.mark.parametrize(
    ("usage", "prompt"),
    [
        # the total shows that the input leaves out what was cached
        ({"input_tokens": 20, "total_tokens": 110, "input_tokens_cache_read": 80}, 100),
        ({"input_tokens": 5, "total_tokens": 110, "input_tokens_cache_read": 80, "input_tokens_cache_write": 15}, 100),
        ({"input_tokens": 0, "total_tokens": 90, "input_tokens_cache_read": 80}, 80),
        ({"input_tokens": 20, "total_tokens": 140, "input_tokens_cache_read": 80, "reasoning_tokens": 30}, 100),
        # or that it does not
        ({"input_tokens": 100, "total_tokens": 110, "input_tokens_cache_read": 80}, 100),
        ({"input_tokens": 100, "total_tokens": 110, "input_tokens_cache_read": 100}, 100),
        ({"input_tokens": 100, "total_tokens": 110, "input_tokens_cache_write": 60}, 100),
        (
            {"input_tokens": 100, "total_tokens": 110, "input_tokens_cache_read": 60, "input_tokens_cache_write": 40},
            100,
        ),
        ({"input_tokens": 100, "total_tokens": 100, "input_tokens_cache_read": 80, "output_tokens": None}, 100),
        # more cached than the input: it cannot be a part of it
        ({"input_tokens": 20, "total_tokens": 30, "input_tokens_cache_read": 80}, 100),
        (
            {"input_tokens": 100, "total_tokens": 110, "input_tokens_cache_read": 60, "input_tokens_cache_write": 41},
            201,
        ),
        # nothing was cached
        ({"input_tokens": 100, "total_tokens": 110}, 100),
        ({"input_tokens": 100, "total_tokens": 110, "input_tokens_cache_read": 0}, 100),
        # a total that says nothing: as inspect writes it today
        ({"input_tokens": 100, "input_tokens_cache_read": 80}, 180),
        ({"input_tokens": 100, "total_tokens": 0, "input_tokens_cache_read": 80}, 180),
        ({"input_tokens": 100, "total_tokens": None, "input_tokens_cache_read": 80}, 180),
        ({"input_tokens": 100, "total_tokens": "110", "input_tokens_cache_read": 80}, 180),
        ({"input_tokens": 100, "total_tokens": [110], "input_tokens_cache_read": 80}, 180),
        ({"input_tokens": 1, "total_tokens": True, "input_tokens_cache_read": 1, "output_tokens": 0}, 2),
        # counts that are none
        ({"input_tokens": 100, "total_tokens": 110, "input_tokens_cache_read": "80"}, 100),
        ({"input_tokens": 100, "total_tokens": 110, "input_tokens_cache_read": -80}, 100),
        ({"input_tokens": None, "total_tokens": 10, "input_tokens_cache_read": 80}, None),
        ({"input_tokens": "100", "total_tokens": 110, "input_tokens_cache_read": 80}, None),
    ],
)  # fmt: skip
def test_cached_tokens_are_counted_once_in_logs_of_every_age(tmp_path, usage, prompt):
    output = {"completion": "35", "usage": {"output_tokens": 10, **usage}}
    counted = read(inspect_json(tmp_path / "log.json", output=output))[1][0].usage
    cached = usage.get("input_tokens_cache_read")
    assert counted.prompt_tokens == prompt
    assert counted.cached_tokens == (cached if type(cached) is int and cached >= 0 else None)


def test_a_scorer_with_several_values_has_a_score_for_each(tmp_path):
    log = inspect_json(tmp_path / "log.json", scores={"mine": {"value": {"right": 1, "brief": "I"}}})
    source, answers = read(log, score="mine.brief")
    assert answers[0].score.value == 0
    assert set(source.scorers) == {"mine", "mine.right", "mine.brief"}


def test_tool_rounds_reasoning_attachments_and_images(tmp_path):
    mark = "0" * 32
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image", "image": "data:x"}]},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "function": "add", "arguments": {"a": 1}}]},
        {"role": "tool", "content": f"attachment://{mark}", "tool_call_id": "1", "function": "add"},
        {"role": "assistant", "content": "2"},
    ]
    content = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "2"}]
    output = {"choices": [{"message": {"role": "assistant", "content": content}, "stop_reason": "max_tokens"}]}
    log = inspect_json(
        tmp_path / "log.json", messages=messages, output=output, attachments={mark: "the sum is 2"}, input="See"
    )
    source, answers = read(log)
    first = answers[0]
    assert first.row["turns"][0]["user"] == "See\n[image]"
    assert [message.role for message in first.exchange] == ["assistant", "tool"]
    assert first.exchange[0].tool_calls[0].arguments == '{"a": 1}'
    assert first.exchange[1].content == "the sum is 2"
    assert (first.answer.text, first.answer.reasoning, first.answer.finish_reason) == ("2", "hm", "length")
    assert source.notes["content parts of the kind image are only noted"] == 10


def test_samples_of_the_harness():
    source, answers = read(CHAT)
    assert (source.form, source.model, source.scorer) == ("lm-eval", "m", "exact_match,strict-match")
    assert source.base_url == "http://127.0.0.1:8000/v1/chat/completions"
    assert [answer.id for answer in answers] == ["0", "1", "2", "3"]  # a line for each of two filters
    turn = {"user": "Question: What is 12 + 23?\nAnswer:", "target": "35"}
    assert answers[0].row == {"id": "0", "turns": [turn]}
    assert (answers[1].answer.text, answers[1].score.value, answers[1].score.extracted) == (
        "It is 276",
        0.0,
        "[invalid]",
    )
    source, answers = read(PICK)
    assert [answer.answer.text for answer in answers][:2] == ["35", "276"]
    assert sum(source.notes.values()) == 4


def test_older_samples_and_metrics_of_the_whole_corpus(tmp_path):
    old = {
        "doc_id": 3, "doc": {}, "target": "x", "arguments": [["Prompt", {"until": []}]], "resps": [["one", "two"]],
        "filtered_resps": ["one"], "doc_hash": "h", "f1": ["x", ["one"]], "acc": True,
    }  # fmt: skip
    source, (answer,) = read(lines(tmp_path / "samples_old.jsonl", old))
    assert (answer.row["turns"][0]["user"], answer.answer.text, answer.score.value) == ("Prompt", "one", 1.0)
    assert list(source.notes) == [
        "documents have several responses: only the first is stored; the score is that of all"
    ]
    _, (answer,) = read(tmp_path / "samples_old.jsonl", score="f1,none")
    assert answer.score.value is None
    assert "not a number" in answer.score.reason


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("a.jsonl", {"x": 1}, r"line 1: no form of answers has the keys 'x'"),
        ("a.jsonl", {"custom_id": "r", "body": {}}, "holds the requests of a batch"),
        ("a.jsonl", "nonsense", "line 1: not valid JSON"),
        ("a.jsonl", [1], "line 1: must be an object"),
        ("a.jsonl", {"answer": 3, "id": "a"}, "line 1, field answer: must be text"),
        ("a.jsonl", {"answer": "x", "scroe": 1}, r"line 1, field scroe: unknown key; did you mean 'score'"),
        ("a.jsonl", {"answer": "x", "score": 2}, "line 1, field score: must be a number from 0 to 1"),
        ("a.jsonl", {"answer": "x", "messages": [{"role": "system", "content": "s"}]}, "field messages: hold no user"),
        ("a.jsonl", {"custom_id": None, "response": {}}, "line 1, field custom_id: must be text"),
        ("a.jsonl", {"custom_id": "a", "response": {"status_code": 200, "body": {}}}, r"response\.body\.choices"),
        ("a.jsonl", {"doc_id": 1, "resps": [], "arguments": [["p"]]}, "field resps: must be a list"),
        ("a.jsonl", {"doc_id": 1, "resps": [["x"]], "arguments": {}}, "field arguments: must hold the requests"),
        ("a.json", {"eval": {}, "samples": [1]}, "field eval: is missing"),
        ("a.json", {"eval": {"task": "t"}, "samples": [1]}, r"field samples\[0\]: must be an object"),
        ("a.json", {"eval": {"task": "t"}}, "field samples: is missing or empty"),
        ("a.eval", "no zip", "cannot be read as a zip"),
        ("a.jsonl", '{"id": "a", "answer": "\\ud800"}', "line 1: a text has half of a surrogate pair"),
        ("a.jsonl", '{"id": "a", "answer": ' + "[" * 5000 + "]" * 5000 + "}", "line 1: not valid JSON"),
    ],
)
def test_an_error_names_line_and_field(tmp_path, name, row, message):
    path = lines(tmp_path / name, row)
    with pytest.raises(DatasetError, match=message):
        read(path)


def test_zips_of_strangers_are_bounded(tmp_path, monkeypatch):
    parts = eval_parts()
    monkeypatch.setattr(inspect_log, "LARGEST_LOG", 10_000)
    parts["samples/q0_epoch_1.json"]["store"] = {"text": "a" * 20_000}
    with pytest.raises(DatasetError, match=r"field samples/q0_epoch_1\.json: has more than 10,000 bytes"):
        read(deflated(tmp_path / "large.eval", parts))
    monkeypatch.setattr(log_zip, "_MOST_FILES", 3)
    with pytest.raises(DatasetError, match="a log can have at most 3"):
        read(EVAL)
    monkeypatch.undo()
    with pytest.raises(DatasetError, match="not a log of inspect"):
        read(deflated(tmp_path / "other.eval", {"x.json": {}}))
    cut = tmp_path / "cut.eval"
    cut.write_bytes(EVAL.read_bytes()[:-200])
    with pytest.raises(DatasetError, match="cannot be read as a zip"):
        read(cut)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
VALID = {
    "answers": {"id": "a", "question": "q", "answer": "x", "score": 1, "messages": None},
    "lm-eval": json.loads(CHAT.read_text(encoding="utf-8").splitlines()[0]),
    "openai-batch": batch_answer("a", "x"),
    "inspect": None,
}


def changed(draw, value):
    """The value with one part of it, at any depth, replaced by any JSON value."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 3)):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = draw(st.sampled_from(list(keys)))
        copy = value.copy()
        copy[key] = changed(draw, value[key])
        return copy
    return draw(json_values)


@pytest.mark.parametrize("form", VALID)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_json_is_read_or_refused(tmp_path, form, data):
    if form == "inspect":
        log = {"eval": {"task": "t", "model": "m"}, "results": {"scores": [{"name": "match"}]}, "samples": [_sample()]}
        path = tmp_path / "log.json"
        path.write_text(json.dumps(changed(data.draw, log)), encoding="utf-8")
    else:
        path = lines(tmp_path / "file.jsonl", changed(data.draw, VALID[form]))
    try:
        source = forms.read(path, form)
        for answer in source.answers():
            assert (answer.answer is None) != (answer.failure is None)
            assert answer.score is None or answer.score.value is None or 0 <= answer.score.value <= 1
    except DatasetError:
        pass


@cache
def _sample():
    sample = eval_parts()["samples/q0_epoch_1.json"]
    names = ("id", "epoch", "input", "target", "messages", "output", "scores", "attachments")
    return {name: sample[name] for name in names}


def test_batches_of_other_services(tmp_path):
    empty = {"custom_id": "a", "response": {"status_code": 400, "body": None}, "error": {"message": "too long"}}
    unnumbered = batch_answer("b", "x")
    del unnumbered["response"]["status_code"]
    unnumbered["response"]["body"]["choices"] *= 2
    gone = {"custom_id": "c", "response": None, "error": None}
    source, answers = read(lines(tmp_path / "out.jsonl", empty, unnumbered, gone))
    assert [answer.failure and answer.failure.kind for answer in answers] == ["bad_request", None, "server"]
    assert "too long" in answers[0].failure.message
    assert answers[1].answer.text == "x"
    assert source.notes == {"requests have several answers: only the first is stored": 1}
