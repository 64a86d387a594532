"""Re-scoring a run file: the same scorer gives the same scores, the old ones stay, no incomplete scoring is used."""

import contextlib
import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from records import finished
from rescored import nothing_right
from runfiles import S, T, talk, write

from evalkit import __version__, rescoring
from evalkit.analysis.accuracy.by_scoring import active_scoring, scorings
from evalkit.conversation import Conversation, Message, ScorerSpec, ToolCall, Turn
from evalkit.errors import RunFileError, SettingsError
from evalkit.record import Answer, Attempt, Score, Timing, TurnRecord
from evalkit.run import Run
from evalkit.runfile import lock_and_flush, store
from evalkit.runfile import scorings as scorings_of_file
from evalkit.runfile.store import RunFile
from evalkit.scorers import registry
from evalkit.scorers.registry import Verdict


@pytest.fixture
def path(tmp_path):
    return nothing_right(tmp_path / "r.evalkit")


def rows(path: Path, query: str, *values: object) -> list[tuple]:
    with contextlib.closing(store.open_to_read(path)) as connection:
        return connection.execute(query, values).fetchall()


def test_new_scores_are_used_and_the_old_ones_stay(path):
    assert rescoring.rescore(path, "number") == 1
    assert rows(path, "SELECT scoring, scorer, value FROM score ORDER BY scoring, conversation, turn") == [
        *[(0, "exact", 0.0)] * 6,
        *[(1, "number", value) for value in (1.0, 1.0, 0.0, 0.0, 1.0, 1.0)],
    ]
    assert rows(path, "SELECT scoring FROM run") == [(1,)]
    ((scored, versions, *rest),) = rows(path, "SELECT scorer, versions, judge, ended_wall_ns NOT NULL FROM scoring")
    assert (json.loads(scored), json.loads(versions)) == ("number", {"number": "3", "evalkit": __version__})
    assert rest == [None, 1]


def test_without_a_scorer_each_turn_keeps_its_own_then_the_runs_then_that_of_its_target(tmp_path):
    asked = (Turn("?", 35, ScorerSpec("exact")), Turn("?", 36), Turn("?", "thirty"), Turn("?"))
    turns = [T("a", n, text=text) for n, text in enumerate(["35", "it is 36", "thirty", "?"], start=1)]
    for named, expected in ((None, ["exact", "number", "includes"]), ("choice", ["exact", "choice", "choice"])):
        path = write(tmp_path / f"{named}.evalkit", [S(turns)], [Conversation("a", asked)])
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE run SET settings = json_set(settings, '$.scorer', ?)", (named,))
        rescoring.rescore(path)
        assert rows(path, "SELECT scorer FROM score WHERE scoring = 1 ORDER BY turn") == [(name,) for name in expected]
        (versions,) = rows(path, "SELECT versions FROM scoring WHERE scorer = 'null'")[-1]
        assert list(json.loads(versions)) == [*sorted(set(expected)), "evalkit"]


def test_a_scorer_that_is_given_overrides_those_that_turns_name(tmp_path):
    asked = (Turn("?", 35, ScorerSpec("number", {"abs_tol": 100})), Turn("?", "35"))
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, text="36"), T("a", 2, text="35")])], [Conversation("a", asked)])
    rescoring.rescore(path, "exact")
    assert rows(path, "SELECT scorer, value FROM score WHERE scoring = 1") == [("exact", 0.0), ("exact", 1.0)]


def test_a_target_that_the_scorer_cannot_take_leaves_its_turn_unscored_with_the_reason(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])], [talk("a", ["no number"])])
    rescoring.rescore(path, "number")
    ((value, reason),) = rows(path, "SELECT value, reason FROM score WHERE scoring = 1")
    assert value is None
    assert "needs a number" in reason


