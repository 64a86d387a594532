"""The report as a file: what it holds, how large it may be, and what its Markdown does with strange text."""

import html
import re
import shlex
import subprocess

import pytest
from comparing import answers, run, said, two
from pages import unpacked
from runfiles import S, T, endpoint, talk, write

from evalkit.analysis.measures import opened
from evalkit.analysis.price_file import price_of
from evalkit.cli import shared_flags
from evalkit.cli.main import command_parser
from evalkit.errors import RunFileError, SettingsError
from evalkit.record import Score
from evalkit.report import transcript_data
from evalkit.report.html_elements import plain
from evalkit.report.html_report import report
from evalkit.report.markdown_report import code
from evalkit.report.repeat_commands import commands, run_command
from evalkit.report.run_contents import read_run
from evalkit.report.transcript_data import transcripts
from evalkit.runfile import scorings
from evalkit.runfile.store import RunFile
from evalkit.settings import Settings

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
    return unpacked(data)


def test_a_report_has_the_result_the_reasons_and_how_to_repeat_it(file, tmp_path, drawn_charts):
    report([file], tmp_path / "r.html")
    text = tmp_path.joinpath("r.html").read_text(encoding="utf-8")
    assert "tiny answered 3 of 4 turns, and 33.3% of 3 scored answers were right" in text
    assert "for example: the final number is 3, not 276" in text  # the first of one kind of reason
    assert "the final number is 9, not 35" not in text
    assert "the server message" in text
    assert "evalkit run" in text
    assert "http://" not in re.sub(r"http://(127\.0\.0\.1:9|www\.w3\.org)", "", text)  # it loads nothing


def test_the_page_lets_only_its_own_script_run(file, tmp_path):
    report([file], tmp_path / "r.html")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', tmp_path.joinpath("r.html").read_text())
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_the_same_run_makes_the_same_report(file, tmp_path, drawn_charts):
    report([file], tmp_path / "1.html")
    report([file], tmp_path / "2.html")
    assert tmp_path.joinpath("1.html").read_bytes() == tmp_path.joinpath("2.html").read_bytes()


def test_a_large_run_is_sampled_by_whole_conversations_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(transcript_data, "MOST_TURNS", 60)
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
    assert "60 of 400 turns are shown here" in tmp_path.joinpath("r.html").read_text(encoding="utf-8")


def test_a_sample_is_random_and_reproducible(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T(f"c{n:03}", 1, score=1.0) for n in range(200)])])
    with opened(path) as connection:
        first, second = (transcripts(connection, most_turns=20, seed=0).data for _ in range(2))
        other = transcripts(connection, most_turns=20, seed=1).data
        every = transcripts(connection)
    assert first == second
    assert first["conversations"]["id"] != other["conversations"]["id"]
    assert first["conversations"]["id"] != every.data["conversations"]["id"][:20]
    assert (every.turns, every.total) == (200, 200)


def test_a_run_with_too_much_text_is_sampled_at_random(tmp_path, monkeypatch):
    monkeypatch.setattr(transcript_data, "MOST_CHARACTERS", 30_000)
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
        assert "left out: turns failed in B 6" in text.lower().replace(" b 6", " B 6")
        assert "failed turns as not right<" in text or "failed turns as not right: A is better by 50.0 points" in text


def test_a_comparison_shortens_what_differs(tmp_path):
    first, second = two(tmp_path, [1.0] * 4, [1.0] * 4, endpoint=TINY)
    said(second, settings={"system": "You are a teacher. " * 100})
    report([first, second], tmp_path / "two.html")
    page = tmp_path.joinpath("two.html").read_text(encoding="utf-8")
    (differs,) = re.findall("A and B differ in (.*?)</p>", page)
    assert html.unescape(differs) == "system (A the dataset's, B \"" + ("You are a teacher. " * 4)[:58] + "…)."


