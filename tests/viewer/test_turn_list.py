"""The turns of a run in pieces: the same turns as a filter in Python selects, in the same order."""

import hostile_runfiles as hostile
import numpy as np
import pytest
from runfiles import S, T, talk, write

from evalkit.errors import RunFileError
from evalkit.runfile import reader
from evalkit.viewer import turn_list
from evalkit.viewer.turn_list import Selection, piece


@pytest.fixture(scope="module")
def turns():
    rng = np.random.default_rng(2)
    made = []
    for n in range(30):
        for repeat in (1, 2):
            for turn in (1, 2):
                error = "server" if rng.random() < 0.1 else None
                score = None if error or rng.random() < 0.1 else float(rng.choice([0.0, 0.5, 1.0]))
                times = {"ttft_ms": None, "latency_ms": None} if error else {"latency_ms": round(rng.gamma(4, 100), 3)}
                text = f"answer {n} Straße" if n % 7 == 0 else f"answer {n}"
                made.append(T(f"c{n:02}", turn, repeat=repeat, error=error, score=score, text=text, **times))
    return made


def conversation(n):
    return talk(f"c{n:02}", (1, 2), tags=("even",) if n % 2 == 0 else ("odd", "a'b\"c"))


@pytest.fixture(scope="module")
def path(turns, tmp_path_factory):
    talks = [conversation(n) for n in range(30)]
    return write(tmp_path_factory.mktemp("runs") / "r.evalkit", [S(turns)], talks)


def keys(found):
    return [(row["id"], row["repeat"], row["turn"]) for row in found["rows"]]


def expected(turns, fits):
    return sorted((turn.conversation, turn.repeat, turn.turn) for turn in turns if fits(turn))


def number(turn):
    return int(turn.conversation[1:])


def status(turn):
    if turn.error:
        return "e"
    return {None: "u", 0.0: "w", 0.5: "p", 1.0: "r"}[turn.score]


@pytest.mark.parametrize(
    ("selection", "fits"),
    [
        (Selection(), lambda turn: True),
        (Selection(statuses="w"), lambda turn: status(turn) == "w"),
        (Selection(statuses="eu"), lambda turn: status(turn) in "eu"),
        (Selection(statuses="rpweu"), lambda turn: True),
        (Selection(turn=2), lambda turn: turn.turn == 2),
        (Selection(turn=9), lambda turn: False),
        (Selection(tag="odd"), lambda turn: number(turn) % 2 == 1),
        (Selection(tag="a'b\"c"), lambda turn: number(turn) % 2 == 1),
        (Selection(tag="%"), lambda turn: False),
        (Selection(search="ANSWER 7"), lambda turn: number(turn) == 7 and not turn.error),
        (Selection(search=" strasse "), lambda turn: number(turn) % 7 == 0 and not turn.error),
        (Selection(search="c17"), lambda turn: number(turn) == 17),
        (Selection(search="question 2"), lambda turn: turn.turn == 2),
        (Selection(search="the server message"), lambda turn: turn.error == "server"),
        (Selection(search="100%_'\";--"), lambda turn: False),
        (
            Selection(statuses="p", tag="even", turn=1),
            lambda turn: (status(turn), turn.turn, number(turn) % 2) == ("p", 1, 0),
        ),
    ],
)
def test_the_turns_that_a_selection_names(path, turns, selection, fits):
    found = piece(path, selection, 0, 500)
    assert keys(found) == expected(turns, fits)
    assert (found["total"], found["all"]) == (len(found["rows"]), len(turns))
    by_key = {(turn.conversation, turn.repeat, turn.turn): turn for turn in turns}
    assert [row["status"] for row in found["rows"]] == [status(by_key[key]) for key in keys(found)]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", ["latency", "ttft", "score"])
def test_missing_values_are_last_in_both_directions(path, sort, descending):
    rows = piece(path, Selection(sort=sort, descending=descending), 0, 500)["rows"]
    values = [row[sort] for row in rows]
    known = [value for value in values if value is not None]
    assert values == sorted(known, reverse=descending) + [None] * (len(values) - len(known))
    assert 0 < len(known) < len(values)


def test_the_order_of_the_dataset_can_be_reversed(path):
    ahead, back = (piece(path, Selection(descending=down), 0, 500) for down in (False, True))
    assert keys(back) == keys(ahead)[::-1]


def test_pieces_are_parts_of_one_list(path):
    selection = Selection(sort="latency")
    whole = piece(path, selection, 0, 500)
    parts = [piece(path, selection, begin, 17) for begin in range(0, 140, 17)]
    assert [row for part in parts for row in part["rows"]] == whole["rows"]
    assert piece(path, selection, 10_000, 17)["rows"] == []
    assert piece(path, selection, 10_000, 17)["total"] == whole["total"]


def test_turns_that_another_run_scored_differently(path, turns, tmp_path):
    other = [
        T(turn.conversation, turn.turn, repeat=turn.repeat, error=turn.error, score=turn.score) for turn in turns[::-1]
    ]
    changed = {}
    for place, turn in enumerate(other):
        if turn.score is not None and place % 3 == 0:
            other[place] = T(turn.conversation, turn.turn, repeat=turn.repeat, score=1.0 - turn.score)
            if turn.score != 0.5:
                changed[turn.conversation, turn.repeat, turn.turn] = turn
    talks = [conversation(n) for n in range(29, -1, -1)]  # in another order
    second = write(tmp_path / "s.evalkit", [S(other)], talks)
    found = piece(path, Selection(other=second), 0, 500)
    assert keys(found) == sorted(changed)
    wrong = piece(path, Selection(other=second, statuses="w"), 0, 500)
    assert keys(wrong) == sorted(key for key, turn in changed.items() if turn.score == 0.0)


def test_runs_that_share_nothing_say_so(path, tmp_path):
    other = write(tmp_path / "x.evalkit", [S([T("elsewhere", 1, score=1.0)])])
    with pytest.raises(RunFileError, match="no conversation in common"):
        piece(path, Selection(other=other), 0, 10)


def test_long_texts_are_shortened_and_reasoning_stands_in_for_a_missing_answer(tmp_path):
    made = [T("a", 1, text="x" * 5000), T("b", 1, text="", reasoning="because"), T("c", 1, text="", refusal="no")]
    rows = piece(write(tmp_path / "r.evalkit", [S(made)]), Selection(), 0, 10)["rows"]
    assert [row["output"] for row in rows] == ["x" * 200, "because", "no"]


@pytest.mark.parametrize("kind", ["SCHEMAS", "VALUES"])
def test_what_a_stranger_sent_is_refused_or_listed(tmp_path, kind):
    good = write(tmp_path / "good.evalkit", [S([T("a", t, score=1.0, tokens=3) for t in (1, 2)])], [talk("a", (1, 2))])
    folder = tmp_path / "hostile"
    folder.mkdir()
    for path in hostile.make(good, folder, getattr(hostile, kind)):
        for selection in (
            Selection(),
            Selection(search="35", tag="x", sort="score", statuses="r"),
            Selection(other=good),
        ):
            reader._checked_files.clear()
            try:
                found = piece(path, selection, 0, 10)
            except RunFileError as error:
                assert path.name in str(error)  # noqa: PT017 - either is right
            else:
                assert kind == "VALUES"
                assert found["total"] <= 2


def test_few_selections_are_kept_in_memory(path):
    turn_list._keys.cache_clear()
    for turn in range(20):
        piece(path, Selection(turn=turn), 0, 10)
    assert turn_list._keys.cache_info().currsize <= 4