def test_a_turn_is_scored_by_the_calls_of_all_its_rounds_and_a_refusal_is_its_text(tmp_path):
    call = ToolCall("add", '{"a": 1}', "id1")
    exchange = (Message("assistant", None, (call,)), Message("tool", "3", tool_call_id="id1"))
    asked = Conversation("a", (Turn("?", {"name": "add", "arguments": {"a": 1}}), Turn("?", "cannot")))
    said = [Answer("It is 3."), Answer(refusal="I cannot do that.")]
    attempts = [(Attempt(Timing(0, 0, 0), answer=answer),) for answer in said]
    with RunFile.create(tmp_path / "r.evalkit", name="r", settings={}, dataset={}, endpoint={}) as file:
        file.begin_session(0, {})
        records = [TurnRecord("a", 1, 1, attempts[0], exchange), TurnRecord("a", 1, 2, attempts[1])]
        file.add([finished(0, asked, record) for record in records])
    rescoring.rescore(file.path)
    assert rows(file.path, "SELECT scorer, value FROM score") == [("tool_call", 1.0), ("includes", 1.0)]


def test_failed_turns_and_turns_without_a_target_get_no_score(tmp_path):
    turns = [T("a", 1, text="35"), T("a", 2, error="server", text="276"), T("b", 1, text="1")]
    path = write(tmp_path / "r.evalkit", [S(turns)], [talk("a"), talk("b", [None])])
    rescoring.rescore(path)
    assert rows(path, "SELECT conversation, turn, value FROM score") == [(0, 1, 1.0)]


def test_groups_of_any_size_give_the_same_scores(path, monkeypatch):
    rescoring.rescore(path, "number")
    for size in (1, 2, 3, 6):
        monkeypatch.setattr(rescoring, "GROUP", size)
        number = rescoring.rescore(path, "number")
        query = "SELECT conversation, repeat, turn, value, extracted FROM score WHERE scoring = ?"
        assert rows(path, query, number) == rows(path, query, 1)


def test_a_scoring_that_was_killed_is_never_used_and_cleared_away_by_the_next(path):
    code = (
        "import os, signal, sys; from evalkit import rescoring; rescoring.GROUP = 2; number = rescoring.scoring.score\n"
        "def score(turn, said, **more):\n"
        "    if said.text.startswith('The product'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return number(turn, said, **more)\n"
        "rescoring.scoring.score = score; rescoring.rescore(sys.argv[1], 'number')"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -9
    assert rows(path, "SELECT count(*) FROM score WHERE scoring = 1") == [(4,)]
    with contextlib.closing(store.open_to_read(path)) as connection:
        assert active_scoring(connection) == 0
        assert [one.number for one in scorings(connection)] == [0]
    with pytest.raises(RunFileError, match=r"has no scoring 1, only 0: see 'evalkit score .* --list'"):
        rescoring.use_scoring(path, 1)
    assert rescoring.rescore(path, "includes") == 1
    assert rows(path, "SELECT DISTINCT scorer FROM score WHERE scoring = 1") == [("includes",)]
    assert rows(path, "SELECT count(*) FROM scoring") == [(1,)]


def test_a_run_that_is_being_written_is_left_alone(path):
    held = lock_and_flush.lock(path)
    with pytest.raises(RunFileError, match=r"is in use: another evalkit is writing to it. Wait for it"):
        rescoring.rescore(path)
    lock_and_flush.unlock(held)
    assert rescoring.rescore(path) == 1


def test_what_cannot_be_is_said_before_anything_is_written(path):
    before = path.read_bytes()
    with pytest.raises(SettingsError, match="no scorer is called 'numbr'"):
        rescoring.rescore(path, "numbr")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE conversation SET row = '{' WHERE position = 1",
        'UPDATE conversation SET row = \'{"id": "b", "turns": [{"user": "?"}]}\' WHERE position = 1',
        "UPDATE turn SET tool_calls = '[7]' WHERE conversation = 1",
    ],
)
def test_a_damaged_row_is_named_and_the_old_scores_still_count(path, harm):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(harm)
    with pytest.raises(RunFileError, match=r"r\.evalkit is damaged near conversation number 2 "):
        rescoring.rescore(path, "number")
    assert rows(path, "SELECT scoring FROM run") == [(0,)]


