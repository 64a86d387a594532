"""The report as a file: what it holds, how large it may be, and what its Markdown does with strange text."""

import base64
import gzip
import json
import re
import shlex

import pytest
from comparing import answers, run
from runfiles import S, T, talk, write
from test_report_browser import endpoint

from evalkit import cli, flags, reportturns
from evalkit.elements import plain
from evalkit.errors import RunFileError, SettingsError
from evalkit.markdown import code
from evalkit.measures import opened
from evalkit.report import report
from evalkit.reportparts import command, read
from evalkit.reportturns import transcripts

TINY = {"base_url": "http://127.0.0.1:9/v1", "model": "tiny"}


@pytest.fixture
def file(tmp_path):
    turns = [
        T("a", 1, score=1.0), T("a", 2, score=0.0, reason="the final number is 3, not 276"),
        T("b", 1, score=0.0, reason="the final number is 9, not 35"), T("b", 2, error="server"),
    ]  # fmt: skip
    return endpoint(write(tmp_path / "r.evalkit", [S(turns)]))


def packed(path):
    """The turns in a report."""
    (data,) = re.findall(r'<script type="application/gzip"[^>]*>([^<]*)</script>', path.read_text(encoding="utf-8"))
    return json.loads(gzip.decompress(base64.b64decode(data)))


def test_a_report_tells_the_finding_the_reasons_and_how_to_repeat_it(file, tmp_path):
    report([file], tmp_path / "r.html")
    text = tmp_path.joinpath("r.html").read_text(encoding="utf-8")
    assert "tiny answered 3 of 4 turns, and 33.3% of 3 scored ones were right" in text
    assert "such as: the final number is 3, not 276" in text  # one kind of reason, told by its first
    assert "the final number is 9, not 35" not in text
    assert "the server message" in text
    assert "evalkit run" in text
    assert "http://" not in re.sub(r"http://(127\.0\.0\.1:9|www\.w3\.org)", "", text)  # it loads nothing


def test_the_page_lets_only_its_own_script_run(file, tmp_path):
    report([file], tmp_path / "r.html")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', tmp_path.joinpath("r.html").read_text())
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_the_same_run_makes_the_same_report(file, tmp_path):
    report([file], tmp_path / "1.html")
    report([file], tmp_path / "2.html")
    assert tmp_path.joinpath("1.html").read_bytes() == tmp_path.joinpath("2.html").read_bytes()


def test_a_large_run_is_sampled_by_whole_conversations_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(reportturns, "MOST_TURNS", 60)
    turns = [
        T(f"c{n:03}", turn, score=1.0, error="server" if n % 50 == 7 and turn == 2 else None)
        for n in range(200) for turn in (1, 2)
    ]  # fmt: skip
    path = endpoint(write(tmp_path / "r.evalkit", [S(turns)], [talk(f"c{n:03}", (1, 2)) for n in range(200)]))
    report([path], tmp_path / "r.html")
    data = packed(tmp_path / "r.html")
    ids = data["conversations"]["id"]
    assert ids == sorted(ids)
    assert len(data["turns"]["turn"]) == 60
    assert {"c007", "c057", "c107", "c157"} <= set(ids)  # those with a failed turn
    assert "60 of 400 turns are here" in tmp_path.joinpath("r.html").read_text(encoding="utf-8")


def test_a_sample_is_drawn_the_same_each_time_and_not_the_first_ones(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T(f"c{n:03}", 1, score=1.0) for n in range(200)])])
    with opened(path) as connection:
        first, second = (transcripts(connection, most_turns=20, seed=0).data for _ in range(2))
        other = transcripts(connection, most_turns=20, seed=1).data
        every = transcripts(connection)
    assert first == second
    assert first["conversations"]["id"] != other["conversations"]["id"]
    assert first["conversations"]["id"] != every.data["conversations"]["id"][:20]
    assert (every.turns, every.total) == (200, 200)


def test_texts_that_are_too_long_are_sampled_at_random_too_and_not_the_first_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(reportturns, "MOST_CHARACTERS", 30_000)
    path = write(tmp_path / "r.evalkit", [S([T(f"c{n:03}", 1, text="x" * 1_000) for n in range(200)])])
    with opened(path) as connection:
        held = transcripts(connection)
    ids = held.data["conversations"]["id"]
    assert ids == sorted(ids)
    assert 20 <= len(ids) <= 30
    assert ids[-1] > "c150"
    assert (held.turns, held.total) == (len(ids), 200)


def test_a_conversation_too_long_for_a_sample_leaves_room_for_others(tmp_path):
    talks = [talk("long", (1,) * 30), *(talk(f"c{n}", (1,)) for n in range(30))]
    turns = [*(T("long", n, error="server") for n in range(1, 31)), *(T(f"c{n}", 1, error="server") for n in range(30))]
    path = write(tmp_path / "r.evalkit", [S(turns)], talks)
    with opened(path) as connection:
        assert [transcripts(connection, most_turns=20, seed=seed).turns for seed in range(5)] == [20] * 5


def test_scores_between_0_and_1_and_none_have_their_own_letters(tmp_path):
    turns = [T("a", 1, score=0.5), T("a", 2, reason="unsure"), T("a", 3, score=1.0), T("b", 1, error="server")]
    with opened(write(tmp_path / "r.evalkit", [S(turns)])) as connection:
        assert transcripts(connection).data["turns"]["status"] == ["p", "u", "r", "e"]