def test_a_comparison_of_times_keeps_the_time_outs(tmp_path):
    turns = [T(f"c{n:03}", 1, score=1.0, ttft_ms=100.0 + n % 7, latency_ms=150.0 + n % 5) for n in range(60)]
    hung = [
        T(turn.conversation, 1, ttft_ms=None, error="timeout", end_ms=2000.0) if n % 3 == 0 else turn
        for n, turn in enumerate(turns)
    ]
    files = [run(tmp_path / f"{n}.evalkit", each, endpoint=TINY) for n, each in (("a", turns), ("b", hung))]
    for name in ("two.html", "two.md"):
        report(files, tmp_path / name)
        text = tmp_path.joinpath(name).read_text(encoding="utf-8")
        assert "he difference in TTFT p95 and latency p95 is unknown: of 60 turns, 0 timed out or were cut off" in text
        row = next(
            line for line in re.split(r"</tr>|\n", text) if "TTFT p95" in line and ("<td>60" in line or "| 60" in line)
        )
        assert re.findall(r"60|106|–|at least \+1,89\d", row) == ["60", "106", "–", row[row.index("at least") :][:15]]


def test_a_p_is_never_0(tmp_path):
    scores = [float(n % 50 == 0) for n in range(200)]
    files = [
        run(tmp_path / "a.evalkit", answers(scores), endpoint=TINY),
        run(tmp_path / "b.evalkit", answers([1 - score for score in scores]), endpoint=TINY),
    ]
    report(files, tmp_path / "two.html")
    row = re.search(r'<th scope="row">all</th>(.*?)</tr>', tmp_path.joinpath("two.html").read_text(encoding="utf-8"))
    assert re.findall("<td>([^<]*)</td>", row[1])[4:6] == ["&lt;0.0001"] * 2


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
def test_untrusted_text_is_code_in_markdown(text, shown):
    assert code(text) == shown


def test_a_bar_is_escaped_in_table_cells_only(tmp_path):
    turns = [T("a", 1, score=0.0, scorer="x|<b>", reason="a | b")]
    path = endpoint(write(tmp_path / "r.evalkit", [S(turns)]), params={"stop": "|"})
    report([path], tmp_path / "r.md")
    text = tmp_path.joinpath("r.md").read_text(encoding="utf-8")
    assert "| `wrong: x\\|<b>` | 1 | `for example: a \\| b` |" in text
    assert "--param 'stop=\"|\"'" in text


def test_an_answer_without_a_score_is_not_counted_as_wrong(tmp_path):
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0), T("b", 1, reason="unsure")])]))
    for name in ("r.html", "r.md"):
        report([path], tmp_path / name)
        text = tmp_path.joinpath(name).read_text(encoding="utf-8")
        assert "not scored: number" in text
        assert "wrong: number" not in text


def test_evalkit_accepts_the_command_that_repeats_a_run(tmp_path):
    named = [{"name": "number", "weight": 2.0}, "length"]
    path = run(
        tmp_path / "r.evalkit", [T("a", 1)], dataset={"path": "a b.csv", "most_turns": 1},
        endpoint={"base_url": "http://127.0.0.1:9/v1", "model": "m", "params": {"stop": ["'"]}},
        settings={
            "scorer": named, "until_ci": 0.03, "columns": {"user": "The question"}, "retries": 0, "system": "-x 'y'\nz",
        },
    )  # fmt: skip
    arguments = shlex.split(run_command(read_run(path)))
    assert arguments[:2] == ["evalkit", "run"]
    parsed = command_parser().parse_args(arguments[1:])
    assert (list(map(str, parsed.data)), parsed.model, parsed.until, parsed.retries) == (["a b.csv"], "m", 0.03, 0)
    assert shared_flags.scorer(parsed.scorer) == named
    assert shared_flags.columns(parsed.column) == {"user": "The question"}
    assert shared_flags.params(parsed) == {"stop": ["'"]}
    assert parsed.system == "-x 'y'\nz"
    path = said(path, settings={"system": "@me"})
    assert command_parser().parse_args(shlex.split(run_command(read_run(path)))[1:]).system is None
    assert 'system="@me"' in commands(read_run(path))[-1]