def test_a_disk_that_takes_no_more_leaves_the_old_scores_counting(path, monkeypatch):
    opened = RunFile.open

    def read_only(path):
        runfile = opened(path)
        runfile.connection.execute("PRAGMA query_only = 1")
        return runfile

    monkeypatch.setattr(RunFile, "open", read_only)
    with pytest.raises(
        RunFileError, match=r"cannot be written: attempt to write a readonly.* are unchanged; free some space"
    ):
        rescoring.rescore(path)


def test_scorers_registered_in_code_can_re_score(path, monkeypatch):
    monkeypatch.setattr(registry, "_SCORERS", dict(registry._SCORERS))
    registry.register("longer", check=lambda target: None)(lambda answer, target: Verdict(len(answer.text) > 8))
    rescoring.rescore(path, "longer")
    assert rows(path, "SELECT sum(value) FROM score WHERE scoring = 1") == [(3.0,)]


def longer(text, target=None):
    return len(text) > 8


def test_an_answer_cut_off_is_scored_alike_when_asked_when_caught_up_with_and_again(tmp_path):
    """The finish reason goes with the answer, whichever way it reaches the scorer."""
    conversation = Conversation("a", (Turn("?", 5),))
    attempt = Attempt(Timing(0, 0, 0, end=1), answer=Answer("which gives us 10. So, 5", finish_reason="length"))
    done = finished(0, conversation, TurnRecord("a", 1, 1, (attempt,)))
    path = tmp_path / "r.evalkit"
    with RunFile.create(path, name="r", settings={}, dataset={}, endpoint={}) as file:
        file.begin_session(0, {})
        file.add([done])
        ((_, _, answer),) = next(file.unscored())
    assert answer.finish_reason == "length"
    rescoring.rescore(path, "number")
    ((value, reason),) = rows(path, "SELECT value, reason FROM score")
    assert value is None
    assert "cut off" in reason


def test_functions_and_several_scorers_can_re_score(path):
    name = f"{longer.__module__}:longer"
    number = rescoring.rescore(path, [{"name": "number", "weight": 3}, longer])
    found = rows(path, "SELECT scorer, value, parts FROM score WHERE scoring = 1")
    assert {scorer for scorer, _, _ in found} == {f"number+{name}"}
    for _, value, parts in found:
        first, second = json.loads(parts)
        assert (first["weight"], second["weight"]) == (3, 1)
        assert value == pytest.approx((3 * first["value"] + second["value"]) / 4)
    with contextlib.closing(store.open_to_read(path)) as connection:
        versions = scorings(connection)[number].versions
    assert versions["number"] == "3"
    assert len(versions[name]) == 12  # of the function's source


# -- the run's own scores, and what is added to a run that was re-scored


def test_the_runs_own_scores_have_the_versions_of_their_scorers(path, monkeypatch):
    with RunFile.open(path) as file:
        scorings_of_file.note_own_versions(file, {"exact", "none"})
        newer = {name: replace(registry.find(name), version="2") for name in ("exact", "number")}
        monkeypatch.setattr(registry, "_SCORERS", {**registry._SCORERS, **newer})
        scorings_of_file.note_own_versions(file, {"exact", "number"})
        scorings_of_file.note_own_versions(file, {"number"})
    with contextlib.closing(store.open_to_read(path)) as connection:
        (own,) = scorings(connection)
    assert own.versions == {"exact": "1, 2", "number": "2", "evalkit": __version__}
    assert own.counts
    assert own.begun_ns


def test_answers_that_are_added_let_the_runs_own_scores_count_again(path):
    rescoring.rescore(path, "number")
    good = TurnRecord("c", 1, 1, (Attempt(Timing(0, 0, 0), answer=Answer("35")),))
    with RunFile.open(path) as file:
        file.begin_session(0, {})
        file.add((), [(0, 1, 1, Score("exact", 0.0))])
        assert active_scoring(file.connection) == 1
        file.add([finished(2, talk("c"), good)])
        assert active_scoring(file.connection) == 0
        assert [one.missing for one in scorings(file.connection)] == [1, 1]


