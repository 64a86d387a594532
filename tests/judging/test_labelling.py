"""Labels given by hand: on disk before the next answer is shown, continued, one file for each person."""

import json
import os

import pytest
from commands import evalkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judges import Bench, fair, labels_file, verdict
from runfiles import S, T, endpoint, talk, write

import evalkit as ek
from evalkit.datasets import reader
from evalkit.errors import DatasetError, SettingsError
from evalkit.judging.labelling import Labelling
from evalkit.judging.labels import read_labels, strata_of_labels
from evalkit.judging.rubric import BUILT_IN

CORRECT = BUILT_IN["correct"]


@pytest.fixture
def run(tmp_path):
    """Six conversations of two turns, the second of them wrong."""
    turns = [
        T(f"c{n}", t, text="35" if t == 1 else "<b>270</b>\u202e", score=2.0 - t) for n in range(6) for t in (1, 2)
    ]
    path = write(tmp_path / "secret-model.evalkit", [S(turns)], [talk(f"c{n}", tags=("sums",)) for n in range(6)])
    return endpoint(path, model="secret-model")


def rows_in(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_each_label_is_in_the_file_with_what_judge_check_and_weights_need(run):
    labelling = Labelling(run, "Ana B.", conversations=2)
    assert labelling.path == run.with_name("secret-model.labels-Ana-B.jsonl")
    labelling.label("right")
    assert len(rows_in(labelling.path)) == 1
    labelling.label("wrong", " it is 276 ")
    first, second = rows_in(labelling.path)
    name = first["group"]
    assert first == {
        "id": f"{name}/1/1", "question": f"{name}, question 1", "answer": "35", "target": "35", "label": "CORRECT",
        "group": name, "tags": ["sums"], "person": "Ana B.", "stratum": "random", "stratum_answers": 12, "seed": 0,
    }  # fmt: skip
    assert (second["label"], second["note"]) == ("INCORRECT", "it is 276")
    assert second["conversation"] == f"user: {name}, question 1\nassistant: 35"
    assert [row.label for row in read_labels(labelling.path, CORRECT)] == ["CORRECT", "INCORRECT"]


def test_nothing_shown_names_the_model_the_run_or_a_verdict(run):
    with Bench(fair) as bench:
        ek.judge(run, bench.endpoint())
    labelling = Labelling(run)
    shown = repr(labelling) + json.dumps(labelling.shown())
    for word in ("secret", "CORRECT", "because", "judge", "stratum", "number", str(run.parent)):
        assert word not in shown


def test_labelling_goes_on_where_it_was(run):
    labelling = Labelling(run, conversations=3)
    for label in ("right", "wrong", "unsure"):
        labelling.label(label)
    again = Labelling(run, conversations=3)
    assert again.shown() == labelling.shown()
    assert again.counts() == {"right": 1, "wrong": 1, "unsure": 1}
    for _ in range(3):
        again.label("right")
    assert again.shown()["answer"] is None
    assert "6 of 6 answers are labelled: 4 right, 1 wrong, 1 unsure." in repr(again)
    with pytest.raises(SettingsError, match="every answer of the sample is labelled"):
        again.label("right")
    assert Labelling(run, conversations=4).shown()["labelled"] == 6  # a larger sample has the smaller one


def test_a_label_is_undone(run):
    labelling = Labelling(run)
    assert labelling.undo() is None
    labelling.label("right")
    before, shown = labelling.path.read_bytes(), labelling.shown()
    labelling.label("wrong", "no, wait")
    again = Labelling(run)
    assert again.undo() == "no, wait"
    assert again.shown() == shown
    assert again.path.read_bytes() == before
    again.undo()
    again.label("wrong")
    assert [row["label"] for row in rows_in(again.path)] == ["INCORRECT"]


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_line_that_was_cut_off_is_removed(run, cut):
    labelling = Labelling(run)
    labelling.label("right")
    labelling.label("wrong", "é")
    whole = labelling.path.read_bytes()
    labelling.path.write_bytes(whole[:-cut])
    again = Labelling(run)
    assert again.shown()["labelled"] == (2 if cut == 1 else 1)
    if cut > 1:
        again.label("wrong", "é")
    assert again.path.read_bytes() == whole


def test_nothing_is_written_to_a_file_that_another_window_has_changed(run):
    one, other = Labelling(run), Labelling(run)
    one.label("right")
    with pytest.raises(DatasetError, match="changed by something else"):
        other.label("wrong")
    assert [row["label"] for row in rows_in(one.path)] == ["CORRECT"]
    assert other.shown()["labelled"] == 0
    one.path.unlink()
    with pytest.raises(DatasetError, match="nothing changed: No such file"):
        one.undo()
    assert one.shown()["labelled"] == 1


def test_a_full_disk_costs_no_label_and_leaves_no_half_line(run, monkeypatch):
    labelling = Labelling(run)
    labelling.label("right")
    before = labelling.path.read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match="nothing changed: No space left") as caught:
        labelling.label("wrong")
    assert "secret" not in str(caught.value)
    assert labelling.path.read_bytes() == before
    monkeypatch.undo()
    labelling.label("wrong")
    assert len(rows_in(labelling.path)) == 2


