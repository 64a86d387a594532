from pathlib import Path

import pytest
from runfiles import S, T, talk, write

from evalkit import stats
from evalkit.measures import opened
from evalkit.tags import Tags, tagged


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.evalkit"


def read(path: Path, most: int = 20) -> Tags:
    with opened(path) as connection:
        return tagged(connection, most)


def test_each_tag_has_the_accuracy_of_its_turns_by_conversation(path: Path) -> None:
    talks = [talk(f"c{n}", tags=("even", "all") if n % 2 == 0 else ("all",)) for n in range(12)]
    turns = [T(f"c{n}", turn, score=float((n + turn) % 3 == 0)) for n in range(12) for turn in (1, 2)]
    told = read(write(path, [S(turns)], talks))
    assert [(tag.tag, tag.turns, tag.failed) for tag in told.shown] == [("all", 24, 0), ("even", 12, 0)]
    own = [(turn.conversation, turn.score) for turn in turns if int(turn.conversation[1:]) % 2 == 0]
    names, scores = zip(*own, strict=True)
    assert told.shown[1].accuracy == stats.proportion(scores, names)
    assert told.shown[1].among_all == stats.proportion(scores, names, confidence=1 - 0.05 / 2)


def test_turns_of_a_group_are_one_sample(path: Path) -> None:
    talks = [talk(f"c{n}", tags=("t",), group=f"g{n % 3}") for n in range(9)]
    turns = [T(f"c{n}", 1, score=float(n % 3 == 0)) for n in range(9)]
    told = read(write(path, [S(turns)], talks))
    assert told.shown[0].accuracy == stats.proportion([n % 3 == 0 for n in range(9)], [n % 3 for n in range(9)])


def test_a_failed_turn_is_counted_and_not_scored(path: Path) -> None:
    talks = [talk(name, tags=("t",)) for name in "ab"]
    told = read(write(path, [S([T("a", 1, score=1.0), T("b", 1, error="server")])], talks))
    (tag,) = told.shown
    assert (tag.turns, tag.failed, tag.accuracy.n, tag.accuracy.value) == (2, 1, 1, 1.0)


def test_of_200_tags_the_most_frequent_are_shown_and_the_rest_counted(path: Path) -> None:
    talks = [talk(f"c{n}", tags=(f"tag-{n:03}", "often")) for n in range(200)] + [talk("none")]
    turns = [T(f"c{n}", 1, score=1.0) for n in range(200)] + [T("c150", 2, score=0.0), T("none", 1, score=1.0)]
    told = read(write(path, [S(turns)], talks), most=5)
    assert [tag.tag for tag in told.shown] == ["often", "tag-150", "tag-000", "tag-001", "tag-002"]
    assert (told.left_out, told.untagged) == (196, 1)
    assert told.shown[1].accuracy.value == 0.5


def test_a_tag_that_a_conversation_names_twice_counts_once(path: Path) -> None:
    told = read(write(path, [S([T("a", 1, score=1.0)])], [talk("a", tags=("t", "t"))]))
    assert [(tag.tag, tag.turns, tag.accuracy.n) for tag in told.shown] == [("t", 1, 1)]


def test_a_run_without_turns_or_tags_has_none(path: Path, tmp_path: Path) -> None:
    assert read(write(path, [S([])])) == Tags((), 0, 0)
    assert read(write(tmp_path / "b.evalkit", [S([T("a", 1, score=1.0)])])) == Tags((), 0, 1)
