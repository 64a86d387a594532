"""A corrected dataset: its targets and scorers are used where the questions are the run's; all else is refused."""

import csv
import json
import random
import sqlite3
from contextlib import closing, suppress
from io import StringIO

import pytest
from rich.console import Console
from runfiles import S, T, write

import evalkit as ek
from evalkit import Conversation, DatasetError, Message, ScorerSpec, Turn
from evalkit.analysis import tables, turn_verdicts
from evalkit.analysis.accuracy.by_scoring import scorings
from evalkit.cli.main import main
from evalkit.console.score import show_scorings
from evalkit.report import transcript_data
from evalkit.runfile import reader, store, transcripts
from evalkit.runfile.store import RunFile
from evalkit.scripted.server import Arithmetic, Script, serve

TALKS = [
    Conversation("a", (Turn("12 + 23?", 36), Turn("times 2?", 70)), system="Be brief."),
    Conversation("b", (Turn("Rome or Oslo?", "Oslo"), Turn("Why?"))),
    Conversation("c", (Turn("1 + 1?", 2, ScorerSpec("exact")),), group="g", tags=("t",)),
]
ANSWERS = {"a": ["It is 35.", "70"], "b": ["Rome", "It is the capital of Italy"], "c": ["It is 2"]}


def run_of(path, talks=TALKS, settings=None, dataset=None):
    turns = [
        T(talk.id, n, text=text, score=0.0, scorer="exact")
        for talk in talks
        for n, text in enumerate(ANSWERS[talk.id], 1)
    ]
    write(path, [S(turns)], talks)
    for name, value in {"settings": settings, "dataset": dataset}.items():
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"UPDATE run SET {name} = json_patch({name}, ?)", (json.dumps(value or {}),))
    return ek.Run(path)


@pytest.fixture
def run(tmp_path):
    return run_of(tmp_path / "r.evalkit")


