"""Answers with labels, read with file, line and field."""

import json
from pathlib import Path

import pytest
from judges import labels_file

from evalkit.errors import DatasetError
from evalkit.judging.labels import read_labels
from evalkit.judging.rubric import BUILT_IN

CORRECT = BUILT_IN["correct"]
LABELS = Path(__file__).parents[2] / "data" / "judged_answers.jsonl"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"label": "CORRECT"}, "line 2, field answer: is missing"),
        ({"answer": "x"}, "line 2, field label: is missing"),
        ({"answer": "x", "label": "CORECT"}, "line 2, field label: 'CORECT' is not a choice of the rubric 'correct': "
         "did you mean 'CORRECT'?"),
        ({"answer": "x", "label": "UNSURE"}, "line 2, field label: 'UNSURE' is not a choice of the rubric 'correct': "
         "they are CORRECT, INCORRECT"),
        ({"answer": 5, "label": "CORRECT"}, "line 2, field answer: must be text, not a number"),
        ({"answer": "x", "label": "CORRECT", "traget": "y"}, "line 2, field traget: unknown key; did you mean "
         "'target'?"),
        ({"answer": "x", "label": "CORRECT", "id": "row-1"}, "line 2, field id: 'row-1' is the id in line 1 already"),
        ({"answer": "x", "label": "CORRECT", "target": None}, "line 2, field target: is missing"),
        ("[1]", "line 2: a row must be an object, {…}, not a list"),
        ("{", "line 2: not valid JSON: "),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_named_by_file_line_and_field(tmp_path, row, message):
    path = labels_file(tmp_path, {"answer": "x", "label": "CORRECT"}, row)
    with pytest.raises(DatasetError) as caught:
        list(read_labels(path, CORRECT))
    assert str(caught.value).startswith(f"{path}, {message}")


def test_a_file_without_rows_and_one_of_another_kind(tmp_path):
    with pytest.raises(DatasetError, match="holds no rows"):
        list(read_labels(labels_file(tmp_path, ""), CORRECT))
    (tmp_path / "labels.csv").write_text("x")
    with pytest.raises(DatasetError, match="labels are JSON Lines"):
        list(read_labels(tmp_path / "labels.csv", CORRECT))


def test_the_bundled_labels_are_about_half_each_with_the_hard_kinds():
    rows = list(read_labels(LABELS, CORRECT))
    right = sum(row.label == "CORRECT" for row in rows)
    assert len(rows) >= 60
    assert 0.45 * len(rows) <= right <= 0.55 * len(rows)
    assert len({(row.material["question"], row.material["answer"]) for row in rows}) == len(rows)
    tags = {tag for line in LABELS.read_text(encoding="utf-8").splitlines() for tag in json.loads(line)["tags"]}
    assert tags >= {"unit", "contradiction", "verbose", "language", "injection"}
    # looking for the target in the answer is not enough for them
    naive = sum(
        (row.material["target"].lower() in row.material["answer"].lower()) == (row.label == "CORRECT") for row in rows
    )
    assert naive < 0.8 * len(rows)
