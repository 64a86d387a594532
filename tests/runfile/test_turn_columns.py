"""What became of a turn, and what the model said in it, is the same in every view."""

import csv
import io
import json
import re

import pandas as pd
import pytest
from comparing import said
from pages import unpacked
from rich.console import Console
from runfiles import S, T, talk, write

import evalkit
from evalkit.analysis import tables
from evalkit.analysis.measures import measure
from evalkit.console.transcript import show_transcript
from evalkit.conversation import ToolCall
from evalkit.gates import junit
from evalkit.report.transcript_browser import browser_page
from evalkit.runfile.turn_columns import model_texts

CALL = ToolCall("add", '{"a": 1}', "call-1")
# outcome, turn, and what a view shows
CASES = {
    "text": ("answered", T("c", 1, text="35 it is"), "answer: 35 it is"),
    "text and reasoning": (
        "answered", T("c", 1, text="35 it is", reasoning="3 and 2"), "reasoning: 3 and 2\n  answer: 35 it is",
    ),
    "refusal": ("refused", T("c", 1, text="", refusal="I cannot help."), "refusal: I cannot help."),
    "refusal after text": ("refused", T("c", 1, text="Sure", refusal="No."), "answer: Sure\n  refusal: No."),
    "refusal of blanks": ("answered", T("c", 1, text="35", refusal=" "), "answer: 35"),
    "reasoning": ("reasoning_only", T("c", 1, text="", reasoning="let me see"), "reasoning: let me see"),
    "reasoning, then blanks": ("reasoning_only", T("c", 1, text="\n \n", reasoning="hm"), "reasoning: hm"),
    "refusal after reasoning": (
        "refused", T("c", 1, text="", reasoning="hm", refusal="No."), "reasoning: hm\n  refusal: No.",
    ),
    "a call": (
        "tool_calls", T("c", 1, text="", calls=(CALL,), reasoning="hm"),
        'reasoning: hm\n  answer: \n  call: add({"a": 1})',
    ),
    "nothing": ("empty", T("c", 1, text=""), "answer: "),
    "failed, with a part": ("failed", T("c", 1, text="The pro", error="truncated"), "answer: The pro"),
    "failed while it reasoned": ("failed", T("c", 1, text="", reasoning="hm", error="timeout"), "reasoning: hm"),
    "failed": ("failed", T("c", 1, text="", error="server"), "error: server: the server message"),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    outcome, turn, shown = CASES[request.param]
    path = write(tmp_path / "r.evalkit", [S([turn])], [talk("c", targets=("x",))])
    return said(path, endpoint={"model": "m", "base_url": "http://x/v1"}), outcome, turn, shown


def test_the_table_and_every_export_have_the_outcome_and_all_that_was_said(case, tmp_path):
    path, outcome, turn, _ = case
    expected = [outcome, turn.text or None, turn.refusal, turn.reasoning or None]
    names = ["outcome", "answer", "refusal", "reasoning"]
    (row,) = tables.turns(path).to_dict("records")
    assert [None if pd.isna(row[name]) else row[name] or None for name in names] == expected
    counts = ["reasoning_tokens", "cached_tokens", "cache_write_tokens"]
    later = ["question", "target", "reason", "model"]
    assert list(row)[-11:] == ["outcome", "refusal", "reasoning", *counts, "logprobs", *later]
    assert (row["question"], row["target"], row["model"]) == ("c, question 1", "x", "m")
    out = tmp_path / "out"
    tables.export(path, "jsonl", out)
    assert [json.loads(out.read_text())[name] or None for name in names] == expected
    tables.export(path, "csv", out)
    (row,) = csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"), newline=""))
    assert [row[name] or None for name in names] == expected


def test_a_transcript_shows_what_was_said_by_its_name(case):
    path, outcome, _, shown = case
    (row,) = tables.transcript(path, "c")
    assert row["outcome"] == outcome
    written = io.StringIO()
    show_transcript(Console(file=written, width=100, highlight=False, markup=False), tables.read_transcript(path, "c"))
    lines = [re.sub(r"^  (\w+) +", r"\1: ", line) for line in written.getvalue().splitlines()]
    for line in shown.split("\n  "):
        assert line in lines
    assert [line for line in lines if line.startswith("reasoning")] == re.findall(r"reasoning: .*", shown)


def test_a_build_server_and_a_report_tell_the_same(case, tmp_path):
    path, outcome, turn, shown = case
    out = tmp_path / "out.xml"
    junit.write(path, out, measure(path), [])
    if turn.error is not None:
        assert shown in out.read_text(encoding="utf-8").replace("&quot;", '"')
    packed = re.search(r'"application/gzip"[^>]*>([^<]+)<', browser_page([path]))[1]
    turns = unpacked(packed)["turns"]
    assert turns["outcome"] == [outcome]
    held = [turns[name][0] for name in ("answer", "refusal", "reasoning")]
    names = ("answer", "refusal", "reasoning")
    texts = {name: text for name, text in zip(names, held, strict=True) if text is not None}
    assert texts == dict(re.findall(r"(answer|refusal|reasoning): (.*)", shown))


def test_reasoning_in_the_text_is_shown_apart_from_the_answer(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("c", 1, text="<think>3 and 2</think>\n\n35")])], [talk("c")])
    (row,) = tables.transcript(path, "c")
    shown = model_texts(row["outcome"], row["answer"], row["refusal"], row["reasoning"])
    assert shown == [("reasoning", "3 and 2"), ("answer", "35")]
    assert row["answer"] == "<think>3 and 2</think>\n\n35"  # as received


def test_a_wrong_refusal_and_a_wrong_thought_are_in_the_output_of_a_build_server(tmp_path):
    turns = [T("a", 1, text="", refusal="I cannot help.", score=0.0), T("b", 1, text="", reasoning="hm", score=0.0)]
    path, out = write(tmp_path / "r.evalkit", [S(turns)]), tmp_path / "out.xml"
    junit.write(path, out, measure(path), [])
    assert "\n  refusal: I cannot help.\n" in out.read_text()
    assert "\n  reasoning: hm\n" in out.read_text()


def test_flips_tell_a_refusal_from_an_empty_answer(tmp_path):
    first = write(tmp_path / "a.evalkit", [S([T("a", 1, score=1.0), T("b", 1, score=1.0), T("c", 1, score=1.0)])])
    turns = [
        T("a", 1, text="", refusal="I cannot help.", score=0.0), T("b", 1, text="", reasoning="hm", score=0.0),
        T("c", 1, text="", score=0.0),
    ]  # fmt: skip
    flips = evalkit.compare(first, write(tmp_path / "b.evalkit", [S(turns)])).flips()
    assert flips["first_outcome"].tolist() == ["answered"] * 3
    assert flips["second_outcome"].tolist() == ["refused", "reasoning_only", "empty"]
    assert flips["second_refusal"].tolist()[0] == "I cannot help."
    assert flips["second_reasoning"].tolist()[1] == "hm"
    assert flips["second_answer"].tolist() == ["", "", ""]