def data_of(folder, talks, name="fixed.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(talk.to_json()) + "\n" for talk in talks), encoding="utf-8")
    return path


def with_turn(talk, number, **changes):
    turns = list(talk.turns)
    turns[number - 1] = turns[number - 1]._replace(**changes)
    return talk._replace(turns=tuple(turns))


FIXED = [
    with_turn(TALKS[0], 1, target=35),
    with_turn(with_turn(TALKS[1], 1, target="Rome"), 2, target="capital"),
    with_turn(TALKS[2], 1, scorer=ScorerSpec("number")),
]


def test_targets_and_scorers_are_taken_and_both_scorings_stay(run, tmp_path):
    data = data_of(tmp_path, FIXED)
    done = run.score(targets=data)
    assert (done.old.number, done.new.number, done.new.targets, done.new.corrected) == (0, 1, str(data), 3)
    assert run.turns()["score"].tolist() == [1.0] * 5
    assert run.turns()["scorer"].tolist() == ["number", "number", "includes", "includes", "number"]
    assert run.turns()["target"].tolist() == [35, 70, "Rome", "capital", 2]
    assert (done.changed.wrong_to_right, done.new.accuracy.mean.n) == (5, 5)
    back = run.use_scoring(0)
    assert (back.new.targets, back.new.corrected) == (None, 0)
    assert run.turns()["target"].tolist()[:3] == [36, 70, "Oslo"]
    assert run.turns()["score"].tolist() == [0.0] * 5
    assert run.scorings()["targets"].tolist() == [None, str(data)]


def test_every_view_shows_the_target_that_was_compared_with(run, tmp_path):
    run.score(targets=data_of(tmp_path, FIXED))
    with store.reading(run.path) as connection:
        plain = [turn.target for talk in transcripts.transcripts(connection) for turn in talk.turns]
        in_report = transcript_data.transcripts(connection).data["turns"]["target"]
    expected = [35, 70, "Rome", "capital", 2]
    assert plain == in_report == turn_verdicts.verdicts(run.path)["target"].tolist() == expected
    assert [turn["target"] for turn in tables.transcript(run.path, "b")] == ["Rome", "capital"]
    for form in tables.FORMATS:
        tables.export(run.path, form, tmp_path / "out", overwrite=True)
    run.use_scoring(0)
    assert [turn["target"] for turn in tables.transcript(run.path, "b")] == ["Oslo", None]


def test_order_further_conversations_labels_and_golden_answers_may_differ(run, tmp_path):
    talks = [
        with_turn(FIXED[2], 1, assistant="two")._replace(tags=("other",), group=None, meta={"by": "me"}),
        *FIXED[:2],
    ]
    further = Conversation("z", (Turn("new?", 1),))
    assert (
        run.score(targets=data_of(tmp_path, [further, *talks, further._replace(id="y")])).new.accuracy.mean.value == 1
    )
    last = run.turns().iloc[-1]
    assert (last["tags"], last["group"]) == (["t"], "g")


def test_a_turn_whose_target_is_removed_is_not_scored_and_one_that_gains_a_target_is(run, tmp_path):
    run.score()
    done = run.score(targets=data_of(tmp_path, [with_turn(TALKS[0], 1, target=None), FIXED[1], TALKS[2]]))
    assert run.turns()["score"].isna().tolist() == [True, False, False, False, False]
    assert (done.new.accuracy.mean.n, done.new.accuracy.unscored, done.new.missing) == (4, 1, 0)
    assert (done.changed.to_unscored, done.changed.from_unscored) == (1, 1)


def test_failed_turns_count_by_the_corrected_targets(tmp_path):
    talk = Conversation("a", (Turn("?", 1), Turn("?")))
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, error="server"), T("a", 2, error="server")])], [talk])
    run = ek.Run(path)
    counts = []
    for targets in ((1, None), (None, None), (None, 2), (1, 2)):
        turns = tuple(turn._replace(target=target) for turn, target in zip(talk.turns, targets, strict=True))
        run.score(targets=data_of(tmp_path, [talk._replace(turns=turns)]))
        counts.append(run.summary_json()["accuracy_all"]["n"])
    assert counts == [1, 0, 1, 2]


def test_a_scorer_that_is_given_is_used_with_the_corrected_targets(run, tmp_path):
    run.score("exact", targets=data_of(tmp_path, FIXED))
    frame = run.turns()
    assert frame["scorer"].tolist() == ["exact"] * 5
    assert frame["score"].fillna(-1).tolist() == [0, 1, 1, 0, 0]


def test_a_dataset_without_corrections_changes_nothing(run, tmp_path):
    run.score()
    done = run.score(targets=data_of(tmp_path, TALKS))
    assert (done.new.corrected, sum(vars_of(done.changed))) == (0, 0)


def vars_of(changed):
    return [getattr(changed, name) for name in changed.__dataclass_fields__]


def image(data):
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


CALL = {"type": "function", "function": {"name": "f", "parameters": {}}}
DIFFERENT = {
    "another question": (
        [TALKS[0], with_turn(FIXED[1], 2, user="Why not?")],
        r"conversation 'b' differs from the run's in turn 2: the question is 'Why not\?', and was 'Why\?'; only",
    ),
    "the first of two": (
        [with_turn(TALKS[0], 2, user="x"), with_turn(TALKS[1], 1, user="y")], "conversation 'a' .* in turn 2: ",
    ),
    "a turn less": ([TALKS[0]._replace(turns=TALKS[0].turns[:1])], "'a' .* in turn 2: the turn is missing"),
    "a turn more": (
        [TALKS[0]._replace(turns=(*TALKS[0].turns, Turn("more?")))], "'a' .* in turn 3: the run has no such turn",
    ),
    "a missing one": ([TALKS[0], TALKS[2]], "has no conversation 'b', which the run has"),
    "other ids": ([talk._replace(id=talk.id * 2) for talk in TALKS], "has no conversation 'a'"),
    "system": ([TALKS[0]._replace(system="Be long.")], "conversation 'a' differs from the run's in its system prompt"),
    "context": ([TALKS[0]._replace(context=(Message("user", "hi"),))], "'a' differs from the run's in its context"),
    "tools": ([TALKS[0]._replace(tools=(CALL,))], "'a' differs from the run's in its tools"),
    "results": ([TALKS[0]._replace(tools=(CALL,), tool_results={"f": 1})], "'a' differs from the run's in its tools"),
    "params": ([TALKS[0]._replace(params={"stop": "x"})], "'a' differs from the run's in its parameters"),
    "an image": ([with_turn(TALKS[0], 1, parts=(image("AAAA"),))], r"is '\[image: PNG, 3 bytes\]', and was '12"),
    "an unfit target": ([with_turn(TALKS[2], 1, scorer=ScorerSpec("choice"))], "needs one of the letters"),
    "no scorer": ([with_turn(TALKS[2], 1, scorer=ScorerSpec("numbr"))], "no scorer is called 'numbr'"),
}  # fmt: skip


