import io

import numpy as np
from comparing import answers, run, said, tagged, two
from rich.console import Console
from runfiles import T, talk

from evalkit.comparing.comparison import compare
from evalkit.console.compare import show_comparison

ENDPOINT = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "params": {"temperature": 0}}


def shown(*files, width=120, **more):
    written = io.StringIO()
    show_comparison(Console(file=written, width=width, highlight=False, markup=False), compare(*files, **more))
    return written.getvalue()


def scores(seed, count, share):
    return (np.random.default_rng(seed).random(count) < share).astype(float).tolist()


def test_the_comparison_of_two_runs(tmp_path):
    first, second = two(tmp_path, [1.0, 0.0, 0.0, 0.0] * 5, [1.0, 1.0] * 10, turns=2, endpoint=ENDPOINT)
    said(second, settings={"history": "golden"})
    lines = shown(first, second).splitlines()
    assert lines[0] == f"A  {first}: m (http://127.0.0.1:9/v1, temperature 0), own history"
    assert lines[3] == "A and B differ in history (A own, B golden)"
    assert lines[4].startswith("golden history is better by 75.0 points (95 % interval ")
    assert ": the cost of the model's own earlier answers; p " in lines[4]
    assert "over 20 turns answered and scored in both" in lines[5]
    rows = {line.split()[0]: line.split() for line in lines[7:10]}
    assert rows["1"][1:5] == ["10", "50.0%", "100.0%", "+50.0"]
    assert rows["2"][1:5] == ["10", "0.0%", "100.0%", "+100.0"]
    assert rows["all"][-1] == "0/15"
    text = "\n".join(lines)
    assert "Holm: p corrected by Holm's method, over the 2 turn indices tested" in text
    assert "failed as not right" not in text
    assert "left out" not in text
    assert "15 turns right in one run only, 0 in A and 15 in B; the first 5:" in text
    assert f"    evalkit show {second} --conversation c003" in text
    assert text.count("right in B only") == 5
    assert "evalkit.compare(…).flips()" in text


def test_a_run_without_a_system_prompt_is_told_from_one_with_the_datasets(tmp_path):
    first, second = two(tmp_path, [1.0] * 4, [1.0] * 4, endpoint=ENDPOINT)
    said(second, settings={"system": ""})
    assert "A and B differ in system (A the dataset's, B none)" in shown(first, second)
    said(first, settings={"system": "Be brief."})
    assert 'A and B differ in system (A "Be brief.", B none)' in shown(first, second)


def test_where_too_few_differ_there_is_no_p_but_limits_and_a_reason(tmp_path):
    first, second = two(tmp_path, [0.0] * 30, [1.0] * 3 + [0.0] * 27, endpoint=ENDPOINT)
    lines = shown(first, second).splitlines()
    assert lines[4] == (
        "no difference shown: only 3 of 30 conversations differ, too few to detect a difference under 27 points; "
        "B − A +10.0 (−4.6 to +26.5) points"
    )
    assert lines[7].split()[-4:] == ["–", "–", "–", "0/3"]


def test_left_out_turns_are_counted(tmp_path):
    first = run(tmp_path / "a.evalkit", answers([1.0, 0.0, 1.0, 0.0]), endpoint=ENDPOINT)
    turns = [*answers([1.0, 1.0]), T("c002", 1, error="server"), T("extra", 1, score=1.0)]
    second = run(tmp_path / "b.evalkit", turns, endpoint=ENDPOINT)
    text = shown(first, second, common=True)
    assert "left out: turns failed in B 1; conversations in A only 1, in B only 1" in text
    assert "failed as not right" in text


def test_runs_without_a_pair_say_so_and_show_no_number(tmp_path):
    files = [
        run(tmp_path / f"{n}.evalkit", [T("a", 1, error="server"), T("b", 1, error="server")], endpoint=ENDPOINT)
        for n in "ab"
    ]
    text = shown(*files)
    assert "nothing to compare: no turn is answered and scored in both runs" in text
    assert "left out: turns failed in both 2" in text
    assert "nan" not in text.lower()
    assert "TTFT" not in text