def test_markdown_has_the_same_finding_and_table(file, tmp_path):
    report([file], tmp_path / "r.md")
    lines = tmp_path.joinpath("r.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "## `tiny` on `a dataset without a name`"
    assert lines[2].startswith("`tiny` answered 3 of 4 turns")
    table = [line for line in lines if line.startswith("| ") and "of" in line.split("|")[2]]
    assert [line.split("|")[1].strip() for line in table] == ["1", "2", "all"]


def test_control_characters_are_replaced_and_other_characters_are_kept():
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


# --- whose scores, and how the same numbers are made again


def texts(path, tmp_path):
    """The report as a page and as Markdown, without its markup."""
    pages = []
    for name in ("r.html", "r.md"):
        report([path], tmp_path / name)
        text = tmp_path.joinpath(name).read_text(encoding="utf-8")
        text = re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.DOTALL)
        pages.append(html.unescape(re.sub(r"<[^>]+>", "", text) if name == "r.html" else text.replace("`", "")))
    return pages


def scored_again(path, scorer=None, judge=None, value=0.0):
    """Let a later scoring count, as ``evalkit score`` and ``evalkit judge`` write it."""
    with RunFile.open(path) as runfile:
        scored = [(0, 1, 1, Score("x", value, None, None))]
        scorings.add(runfile, scorer, [scored], versions=lambda used: {}, scores_all=False, judge=judge)
    return path


JUDGE = {"model": "gpt<b>", "base_url": "http://127.0.0.1:9/v1", "rubric": "helpful"}


@pytest.mark.parametrize(
    ("made", "whose", "command"),
    [
        ({}, None, None),
        (
            {"scorer": "includes"},
            "scoring 1, scored again by includes;",
            "evalkit score again.evalkit --scorer includes",
        ),
        (
            {"scorer": [{"name": "number", "weight": 2.0}, "f1"]},
            "scoring 1, scored again by number=2.0, f1;",
            "evalkit score again.evalkit --scorer number=2 --scorer f1",
        ),
        ({"scorer": {"name": "number", "abs_tol": 1}}, "scoring 1, scored again by number;", "# evalkit.Run('again"),
        ({"scorer": None}, "scoring 1, scored again by the scorer of each turn;", "evalkit score again.evalkit"),
        (
            {"judge": JUDGE},
            "scoring 1, by the judge gpt<b> with the rubric helpful;",
            "evalkit judge again.evalkit --rubric helpful --base-url http://127.0.0.1:9/v1 --model 'gpt<b>'",
        ),
    ],
)
def test_a_report_names_its_scoring_and_the_command_that_repeats_it(tmp_path, made, whose, command):
    path = run(tmp_path / "r.evalkit", [T("a", 1, score=1.0)], endpoint=TINY)
    if made:
        scored_again(path, **made)
    for text in texts(path, tmp_path):
        assert ("Scores: " in text) == (whose is not None)
        if whose is not None:
            assert f"Scores: {whose[:-1]}; these are not the run's own scores." in text
            assert "--out again.evalkit" in text
            assert command in text


def test_a_report_of_a_run_whose_own_scores_count_again_says_so(tmp_path):
    path = scored_again(run(tmp_path / "r.evalkit", [T("a", 1, score=1.0)], endpoint=TINY), "includes")
    with RunFile.open(path) as runfile:
        scorings.make_current(runfile, 0)
    for text in texts(path, tmp_path):
        assert "Scores: those of the run itself; it was scored again later." in text
        assert "evalkit score" not in text


def test_the_commands_that_repeat_a_run_have_all_settings_that_affect_its_numbers(tmp_path):
    path = run(
        tmp_path / "r.evalkit", [T("a", 1, score=1.0)], dataset={"path": "d.jsonl"},
        endpoint={
            "base_url": "http://127.0.0.1:9/v1", "model": 'm "1"%s', "params": {}, "timeout_s": 12.5,
            "ttft_timeout_s": 2.0, "connect_timeout_s": 3.0,
        },
        settings={
            "max_time_s": 60.0, "max_tokens_total": 9000, "max_cost": 1.5, "price": [0.15, 0.6], "max_tool_rounds": 7,
            "scorer": {"name": "number", "abs_tol": 0.1}, "limit": 30,
        },
    )  # fmt: skip
    prices, asked, apart = commands(read_run(path))
    parsed = command_parser().parse_args(shlex.split(asked)[1:])
    assert (parsed.timeout, parsed.ttft_timeout, parsed.limit) == (12.5, 2.0, 30)
    assert (parsed.max_time, parsed.max_tokens_total, parsed.max_cost) == (60.0, 9000, 1.5)
    assert parsed.scorer == ["number"]
    assert apart == (
        '# only in Python: connect_timeout_s=3.0, max_tool_rounds=7, scorer={"name":"number","abs_tol":0.1}'
    )
    subprocess.run(["sh", "-c", prices], check=True, cwd=tmp_path)
    assert price_of('m "1"%s', tmp_path / parsed.prices) == (0.15, 0.6)


