from pathlib import Path

import pytest
from runfiles import S, T, write

from evalkit.analysis.measures import opened
from evalkit.analysis.times import one_answer
from evalkit.errors import RunFileError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.evalkit"


def test_stamps_are_those_of_the_last_attempt_since_it_was_sent(path: Path) -> None:
    turn = T("a", 1, ttft_ms=40, between_ms=(55, 90), latency_ms=100, sent_ms=7_000, attempts=3, tokens=12)
    write(path, [S([turn])])
    with opened(path) as connection:
        result = one_answer.answer_timing(connection, "a", 1)
    assert result.arrivals.tolist() == [40, 55, 90, 100]
    assert result.events.tolist() == [1, 1, 1, 1]
    assert (result.headers, result.end, result.output_tokens, result.error_kind) == (0, 100, 12, None)


def test_a_failed_turn_shows_how_far_it_came(path: Path) -> None:
    write(path, [S([T("a", 1, ttft_ms=40, error="truncated", end_ms=300)])])
    with opened(path) as connection:
        result = one_answer.answer_timing(connection, "a", 1)
    assert (result.arrivals.tolist(), result.error_kind, result.end) == ([40], "truncated", 300)


def test_the_typical_turn_is_near_both_medians(path: Path) -> None:
    turns = [T("slow start", 1, ttft_ms=399, latency_ms=400), T("usual", 1, ttft_ms=50, latency_ms=410)]
    write(path, [S([*turns, T("broken", 1, error="server")])])
    with opened(path) as connection:
        assert one_answer.typical_turn(connection, 400, 50) == ("usual", 1, 1)
        assert one_answer.typical_turn(connection, None, 50) is None


def test_a_turn_that_is_not_there_is_named(path: Path) -> None:
    write(path, [S([T("a", 1)])])
    with opened(path) as connection, pytest.raises(RunFileError, match=r"no attempt of turn 2 of conversation 'a'"):
        one_answer.answer_timing(connection, "a", 2)
