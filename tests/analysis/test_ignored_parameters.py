"""Limits and demands that an endpoint does not heed, noticed by what comes, in whole runs over real sockets."""

import json

import pytest
from answering import answering, rows, stream, whole

import evalkit as ek
from evalkit.analysis.ignored_parameters import demanded_function
from evalkit.cli.main import main
from evalkit.scripted.server import Script, serve

KEY = "tkQ7Zx2Wb9Lm4Rt6Yc8Nv1Hp3Js5Gd0K"
LONG = ["word "] * 40
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": {"type": "object"}}}
CALL = {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]}


def looked(tmp_path, reply, *, params=None, stream=True):
    data = rows(tmp_path / "d.jsonl", 4)
    with answering(reply) as url:
        run = ek.evaluate(data, ek.Endpoint(url, "m", params=params or {}), out=tmp_path / "r.evalkit", stream=stream)
    return run, run.summary_json()["ignored_parameters"]


def usage(output, reasoning=None):
    details = {} if reasoning is None else {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    return {"prompt_tokens": 5, "completion_tokens": output, **details}


LONGER = {
    "by the server's count": (lambda body, n: stream(["35"], usage=usage(40)), {"max_tokens": 32}, True),
    "not streamed": (lambda body, n: whole(usage=usage(40)), {"max_tokens": 32}, False),
    "by the other name": (lambda body, n: stream(usage=usage(40)), {"max_completion_tokens": 32}, True),
    "by both names": (
        lambda body, n: stream(usage=usage(40)), {"max_tokens": 32, "max_completion_tokens": 16}, True,
    ),
    "by the events of a stream": (lambda body, n: stream(LONG, finish=None), {"max_tokens": 32}, True),
    "cut at a limit of its own": (lambda body, n: stream(usage=usage(4096), finish="length"), {"max_tokens": 32}, True),
    "with reasoning, which counts here": (
        lambda body, n: stream(usage=usage(40, 30)), {"max_completion_tokens": 32}, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(LONGER))
def test_answers_longer_than_their_limit_are_counted(tmp_path, name):
    reply, params, streamed = LONGER[name]
    _, result = looked(tmp_path, reply, params=params, stream=streamed)
    assert result["max_tokens"] == {"parameters": list(params), "answers": 4, "longer": 4}


HEEDED = {
    "as many": (lambda body, n: stream(usage=usage(32)), {"max_tokens": 32}, 4),
    "reasoning that may not count": (lambda body, n: stream(usage=usage(400, 380)), {"max_tokens": 32}, 4),
    "reasoning that is not counted apart": (
        lambda body, n: stream(LONG, field="reasoning_content", usage=usage(40)), {"max_tokens": 32}, 0,
    ),
    "parts of tokens": (lambda body, n: stream(["w"] * 40, finish=None), {"max_tokens": 32}, 0),
    "parts of tokens, counted": (lambda body, n: stream(["w"] * 40, usage=usage(10)), {"max_tokens": 32}, 4),
    "cut there, by another tokenizer's count": (
        lambda body, n: stream(usage=usage(36), finish="length"), {"max_tokens": 32}, 4,
    ),
    "several tokens in an event": (lambda body, n: stream(["a b c d "] * 10, finish=None), {"max_tokens": 32}, 4),
    "nothing to count": (lambda body, n: whole(usage=None), {"max_tokens": 32}, 0),
    "the larger of two": (lambda body, n: stream(usage=usage(40)), {"max_tokens": 32, "max_completion_tokens": 64}, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", list(HEEDED))
def test_what_may_be_within_its_limit_is_not_called_longer(tmp_path, name):
    reply, params, answers = HEEDED[name]
    _, result = looked(tmp_path, reply, params=params)
    assert result["max_tokens"] == {"parameters": list(params), "answers": answers, "longer": 0}


@pytest.mark.parametrize("model", ["X5lMscriptedassistant000", "TpAbCdEf"])
@pytest.mark.parametrize("streamed", [True, False])
def test_taskingai_which_ignores_limits_is_noticed(tmp_path, monkeypatch, model, streamed):
    monkeypatch.setenv("MY_KEY", KEY)
    data = rows(tmp_path / "d.jsonl", 4)
    with serve(Script(profile="taskingai", key=KEY)) as server:  # 20 tokens an answer
        endpoint = ek.Endpoint(server.base_url, model, key_env="MY_KEY", params={"max_tokens": 8})
        run = ek.evaluate(data, endpoint, out=tmp_path / "r.evalkit", stream=streamed)
    result = run.summary_json()["ignored_parameters"]
    assert result["max_tokens"] == {"parameters": ["max_tokens"], "answers": 4, "longer": 4}
    assert result["cut_off"] == {"at_limit": 0, "elsewhere": 0}


def test_without_a_limit_nothing_is_said(tmp_path):
    _, result = looked(tmp_path, lambda body, n: stream(LONG, usage=usage(4000)), params={"temperature": 0})
    assert result == {"max_tokens": None, "tool_choice": None, "cut_off": {"at_limit": 0, "elsewhere": 0}}


@pytest.mark.parametrize(
    ("endpoint", "row", "longer"),
    [
        ({"max_tokens": 8}, {"max_tokens": 64}, 0),
        ({"max_tokens": 64}, {"max_tokens": 8}, 4),
        ({}, {"max_tokens": 8}, 4),
    ],
)
def test_the_limit_of_a_row_wins(tmp_path, endpoint, row, longer):
    data = rows(tmp_path / "d.jsonl", 4, params=row)
    with answering(lambda body, n: stream(usage=usage(40))) as url:
        run = ek.evaluate(data, ek.Endpoint(url, "m", params=endpoint), out=tmp_path / "r.evalkit")
    result = run.summary_json()["ignored_parameters"]
    assert result["max_tokens"] == {"parameters": ["max_tokens"], "answers": 4, "longer": longer}


CUT = {
    "at the limit": (lambda body, n: stream(usage=usage(32), finish="length"), {"max_tokens": 32}, (4, 0)),
    "as long as the limit, no reason": (lambda body, n: stream(LONG[:32], finish=None), {"max_tokens": 32}, (4, 0)),
    "as long as the limit, ended itself": (lambda body, n: stream(usage=usage(32)), {"max_tokens": 32}, (0, 0)),
    "no count, and a reason": (lambda body, n: whole(finish="length"), {"max_tokens": 32}, (4, 0)),
    "far below the limit": (lambda body, n: stream(usage=usage(7), finish="length"), {"max_tokens": 32}, (0, 4)),
    "far above it": (lambda body, n: stream(usage=usage(2048), finish="length"), {"max_tokens": 32}, (0, 4)),
    "no limit": (lambda body, n: stream(usage=usage(2048), finish="length"), {}, (0, 4)),
    "as long by chance": (
        lambda body, n: stream(LONG[: 32 if n else 40], finish=None), {"max_tokens": 32}, (0, 0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CUT))
def test_cut_off_at_max_tokens_is_said_where_it_can_be(tmp_path, name, capsys):
    reply, params, (at_limit, elsewhere) = CUT[name]
    run, result = looked(tmp_path, reply, params=params)
    assert result["cut_off"] == {"at_limit": at_limit, "elsewhere": elsewhere}
    main(["show", str(run.path)])
    said = " ".join(capsys.readouterr().out.split())
    assert ("4 answers were cut off at the token limit (max_tokens)" in said) == (at_limit > 0)
    assert ("4 answers were cut off at a token limit of the endpoint's own" in said) == (elsewhere > 0)


def test_it_is_said_in_the_terminal_and_in_both_reports(tmp_path, capsys):
    run, _ = looked(tmp_path, lambda body, n: stream(usage=usage(40 if n < 3 else 4)), params={"max_tokens": 32})
    said = "his endpoint seems to ignore max_tokens: 3 of 4 answers are longer"
    main(["show", str(run.path)])
    assert said in " ".join(capsys.readouterr().out.split())
    for name in ("report.html", "report.md"):
        main(["report", str(run.path), "--out", str(tmp_path / name)])
        assert said in (tmp_path / name).read_text()


@pytest.mark.parametrize(
    ("reply", "params", "tools", "result"),
    [
        (lambda body, n: stream(), {"tool_choice": "required"}, True, {"turns": 4, "without_call": 4}),
        (lambda body, n: whole(message=CALL), {"tool_choice": "required"}, True, {"turns": 4, "without_call": 0}),
        (
            lambda body, n: whole(message=CALL),
            {"tool_choice": {"type": "function", "function": {"name": "other"}}}, True, {"turns": 4, "without_call": 4},
        ),
        (lambda body, n: stream(), {"function_call": {"name": "get_weather"}}, True, {"turns": 4, "without_call": 4}),
        (lambda body, n: stream(), {"tool_choice": "auto"}, True, None),
        (lambda body, n: stream(), {"tool_choice": "required"}, False, None),
    ],
)  # fmt: skip
def test_a_demanded_call_that_does_not_come_is_counted(tmp_path, reply, params, tools, result):
    data = rows(tmp_path / "d.jsonl", 4, **({"tools": [TOOL]} if tools else {}), params=params)
    with answering(reply) as url:
        run = ek.evaluate(data, ek.Endpoint(url, "m"), out=tmp_path / "r.evalkit")
    assert run.summary_json()["ignored_parameters"]["tool_choice"] == result


def test_most_turns_without_their_call_are_said(tmp_path, capsys):
    data = rows(tmp_path / "d.jsonl", 4, tools=[TOOL])
    with answering(lambda body, n: stream() if n else whole(message=CALL)) as url:
        endpoint = ek.Endpoint(url, "m", params={"tool_choice": "required"})
        run = ek.evaluate(data, endpoint, out=tmp_path / "r.evalkit")
    main(["show", str(run.path)])
    said = "this endpoint seems to ignore tool_choice: 3 of 4 turns that demanded a function call brought none"
    assert said in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("required", ""), ("any", ""), ("auto", None), ("none", None), (None, None), ({"type": "auto"}, None),
        ({"type": "function", "function": {"name": "f"}}, "f"), ({"type": "tool", "name": "f"}, "f"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}, ""),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}, None),
    ],
)  # fmt: skip
def test_which_choice_demands_a_call(choice, wanted):
    assert demanded_function({"tool_choice": choice}) == wanted


def test_ask_says_that_an_answer_was_cut_off_or_is_too_long(monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody")

    def asked(reply, *more):
        with answering(reply) as url:
            main(["ask", "hello", "--base-url", url, "--model", "m", *more])
        return capsys.readouterr().out

    assert "this answer was cut off at the token limit (max_tokens)" in asked(
        lambda body, n: stream(usage=usage(8), finish="length"), "--max-tokens", "8"
    )
    assert "this answer was cut off at a token limit of the endpoint's own" in asked(
        lambda body, n: stream(finish="length")
    )
    assert "this endpoint seems to ignore max_tokens: this answer is longer" in asked(
        lambda body, n: stream(usage=usage(40)), "--max-tokens", "8"
    )
    plain = json.loads(asked(lambda body, n: stream(), "--max-tokens", "8", "--json"))["turns"][0]
    assert plain["ignored_parameters"]["cut_off"] == {"at_limit": 0, "elsewhere": 0}