def test_ten_of_two_hundred_tags_are_shown_and_those_that_differ_beyond_chance(tmp_path):
    conversations = [*tagged(400, 200), *(talk(f"x{n}", targets=(1,), tags=("worse",)) for n in range(2))]
    conversations[:60] = [talk(f"c{n:03}", targets=(1,), tags=(f"big{n // 5:02}",)) for n in range(60)]
    a, b = scores(1, 400, 0.5), scores(1, 400, 0.5)
    first = run(tmp_path / "a.evalkit", answers(a), conversations, endpoint=ENDPOINT)
    second = run(tmp_path / "b.evalkit", answers(b), conversations, endpoint=ENDPOINT)
    text = shown(first, second)
    assert sum(line.startswith(("big", "t1", "t0")) for line in text.splitlines()) == 10
    tags = len(compare(first, second).contrasts[0].by_tag)
    assert f"{tags - 10} more tags with fewer turns and no difference beyond chance: see --json" in text
    changed = [1.0 - score if 55 <= n < 60 else score for n, score in enumerate(a)]
    assert "big11" not in text
    small = [talk(f"c{n:03}", targets=(1,), tags=(f"t{n % 12:02}",) if n < 120 else ("all",)) for n in range(400)]
    first = run(tmp_path / "c.evalkit", answers([0.0] * 400), small, endpoint=ENDPOINT)
    changed = [1.0 if n < 120 and n % 12 == 11 else 0.0 for n in range(400)]
    second = run(tmp_path / "d.evalkit", answers(changed), small, endpoint=ENDPOINT)
    lines = [line.split() for line in shown(first, second).splitlines()]
    assert ["t11", "10", "0.0%", "100.0%", "+100.0"] in [line[:5] for line in lines]
    assert ["t10", "10", "0.0%"] not in [line[:3] for line in lines]


def test_three_runs_say_that_they_are_corrected_over_runs(tmp_path):
    files = [run(tmp_path / f"{n}.evalkit", answers(scores(n, 30, 0.5)), endpoint=ENDPOINT) for n in range(3)]
    text = shown(*files)
    assert "each run is compared with A; p corrected by Holm's method, also over these 2 runs" in text
    assert "A and B have the same settings" in text
    assert "A and C have the same settings" in text


def test_hostile_names_drive_no_terminal_and_forge_no_line(tmp_path):
    evil = "\x1b[2Jx\nall 9 9"
    files = [
        run(
            tmp_path / f"{n}.evalkit",
            [T(evil, 1, score=float(n == "a")), T("b", 1, score=1.0)],
            [talk(evil, targets=(1,), tags=(evil,))],
            endpoint={**ENDPOINT, "model": f"{evil}{n}"},
        )
        for n in "ab"
    ]
    text = shown(*files)
    assert "\x1b" not in text
    assert not any(line.startswith("all 9") for line in text.splitlines())
    assert "$'\\x1b[2Jx\\x0aall 9 9'" in text


def test_a_narrow_terminal_loses_no_number(tmp_path):
    first, second = two(tmp_path, scores(1, 40, 0.3), scores(2, 40, 0.6), turns=2, endpoint=ENDPOINT)
    wide, narrow = (shown(first, second, width=width).replace("(…)", "") for width in (120, 40))
    assert "…" not in narrow
    assert sorted("".join(narrow.split())) == sorted("".join(wide.split()))


def test_times_that_time_outs_leave_open_are_bounded_in_words(tmp_path):
    turns = [T(f"c{n:03}", 1, score=1.0, ttft_ms=100.0 + n % 7, latency_ms=150.0 + n % 5) for n in range(60)]
    first = run(tmp_path / "a.evalkit", turns, endpoint=ENDPOINT)
    turns[::3] = [T(turn.conversation, 1, ttft_ms=None, error="timeout", end_ms=2000.0) for turn in turns[::3]]
    second = run(tmp_path / "b.evalkit", turns, endpoint=ENDPOINT)
    text = shown(first, second)
    rows = {line[:11]: line.split() for line in text.splitlines() if line.startswith(("TTFT p", "latency p"))}
    assert rows["TTFT p95   "][2:5] == ["60", "106", "–"]
    assert "at least +1,89" in text
    assert "lower bounds, from turns that timed out or were cut off: TTFT 0 in A and 20 in B, latency 0 in A" in text
    assert "20 in B, so their times are only lower bounds" in text
    assert "at most −1,8" in shown(second, first)
