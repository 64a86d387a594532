"""Verdicts of a careful reader on pairs of answer and target, written before the scorers read them."""

import json
from pathlib import Path

import pytest

from evalkit.conversation import ScorerSpec, ToolCall, Turn
from evalkit.judging.reply import read_reply
from evalkit.record import Answer
from evalkit.scorers import scoring

FOLDER = Path(__file__).parent / "pairs"
FILES = ("numbers", "choices", "tool_calls", "json", "dates", "texts")
LEAST_AGREEMENT = 0.97

# pairs that are judged otherwise than by the careful reader, and why
DISAGREEMENTS = {
    "numbers-range-08": "whether 'from 3 to 12' is a range or a change is not read from the verb after it: no score",
    "numbers-k-04": "2M can be two metres; only after a currency sign is m a million",
}


def pairs_of(name):
    with (FOLDER / f"{name}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


PAIRS = [pair for name in FILES for pair in pairs_of(name)]
REPLIES = pairs_of("judge_replies")


def verdict(pair):
    scorer = pair.get("scorer")
    spec = None
    if scorer is not None:
        options = {} if isinstance(scorer, str) else {key: scorer[key] for key in scorer if key != "name"}
        spec = ScorerSpec(scorer if isinstance(scorer, str) else scorer["name"], options)
    turn = Turn(pair.get("question") or "Answer.", pair["target"], spec)
    scoring.turn_checker()(turn)
    calls = tuple(
        ToolCall(call["name"], json.dumps(call["arguments"]), str(number))
        for number, call in enumerate(pair.get("calls", []))
    )
    extra = {"tools": pair["tools"]} if "tools" in pair else {}
    score = scoring.score(turn, Answer(pair.get("answer", ""), tool_calls=calls, finish_reason="stop"), **extra)
    return score.value, score.reason, score.extracted


@pytest.mark.parametrize("pair", PAIRS, ids=[pair["id"] for pair in PAIRS])
def test_a_pair_is_judged_as_a_careful_reader_does(pair):
    value, reason, extracted = verdict(pair)
    if pair["id"] in DISAGREEMENTS:
        assert value not in pair["right"], "it agrees now: take it out of the list"
    else:
        assert value in pair["right"], (reason, extracted)


@pytest.mark.parametrize("pair", REPLIES, ids=[pair["id"] for pair in REPLIES])
def test_a_judge_s_reply_is_read_strictly(pair):
    assert read_reply(pair["reply"], pair["choices"]).choice in pair["right"]


def test_nearly_all_pairs_agree():
    assert len(PAIRS) + len(REPLIES) >= 400
    assert len({pair["id"] for pair in PAIRS}) == len(PAIRS)
    assert len(DISAGREEMENTS) <= (1 - LEAST_AGREEMENT) * len(PAIRS)
