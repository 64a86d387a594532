"""Turns with their question, target and verdict."""

import sqlite3
from pathlib import Path

import pandas as pd
from runfiles import S, T, create, talk, write

import evalkit as ek
from evalkit.analysis.turn_verdicts import verdicts

COLUMNS = [
    *("conversation", "repeat", "turn", "user", "target", "answer", "score", "extracted", "reason"),
    *("verdict", "cut_off", "after_wrong"),
]


def cut(path: Path, *keys: tuple[int, int]) -> None:
    """Let these turns, by position and turn, have ended at a limit."""
    with sqlite3.connect(path) as connection:
        connection.executemany("UPDATE turn SET finish_reason = 'length' WHERE (conversation, turn) = (?, ?)", keys)


def test_each_turn_has_its_question_target_and_verdict(path: Path) -> None:
    turns = [
        T("a", 1, score=1.0, extracted=35, text="35 it is"),
        T("a", 2, score=0.5, reason="half of it"),
        T("a", 3, reason="cannot judge"),
        T("b", 1, error="timeout", text=""),
    ]
    write(path, [S(turns)], [talk("a"), talk("b")])
    frame = ek.Run(path).verdicts()
    assert list(frame.columns) == COLUMNS
    assert frame["verdict"].tolist() == ["right", "wrong", "unscored", "failed"]
    assert frame["user"].tolist() == ["a, question 1", "a, question 2", "a, question 3", "b, question 1"]
    assert frame["target"].tolist() == [35, 276, 311, 35]
    assert frame.loc[0, ["answer", "score", "extracted"]].tolist() == ["35 it is", 1.0, 35]
    assert frame["reason"].tolist()[1:3] == ["half of it", "cannot judge"]
    assert pd.isna(frame.loc[2, "score"])


def test_an_answer_that_was_cut_off_is_not_simply_wrong_and_may_be_right(path: Path) -> None:
    write(path, [S([T("a", 1, score=0.0), T("a", 2, score=1.0), T("a", 3, reason="?"), T("b", 1, score=0.0)])])
    cut(path, (0, 1), (0, 2), (0, 3))
    frame = verdicts(path)
    assert frame["verdict"].tolist() == ["cut off", "right", "cut off", "wrong"]
    assert frame["cut_off"].tolist() == [True, True, True, False]


def test_a_failed_turn_is_failed_even_if_its_part_ended_at_a_limit(path: Path) -> None:
    write(path, [S([T("a", 1, error="empty")])])
    cut(path, (0, 1))
    assert verdicts(path)[["verdict", "cut_off"]].values.tolist() == [["failed", False]]


def test_after_wrong_looks_at_earlier_turns_of_the_same_conversation_and_repeat(path: Path) -> None:
    turns = [
        *(T("a", 1, score=1.0), T("a", 2, score=0.0), T("a", 3, score=1.0)),
        *(T("b", 1, reason="?"), T("b", 2, score=0.5), T("b", 3, score=0.0)),
        *(T("a", 1, repeat=2, score=0.0), T("a", 2, repeat=2, score=0.0)),
    ]
    write(path, [S(turns)], [talk("a"), talk("b")])
    frame = verdicts(path).set_index(["conversation", "repeat"])["after_wrong"]
    assert frame.loc[("a", 1)].tolist() == [False, False, True]
    assert frame.loc[("a", 2)].tolist() == [False, True]
    assert frame.loc[("b", 1)].tolist() == [False, False, True]


def test_the_scoring_in_use_counts(path: Path) -> None:
    write(path, [S([T("a", 1, score=0.0, text="the answer is 35"), T("a", 2, score=1.0, text="276")])], [talk("a")])
    run = ek.Run(path)
    run.score("number")
    assert run.verdicts()["verdict"].tolist() == ["right", "right"]
    assert not run.verdicts()["after_wrong"].any()
    run.use_scoring(0)
    assert run.verdicts()["verdict"].tolist() == ["wrong", "right"]


def test_a_run_without_turns_has_no_rows(path: Path) -> None:
    create(path).close()
    frame = verdicts(path)
    assert (list(frame.columns), len(frame)) == (COLUMNS, 0)
    assert frame["cut_off"].dtype == bool