# -- scorers that want no target, over turns that have none


def without_targets(tmp_path: Path, asked: Turn) -> Path:
    """Two conversations of two such turns; the last turn of the second failed, and one of a third was never asked."""
    turns = [T("a", 1), T("a", 2), T("b", 1), T("b", 2, error="server"), T("c", 1)]
    return write(tmp_path / "r.evalkit", [S(turns)], [Conversation(name, (asked, asked)) for name in "abc"])


def test_a_call_that_failed_counts_where_every_answer_is_scored(tmp_path):
    path = without_targets(tmp_path, Turn("?"))
    rescoring.rescore(path, {"name": "length", "max": 5})
    found = Run(path).measures()
    assert (found.all.accuracy.mean.value, found.all.accuracy.mean.n) == (1.0, 4)
    assert (found.all.accuracy_all.mean.value, found.all.accuracy_all.mean.n) == (0.8, 5)
    assert (found.conversations.n, found.conversations.incomplete) == (1, 2)
    rescoring.use_scoring(path, 0)
    found = Run(path).measures()
    assert (found.all.accuracy_all.mean.n, found.conversations.incomplete) == (0, 0)


def test_a_turn_that_was_never_asked_leaves_a_conversation_without_targets_incomplete(tmp_path):
    path = without_targets(tmp_path, Turn("?", scorer=ScorerSpec("length", {"max": 5.0})))
    rescoring.rescore(path)
    found = Run(path).measures()
    assert (found.conversations.n, found.conversations.incomplete) == (1, 2)


def test_a_turn_for_which_the_new_scorer_lacks_a_target_has_no_score_and_is_not_taken_for_a_later_one(tmp_path):
    path = without_targets(tmp_path, Turn("?", scorer=ScorerSpec("length", {"max": 5.0})))
    number = rescoring.rescore(path, "number")
    assert rows(path, "SELECT DISTINCT value, reason FROM score WHERE scoring = 1") == [
        (None, "there is no target, and the scorer number needs one")
    ]
    with contextlib.closing(store.open_to_read(path)) as connection:
        assert scorings(connection)[number].missing == 0


# -- one answer, without a run


ADDED = {"name": "add", "arguments": {"a": 12, "b": 23}}