def test_people_have_files_of_their_own_and_the_same_answers(run):
    files = []
    for person in (None, "Ana", "Биляна", "../../etc"):
        labelling = Labelling(run, person, conversations=2)
        labelling.label("right")
        files.append(labelling.path)
    assert len(set(files)) == 4
    assert {path.parent for path in files} == {run.parent}
    assert len({rows_in(path)[0]["id"] for path in files}) == 1
    for person in ("", " ", 5):
        with pytest.raises(SettingsError, match="person is"):
            Labelling(run, person)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"person": "Bo"}, "line 1, field person: the label is by 'Bo', not None"),
        ({"seed": 3}, "line 1, field stratum: the label is of another sample, 'random' with seed 3"),
        ({"stratum": "differ"}, "line 1, field stratum: the label is of another sample, 'differ' with seed 0"),
        ({"answer": "x"}, "line 1, field answer: the label of 'c"),
        ({"label": "RIGHT"}, "line 1, field label: must be one of CORRECT, INCORRECT, UNSURE"),
        ({"label": ["CORRECT"]}, "line 1, field label: must be one of"),
        ({"id": 5}, "line 1, field id: must be the id of a turn"),
        ("[1]", "line 1: a row must be an object, {…}, not a list"),
        ("{", "line 1: not valid JSON"),
        (b"\xff", "line 1: byte 0 of the file, 0xFF, is not UTF-8"),
        ("twice", "line 2, field id: 'c"),
    ],
)
def test_a_file_that_cannot_be_continued_is_named_by_line_and_field(run, change, message):
    labelling = Labelling(run)
    labelling.label("right")
    line = labelling.path.read_bytes()
    if isinstance(change, dict):
        line = json.dumps({**json.loads(line), **change}).encode() + b"\n"
    elif change == "twice":
        line *= 2
    else:
        line = (change if isinstance(change, bytes) else change.encode()) + b"\n"
    labelling.path.write_bytes(line)
    with pytest.raises(DatasetError) as caught:
        Labelling(run)
    assert str(caught.value).startswith(f"{labelling.path}, {message}")
    assert labelling.path.read_bytes() == line


def test_an_unknown_label_is_refused(run):
    with pytest.raises(SettingsError, match="'rihgt' is not a label: did you mean 'right'"):
        Labelling(run).label("rihgt")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["right", "wrong", "unsure", "undo", "again"]), st.text(max_size=20))))
def test_the_file_always_has_the_labels_given_in_order(run, steps):
    labelling, given_ = Labelling(run), []
    for step, note in steps:
        if step == "undo":
            labelling.undo()
            given_ = given_[:-1]
        elif step == "again":
            labelling = Labelling(run)
        elif labelling.shown()["answer"] is not None:
            labelling.label(step, note)
            given_.append((labelling.shown()["labelled"], step))
    words = {"CORRECT": "right", "INCORRECT": "wrong", "UNSURE": "unsure"}
    found = rows_in(labelling.path) if labelling.path.exists() else []
    assert [(n, words[row["label"]]) for n, row in enumerate(found, 1)] == given_
    labelling.path.unlink(missing_ok=True)


def test_judge_check_reads_the_labels_and_leaves_out_unsure_ones(run):
    labelling = Labelling(run, conversations=4)
    while (answer := labelling.shown()["answer"]) is not None:
        unsure = labelling.shown()["labelled"] == 0
        labelling.label("unsure" if unsure else "right" if answer == "35" else "wrong")
    with Bench(fair) as bench:
        done = evalkit("judge-check", labelling.path, "--base-url", bench.server.base_url, "--model", "judge", "--json",
                       cwd=run.parent)  # fmt: skip
    result = json.loads(done.stdout)
    assert (done.returncode, result["n"], result["agreement"]["value"]) == (0, 7, 1.0)


