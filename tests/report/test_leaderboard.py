"""Several runs in a report: their order, and which of them are not shown to differ."""

import re

import pytest
from comparing import answers, run, timed

from evalkit.report.html_report import report
from evalkit.report.leaderboard import leaderboard
from evalkit.report.run_contents import compared_runs, read_run


def board(tmp_path, *scores, **about):
    runs = []
    for number, each in enumerate(scores):
        asked = {"base_url": "http://127.0.0.1:9/v1", "model": f"m{number}"}
        path = run(tmp_path / f"{number}.evalkit", answers(each), endpoint=asked, **about)
        runs.append(read_run(path, drawn=False))
    return leaderboard(runs, compared_runs(runs))


WELL, BADLY = [1.0] * 36 + [0.0] * 4, [1.0] * 10 + [0.0] * 30
ALSO_WELL = [0.0] * 2 + [1.0] * 36 + [0.0] * 2


@pytest.mark.parametrize(
    ("scores", "finding", "ranks", "groups"),
    [
        (
            (BADLY, WELL, ALSO_WELL), "B (m1) and C (m2) are first: which of them is better is not shown, over 40 "
            "turns answered and scored in all runs.", ["1–2", "1–2", "3"], ["a", "a", "b"],
        ),
        (
            (WELL, BADLY, BADLY), "A (m0) is better than every other run, over 40 turns answered and scored in all "
            "runs.", ["1", "2–3", "2–3"], ["a", "b", "b"],
        ),
        (
            (WELL, ALSO_WELL, WELL), "No run is shown to be better than another, over 40 turns answered and scored in "
            "all runs.", ["1–3"] * 3, ["a"] * 3,
        ),
    ],
)  # fmt: skip
def test_runs_are_ranked_and_those_not_shown_to_differ_share_a_letter(tmp_path, scores, finding, ranks, groups):
    found = board(tmp_path, *scores)
    assert found.finding == finding
    assert [row[found.headings.index("rank")] for row in found.rows] == ranks
    assert [row[found.headings.index("group")] for row in found.rows] == groups
    assert found.rows[0][found.headings.index("accuracy (95 % interval)")].startswith("90.0% of 40 (")


def test_runs_of_different_datasets_are_listed_by_accuracy_and_not_ranked(tmp_path):
    runs = [
        read_run(run(tmp_path / f"{n}.evalkit", turns, endpoint={"base_url": "http://a/v1", "model": "m"}), drawn=False)
        for n, turns in enumerate((answers([0.0]), answers([1.0, 1.0])[1:]))
    ]
    found = leaderboard(runs, compared_runs(runs))
    assert found.finding.startswith("These runs are shown side by side, and not compared: ")
    assert "rank" not in found.headings
    assert [row[0][0] for row in found.rows] == ["B", "A"]


def test_of_two_runs_the_better_and_the_faster_are_named(tmp_path):
    files = []
    for name, scores, latency in (("a", WELL, 400.0), ("b", BADLY, 200.0)):
        asked = {"base_url": "http://127.0.0.1:9/v1", "model": f"model-{name}"}
        files.append(run(tmp_path / f"{name}.evalkit", timed(scores, latency), endpoint=asked))
    report(files, tmp_path / "two.html")
    text = tmp_path.joinpath("two.html").read_text(encoding="utf-8")
    assert "<h1>model-a (A) and model-b (B) on " in text
    assert "A is better by 65.0 points" in text
    assert "B is faster: median latency 40" in text


def test_two_runs_over_different_turns_stand_in_the_order_of_what_is_compared(tmp_path):
    found = board(tmp_path, [1.0] * 20 + [0.0] * 80, [0.0] * 12 + [1.0] * 8)
    assert [row[0][0] for row in found.rows] == ["A", "B"]  # B has 40 % of its turns right, A 20 %, but 100 % of these
    assert found.notes[-1] == (
        "the accuracies of the table are over different turns; over the 20 turns answered and scored in both: "
        "A 100.0%, B 40.0%"
    )
    (tmp_path / "same").mkdir()
    assert board(tmp_path / "same", WELL, BADLY).notes[-1] == (
        "over the 40 turns answered and scored in both: A 90.0%, B 25.0%"
    )


def test_a_comparison_shows_both_accuracies_and_who_alone_is_right(tmp_path):
    asked = {"base_url": "http://127.0.0.1:9/v1", "model": "m"}
    files = [
        run(tmp_path / f"{name}.evalkit", answers(scores), endpoint=asked)
        for name, scores in (("a", WELL), ("b", BADLY))
    ]
    report(files, tmp_path / "two.html")
    text = tmp_path.joinpath("two.html").read_text(encoding="utf-8")
    headings = ("A", "B", "B − A (95 % interval)", "p", "corrected p", "least", "only A right", "only B right")
    assert "".join(f">{heading}</th>" for heading in headings) in re.sub(r"<th [^>]*|<th", "", text)
    row = re.search(r">all</th>(.*?)</tr>", text)[1]
    cells = re.findall(r">([^<]*)</td>", row)
    assert [cells[0], *cells[1:3], *cells[-2:]] == ["40", "90.0%", "25.0%", "26", "0"]


def test_names_of_strangers_cannot_break_a_markdown_table(tmp_path):
    files = [
        run(tmp_path / f"{n}.evalkit", answers([1.0]), endpoint={"base_url": "http://a/v1", "model": f"a|b\n{n}"})
        for n in range(2)
    ]
    report(files, tmp_path / "two.md")
    lines = tmp_path.joinpath("two.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if "`a\\|b" in line and line.startswith("| ")]
    assert len(rows) == 2
