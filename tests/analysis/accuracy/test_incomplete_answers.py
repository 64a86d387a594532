"""The accuracy of a run without its incomplete answers."""

import pytest
from runfiles import S, T, talk, write

from evalkit.analysis.accuracy.by_turn import accuracy
from evalkit.analysis.accuracy.incomplete_answers import incomplete_answers
from evalkit.analysis.measures import opened


@pytest.mark.parametrize("groups", [(None,) * 8, ("g",) * 4 + ("h",) * 4])
def test_the_accuracy_without_cut_off_answers_is_that_of_a_run_that_never_had_them(tmp_path, groups):
    talks = [talk(f"c{n}", (1,), group=group) for n, group in enumerate(groups)]
    turns = [T(f"c{n}", 1, score=n % 2.0, finish_reason="length" if n < 3 else "stop") for n in range(8)]
    with opened(write(tmp_path / "all.evalkit", [S(turns)], talks)) as connection:
        found = incomplete_answers(connection)
    with opened(write(tmp_path / "few.evalkit", [S(turns[3:])], talks)) as connection:
        assert found["cut_off"].without == accuracy(connection)
    assert found["cut_off"].answers == 3
    assert (found["unconfirmed"].answers, found["unconfirmed"].without) == (0, None)


def test_failed_turns_are_neither_cut_off_nor_among_the_others(tmp_path):
    turns = [T("a", 1, score=0.0, finish_reason="length"), T("a", 2, error="truncated"), T("a", 3, score=1.0)]
    with opened(write(tmp_path / "r.evalkit", [S(turns)])) as connection:
        found = incomplete_answers(connection)["cut_off"]
    assert found.answers == 1
    assert (found.without.mean.n, found.without.mean.value) == (1, 1.0)


def test_of_an_empty_run_nothing_is_incomplete(tmp_path):
    with opened(write(tmp_path / "r.evalkit", [S([])])) as connection:
        assert [each.answers for each in incomplete_answers(connection).values()] == [0, 0]