@pytest.mark.parametrize("case", DIFFERENT)
def test_other_questions_are_refused_and_nothing_is_written(run, tmp_path, case):
    talks, message = DIFFERENT[case]
    rest = [talk for talk in TALKS if len(talks) == 1 and talk.id != talks[0].id]
    before = dump(run.path)
    with pytest.raises(DatasetError, match=message) as caught:
        run.score(targets=data_of(tmp_path, [*rest, *talks]))
    assert "fixed.jsonl" in str(caught.value)
    assert dump(run.path) == before
    assert run.score("number").new.number == 1


def dump(path):
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_golden_answers_count_as_questions_where_later_turns_saw_them(tmp_path):
    run = run_of(tmp_path / "r.evalkit", settings={"history": "golden"})
    run.score(targets=data_of(tmp_path, [TALKS[0], with_turn(TALKS[1], 2, assistant="last"), TALKS[2]]))
    with pytest.raises(DatasetError, match=r"'a' .* turn 1: its golden answer, which later turns saw, is another"):
        run.score(targets=data_of(tmp_path, [with_turn(TALKS[0], 1, assistant="first"), *TALKS[1:]]))


def test_another_image_that_looks_the_same_in_words_is_another_question(tmp_path):
    run = run_of(tmp_path / "r.evalkit", [with_turn(TALKS[0], 1, parts=(image("AAAA"),))])
    with pytest.raises(DatasetError, match="in turn 1: its images or other parts are others"):
        run.score(targets=data_of(tmp_path, [with_turn(TALKS[0], 1, parts=(image("AAAB"),))]))


def test_long_questions_are_shown_where_they_part(run, tmp_path):
    long = "".join(random.Random(1).choices("abc ", k=500))
    run = run_of(tmp_path / "long.evalkit", [with_turn(TALKS[0], 1, user=f"{long}what is\x1b[2J 2?{long}")])
    with pytest.raises(DatasetError) as caught:
        run.score(targets=data_of(tmp_path, [with_turn(TALKS[0], 1, user=f"{long}what is\x1b[2J 3?{long}")]))
    assert r"what is\x1b[2J 3?" in str(caught.value)
    assert r"what is\x1b[2J 2?" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_system_prompt_of_the_run_counts_in_place_of_the_datasets(tmp_path):
    talks = [talk.with_system("Of the run.") for talk in TALKS]
    run = run_of(tmp_path / "r.evalkit", talks, settings={"system": "Of the run."})
    assert run.score(targets=data_of(tmp_path, FIXED)).new.corrected == 3