def test_a_run_with_default_settings_is_repeated_by_a_short_command(tmp_path):
    endpoint = {**TINY, "timeout_s": 300.0, "ttft_timeout_s": None, "connect_timeout_s": 10.0}
    (line,) = commands(
        read_run(run(tmp_path / "r.evalkit", [T("a", 1)], endpoint=endpoint, dataset={"path": "d.jsonl"}))
    )
    assert line == f"evalkit run d.jsonl --base-url {TINY['base_url']} --model {TINY['model']} --concurrency 4"


@pytest.mark.parametrize(("spread", "reached"), [(0, True), (1, False)])
def test_a_run_that_until_ended_is_complete(tmp_path, spread, reached):
    turns = [T(f"c{n:03}", 1, score=float(n % 2 or not spread)) for n in range(60)]
    talks = [talk(f"c{n:03}", targets=(35,)) for n in range(60)]
    dataset, settings = {"turns": 100, "most_turns": 1}, Settings(until_ci=0.1).to_json()
    path = run(tmp_path / "r.evalkit", turns, talks, endpoint=TINY, dataset=dataset, settings=settings)
    for text in texts(path, tmp_path):
        assert ("40 turns have not been run yet" in text) is not reached
        assert ("40 turns need not be run" in text) is reached
        assert ("--until ci=0.1 is not reached" in text) is not reached


@pytest.mark.parametrize(
    ("targets", "scores", "listed", "well"),
    [
        ((35,), [1.0] * 6 + [None] * 4, "not scored", None),
        ((None,), [None] * 10, None, "Nothing failed. No answer has a score: there is no target."),
        ((35,), [1.0] * 10, None, "Nothing failed, every target has a score, and no scored answer was wrong."),
    ],
)
def test_turns_without_a_score_are_not_reported_as_nothing_failed(tmp_path, targets, scores, listed, well):
    turns = [T(f"c{n}", 1, score=score) for n, score in enumerate(scores)]
    path = run(tmp_path / "r.evalkit", turns, [talk(f"c{n}", targets=targets) for n in range(10)], endpoint=TINY)
    page, in_words = texts(path, tmp_path)
    assert ("Nothing failed" in page) == (well is not None)
    if well is not None:
        assert well in page
    if listed is not None:
        assert "no scorer has scored it" in page
        assert "| not scored | 4 | for example: no scorer has scored it |" in in_words


def test_turns_without_a_target_and_targets_without_a_score_are_reported_differently(tmp_path):
    turns = [T("a", 1, score=1.0), T("b", 1)]
    path = run(tmp_path / "r.evalkit", turns, [talk("a", [35]), talk("b", [None])], endpoint=TINY)
    assert "Nothing failed, 1 answered turn has no target, and no scored" in texts(path, tmp_path)[0]


def test_markdown_has_no_character_that_drives_a_terminal_or_turns_the_text(tmp_path):
    strange = "x\x1b[2J\x1b]0;t\x07\u202e\u2066\x9b31m\x7f"
    path = run(
        tmp_path / "r.evalkit",
        [T(f"c{strange}", 1, score=0.0, reason=strange, scorer=strange)],
        dataset={"path": strange},
        endpoint={"model": strange, "base_url": f"http://127.0.0.1/{strange}", "params": {strange: strange}},
    )
    other = run(tmp_path / "s.evalkit", [T("a", 1, score=1.0)], endpoint={"model": "m", "base_url": "http://127.0.0.1"})
    report([path, other], tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    assert "�[2J" in text
    assert re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text) == []