def calling(*calls: tuple[object, object], **fields: object) -> dict[str, object]:
    """An assistant's message with these calls, each a name and its arguments."""
    listed = [
        {"id": f"id{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(calls)
    ]
    return {"role": "assistant", "content": None, "tool_calls": listed, **fields}


@pytest.mark.parametrize(
    ("answer", "target", "scorer", "value"),
    [
        ("12 + 23 is 35.", 35, None, 1.0),
        ("12 + 23 is 36.", 35, None, 0.0),
        ("35", "35", "exact", 1.0),
        ("short", None, {"name": "length", "max": 1}, 1.0),
        ("12 + 23 is 35.", 35, lambda text, target: str(target) in text, 1.0),
        ({"role": "assistant", "content": "12 + 23 is 35."}, 35, None, 1.0),
        ({"content": None, "refusal": "I cannot do that."}, "cannot", None, 1.0),
        (calling(("add", '{"b": 23.0, "a": 12}')), ADDED, None, 1.0),
        (calling(("add", {"a": 12, "b": 23})), ADDED, None, 1.0),  # some endpoints send an object
        (calling(("add", '{"a": 12, "b": 24}')), ADDED, "tool_call", 0.0),
        (calling(("add", '{"a": 12, "b"')), ADDED, "tool_call", 0.0),
        (calling(("add", None)), ADDED, "tool_call", 0.0),
        (calling(("add", None)), {"name": "add"}, "tool_call", 1.0),
        (calling(), [], "tool_call", 1.0),
        ({"content": "35", "tool_calls": None}, [], "tool_call", 1.0),
        ({"content": "35"}, ADDED, "tool_call", 0.0),
        ({"content": None, "function_call": {"name": "add", "arguments": '{"a": 12, "b": 23}'}}, ADDED, None, 1.0),
    ],
)
def test_one_answer_is_scored_as_text_or_as_a_message(answer, target, scorer, value):
    assert rescoring.score(answer, target, scorer).value == value


def test_an_answer_that_cannot_be_judged_has_no_value_and_a_reason():
    score = rescoring.score("It is A or B.", "A", "choice")
    assert score.value is None
    assert score.reason


class Dumped:
    """A message of the official client, which is no mapping."""

    def model_dump(self):
        return {}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "the answer is missing: it must be text or an assistant's message as a dict"),
        (35, "the answer is an int"),
        ([calling()], "the answer is a list"),
        (Dumped(), r"the answer is a Dumped: .* as its model_dump\(\) returns it"),
        ({}, "neither content nor tool_calls, but no keys"),
        ({"choices": []}, r"but choices: give the assistant's message, which is choices\[0\].message"),
        (calling(role="tool"), "a message of the role 'tool'"),
        ({"content": ["35"]}, "content is a list: it must be text or null"),
        (calling(tool_calls={"name": "add"}), "tool_calls is a dict: it must be a list"),
        (calling(tool_calls="add"), "tool_calls is a str"),
        (calling(tool_calls=["add"]), r"tool_calls\[0\] is a str: it must be an object"),
        (calling(tool_calls=[None]), r"tool_calls\[0\] is missing"),
        (calling(tool_calls=[Dumped()]), r"tool_calls\[0\] is a Dumped: .* model_dump"),
        (calling(tool_calls=[{"name": "add", "arguments": "{}"}]), r"tool_calls\[0\]\.function is missing"),
        (calling(tool_calls=[{"function": "add"}]), r"tool_calls\[0\]\.function is a str"),
        (calling(tool_calls=[{"id": 1, "function": {"name": "add"}}]), r"tool_calls\[0\]\.id is an int"),
        (calling(("add", "{}"), (None, "{}")), r"tool_calls\[1\]\.function\.name is missing"),
        (calling((3, "{}")), r"function\.name is an int: it must be the name of the function"),
        (calling(("add", {1, 2})), r"function\.arguments cannot be written as JSON"),
        ({"function_call": "add"}, "function_call is a str"),
    ],
)
def test_a_message_of_another_form_is_named_where_it_differs(answer, said):
    with pytest.raises(SettingsError, match=said):
        rescoring.score(answer, ADDED, "tool_call")


@pytest.mark.parametrize(
    ("target", "scorer", "said"),
    [
        (35, "numbr", "no scorer is called 'numbr'"),
        (35, "tool_call", "the scorer tool_call needs"),
        (None, None, "the target is missing"),
        (None, "number", "target"),
    ],
)
def test_a_scorer_or_a_target_that_cannot_be_used_is_named(target, scorer, said):
    with pytest.raises(SettingsError, match=said):
        rescoring.score("35", target, scorer)


@pytest.mark.parametrize(
    ("answer", "target", "scorer", "question", "without", "value"),
    [
        ("Rome", "B", None, "The capital of Italy?\nA) Oslo\nB) Rome", 0.0, 1.0),
        ("The answer is Oslo.", "A", "choice", "The capital of Norway?\nA) Oslo\nB) Rome", 0.0, 1.0),
        ("1,234", 1.234, "number", "¿Cuántos kilos?", 0.0, 1.0),
        ("It is 35.", 35, "exact", "What is 12 + 23?", 0.0, 0.0),
    ],
)
def test_scorers_that_read_the_question_get_it(answer, target, scorer, question, without, value):
    assert rescoring.score(answer, target, scorer).value == without
    assert rescoring.score(answer, target, scorer, question=question).value == value


@pytest.mark.parametrize(("question", "said"), [(None, "question is missing"), (["2 + 2?"], "question is a list")])
def test_a_question_that_is_not_text_is_refused(question, said):
    with pytest.raises(SettingsError, match=said):
        rescoring.score("4", 4, question=question)