def test_only_unsure_labels_are_no_labels(run):
    labelling = Labelling(run)
    labelling.label("unsure")
    with pytest.raises(DatasetError, match="holds no label but UNSURE: label more answers"):
        list(read_labels(labelling.path, CORRECT))


def test_labels_weigh_as_many_answers_as_they_stand_for(tmp_path):
    def row(n, stratum, answers):
        return {"answer": "x", "label": "CORRECT", "id": str(n), "stratum": stratum, "stratum_answers": answers}

    rows = [row(1, "differ", 10), row(2, "differ", 10), row(3, "other", 70), row(4, "other", 70)]
    strata = strata_of_labels(list(read_labels(labels_file(tmp_path, *rows), CORRECT)))
    assert strata.weights == pytest.approx([1 / 16, 1 / 16, 7 / 16, 7 / 16])
    assert strata.shares == pytest.approx([1 / 8, 7 / 8])
    plain = {"answer": "x", "label": "CORRECT"}
    for others in ([*rows, plain], rows[:2], [row(1, "random", 80), row(2, "random", 80)], [plain]):
        assert strata_of_labels(list(read_labels(labels_file(tmp_path, *others), CORRECT))) is None
    assert strata_of_labels([]) is None


@pytest.mark.parametrize(
    ("change", "field"),
    [({"stratum": 5}, "stratum"), ({"stratum_answers": 0}, "stratum_answers"), ({"stratum_answers": None}, "stratum_a"),
     ({"stratum_answers": True}, "stratum_answers"), ({"stratum": None}, "stratum")],
)  # fmt: skip
def test_a_wrong_stratum_is_named(tmp_path, change, field):
    row = {"answer": "x", "label": "CORRECT", "stratum": "random", "stratum_answers": 5, **change}
    with pytest.raises(DatasetError, match=f"line 1, field {field}"):
        list(read_labels(labels_file(tmp_path, row), CORRECT))


def test_labelled_conversations_are_a_dataset(run, tmp_path):
    labelling = Labelling(run, conversations=2)
    with pytest.raises(SettingsError, match="nothing is labelled yet"):
        labelling.to_dataset(tmp_path / "early.jsonl")
    labelling.label("right")
    labelling.label("wrong", "<i>")
    out = labelling.to_dataset(tmp_path / "labelled.jsonl")
    (conversation,) = reader.read(out)
    assert conversation.tags == ("sums", "labelled right", "labelled wrong")
    assert conversation.meta == {
        "labels": [{"turn": 1, "label": "right"}, {"turn": 2, "label": "wrong", "note": "<i>"}]
    }
    assert [(turn.target, turn.assistant) for turn in conversation.turns] == [(35, "35"), (276, None), (311, None)]
    with pytest.raises(SettingsError, match=r"labelled\.jsonl cannot be written: File exists"):
        labelling.to_dataset(out)


def test_a_dataset_labelled_again_has_only_the_new_labels(tmp_path):
    earlier = talk("a", (35,), tags=("t", "labelled wrong"), meta={"labels": "x", "from": "y"})
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, repeat=n) for n in (1, 2)])], [earlier])
    labelling = Labelling(path)
    labelling.label("right")
    labelling.label("unsure")
    rows = rows_in(labelling.to_dataset(tmp_path / "d.jsonl"))
    assert {(row["id"], row.get("group")) for row in rows} == {("a", None), ("a/2", "a")}
    assert {row["tags"][-1] for row in rows} == {"labelled right", "labelled unsure"}
    assert all(row["meta"]["from"] == "y" and len(row["meta"]["labels"]) == 1 and len(row["tags"]) == 2 for row in rows)


def test_labels_of_one_stratum_are_doubted_as_a_correction(run):
    with Bench(lambda body: verdict("CORRECT")) as bench:
        ek.judge(run, bench.endpoint())
        labelling = Labelling(run, choose="differ")
        for _ in range(4):
            labelling.label("right")
        doubt = ek.judge(run, bench.endpoint(), labels=labelling.path).corrected.doubt
    assert "chosen by whether judge and scorer differ, and none of the other answers has a label yet" in doubt


def test_without_a_front_end_the_next_answer_is_text(run):
    labelling = ek.Run(run).label("Ana", conversations=1)
    assert "0 of 2 answers are labelled: 0 right, 0 wrong, 0 unsure." in repr(labelling)
    assert "target: 35\nanswer: 35\nTo label by keyboard, use JupyterLab" in repr(labelling)