def test_the_columns_of_the_run_apply_to_a_file_of_its_type(tmp_path):
    talks = [Conversation(f"row-00000{n}", (Turn(f"{n} + 1?", 0),)) for n in (1, 2)]
    turns = [T(talk.id, 1, text=str(n + 1)) for n, talk in enumerate(talks, 1)]
    path = write(tmp_path / "r.evalkit", [S(turns)], talks)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE run SET settings = json_set(settings, '$.columns', json(?)), dataset = ?",
            ('{"user": "Question", "target": "Answer"}', '{"path": "data.csv"}'))  # fmt: skip
    fixed = tmp_path / "fixed.csv"
    with fixed.open("w", newline="") as file:
        csv.writer(file).writerows([["Question", "Answer"], ["1 + 1?", 2], ["2 + 1?", 3]])
    assert ek.Run(path).score(targets=fixed).new.accuracy.mean.value == 1
    fixed = data_of(tmp_path, [with_turn(talk, 1, target=n + 1) for n, talk in enumerate(talks, 1)])
    assert ek.Run(path).score(targets=fixed).new.accuracy.mean.value == 1


def test_a_scoring_with_corrected_targets_that_was_killed_is_cleared_away(run, tmp_path):
    run.score(targets=data_of(tmp_path, FIXED))
    with closing(sqlite3.connect(run.path)) as connection, connection:
        connection.execute("UPDATE run SET scoring = 0")
        connection.execute("UPDATE scoring SET ended_wall_ns = NULL")
    assert run.score("number").new.number == 1
    with RunFile.open(run.path) as file:
        assert file.connection.execute("SELECT count(*) FROM corrected_row").fetchone() == (0,)


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE corrected_row SET row = '{'",
        "UPDATE corrected_row SET row = 7",
        'UPDATE corrected_row SET row = \'{"id": "a", "turns": []}\'',
        "UPDATE corrected_row SET row = CAST('x' AS BLOB)",
        "INSERT INTO corrected_row VALUES (1, -7, '{}')",
    ],
)
def test_a_corrected_row_from_a_stranger_is_refused_or_ignored(run, tmp_path, harm):
    run.score(targets=data_of(tmp_path, FIXED))
    with closing(sqlite3.connect(run.path)) as connection, connection:
        connection.execute(harm)
    for view in (run.turns, run.summary_json, run.verdicts, run.scorings):
        with suppress(ek.RunFileError):
            view()
    assert reader.why_unreadable(run.path) is not None or "INSERT" in harm


def test_from_the_command_line_to_the_command_that_does_it_again(sums, tmp_path, capsys):
    data, out = sums(3, 2), tmp_path / "r.evalkit"
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    fixed = tmp_path / "fixed.jsonl"
    rows[1]["turns"][0]["target"] += 1
    fixed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serve(Script(answer=Arithmetic())) as server:
        assert main(["run", str(data), "--base-url", server.base_url, "--model", "m", "--out", str(out)]) == 0
        with closing(sqlite3.connect(out)) as connection, connection:
            for table in ("turn", "attempt", "score"):
                connection.execute(f"DELETE FROM {table} WHERE (conversation, turn) = (2, 2)")
        capsys.readouterr()
        assert main(["score", str(out), "--targets", str(fixed)]) == 0
        said = capsys.readouterr().out
        assert "verdicts that changed: 1 (1 right to wrong)" in said
        assert f"targets: {fixed}; 1 of the run's conversations have other targets or scorers there" in said
        assert main(["resume", str(out)]) == 0
        assert f"To score them all: evalkit score {out} --targets {fixed}" in capsys.readouterr().err
        assert main(["score", str(out), "--targets", str(fixed), "--json"]) == 0
        done = json.loads(capsys.readouterr().out)
        assert (done["new"]["targets"], done["new"]["corrected"], done["new"]["accuracy"]["n"]) == (str(fixed), 1, 6)
        with store.reading(out) as connection:
            show_scorings(Console(file=(listed := StringIO()), width=200), scorings(connection), out)
        assert "named by each turn, targets of fixed.jsonl" in listed.getvalue()
        for flags in (["--list"], ["--use", "0"]):
            assert main(["score", str(out), "--targets", str(fixed), *flags]) == 2
        assert server.stats()["requests"] == 7