def test_a_comparison_says_which_turns_it_leaves_out_and_what_they_change(tmp_path):
    files = [
        run(tmp_path / "a.evalkit", answers([1.0] * 12), endpoint=TINY),
        run(
            tmp_path / "b.evalkit",
            answers([1.0] * 6) + answers([1.0] * 12, error="server")[6:],
            endpoint=TINY,
        ),
    ]
    for name in ("two.html", "two.md"):
        report(files, tmp_path / name)
        text = tmp_path.joinpath(name).read_text(encoding="utf-8")
        assert "left out: turns failed in B 6" in text
        assert "failed as not right" in text or "failed turns as not right: A is better by 50.0 points" in text


def test_a_p_is_never_0(tmp_path):
    scores = [float(n % 50 == 0) for n in range(200)]
    files = [
        run(tmp_path / "a.evalkit", answers(scores), endpoint=TINY),
        run(tmp_path / "b.evalkit", answers([1 - score for score in scores]), endpoint=TINY),
    ]
    report(files, tmp_path / "two.html")
    row = re.search(r'<th scope="row">all</th>(.*?)</tr>', tmp_path.joinpath("two.html").read_text(encoding="utf-8"))
    assert re.findall("<td>([^<]*)</td>", row[1])[2:4] == ["&lt;0.0001"] * 2


def test_runs_that_cannot_be_compared_are_shown_and_say_why(file, tmp_path):
    other = endpoint(write(tmp_path / "o.evalkit", [S([T("x", 1, score=1.0)])]))
    report([file, other], tmp_path / "two.html")
    assert "and not compared:" in tmp_path.joinpath("two.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "`plain`"),
        ("a | b", "`a | b`"),
        ("two\nlines", "`two lines`"),
        ("`tick`", "`` `tick` ``"),
        ("a``b", "```a``b```"),
        ("@someone ![x](http://127.0.0.1:9/x) <b>", "`@someone ![x](http://127.0.0.1:9/x) <b>`"),
        ("", "` `"),
    ],
)
def test_what_a_stranger_wrote_is_code_in_markdown(text, shown):
    assert code(text) == shown


def test_a_bar_ends_no_cell_of_a_table_and_stays_what_it_is_elsewhere(tmp_path):
    turns = [T("a", 1, score=0.0, scorer="x|<b>", reason="a | b")]
    path = endpoint(write(tmp_path / "r.evalkit", [S(turns)]), params={"stop": "|"})
    report([path], tmp_path / "r.md")
    text = tmp_path.joinpath("r.md").read_text(encoding="utf-8")
    assert "| `wrong: x\\|<b>` | 1 | `such as: a \\| b` |" in text
    assert "--param 'stop=\"|\"'" in text


def test_an_answer_without_a_score_is_not_told_as_wrong(tmp_path):
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0), T("b", 1, reason="unsure")])]))
    for name in ("r.html", "r.md"):
        report([path], tmp_path / name)
        text = tmp_path.joinpath(name).read_text(encoding="utf-8")
        assert "not scored: number" in text
        assert "wrong: number" not in text


def test_the_command_that_repeats_a_run_is_one_that_evalkit_takes(tmp_path):
    named = [{"name": "number", "weight": 2.0}, "length"]
    path = run(
        tmp_path / "r.evalkit", [T("a", 1)], dataset={"path": "a b.csv", "most_turns": 1},
        endpoint={"base_url": "http://127.0.0.1:9/v1", "model": "m", "params": {"stop": ["'"]}},
        settings={"scorer": named, "until_ci": 0.03, "columns": {"user": "The question"}, "retries": 0},
    )  # fmt: skip
    arguments = shlex.split(command(read(path)))
    assert arguments[:2] == ["evalkit", "run"]
    parsed = cli._parser().parse_args(arguments[1:])
    assert (str(parsed.data), parsed.model, parsed.until, parsed.retries) == ("a b.csv", "m", 0.03, 0)
    assert flags.scorer(parsed.scorer) == named
    assert flags.columns(parsed.column) == {"user": "The question"}
    assert flags.params(parsed) == {"stop": ["'"]}


def test_markdown_has_the_same_finding_and_table(file, tmp_path):
    report([file], tmp_path / "r.md")
    lines = tmp_path.joinpath("r.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "## `primary`"
    assert lines[2].startswith("`tiny` answered 3 of 4 turns")
    table = [line for line in lines if line.startswith("| ") and "of" in line.split("|")[2]]
    assert [line.split("|")[1].strip() for line in table] == ["1", "2", "all"]


def test_control_characters_have_no_place_in_a_page_and_signs_have():
    assert plain("a\x00b\x1bc\x9fd\ud800") == "a\ufffdb\ufffdc\ufffdd\ufffd"
    assert plain("line\nnext\t\u202e \U0001f469\u200d\U0001f680") == "line\nnext\t\u202e \U0001f469\u200d\U0001f680"


def test_what_cannot_be_reported(file, tmp_path):
    with pytest.raises(SettingsError, match="needs a run file"):
        report([], tmp_path / "r.html")
    with pytest.raises(SettingsError, match="is a run file itself"):
        report([file], file)
    with pytest.raises(SettingsError, match=r"cannot be written: there is no folder .*Choose another place"):
        report([file], tmp_path / "no folder" / "r.html")
    with pytest.raises(RunFileError, match="there is no run file"):
        report([tmp_path / "none.evalkit"], tmp_path / "r.html")
