"""The head of a report: what was run, how far to trust it, and what incomplete answers change."""

import re

import pytest
from comparing import run
from runfiles import S, T, endpoint, talk, write

from evalkit.record import UNCONFIRMED
from evalkit.report import run_facts
from evalkit.report.html_report import report
from evalkit.report.run_contents import read_run
from evalkit.runfile.store import RunFile

DATASET = {"path": "/data/school <b>.jsonl", "hash": "ab" * 32, "conversations": 2, "turns": 4}


def facts(path):
    return dict(run_facts.facts(read_run(path, drawn=False)))


def sentences(path):
    return [sentence for sentence, _ in run_facts.reliability(read_run(path, drawn=False))]


def test_the_head_says_what_was_run_against_what_when_and_how(tmp_path):
    turns = [T("a", 1, score=1.0, tokens=5), T("a", 2, score=0.0, tokens=5), T("b", 1, error="server")]
    asked = {"base_url": "http://127.0.0.1:9/v1", "model": "tiny", "params": {"max_tokens": 40, "temperature": 0}}
    settings = {"price": [0.15, 0.6], "system": "Be short.", "history": "golden", "concurrency": 8}
    path = run(tmp_path / "r.evalkit", turns, dataset=DATASET, endpoint=asked, settings=settings)
    found = facts(path)
    assert found.pop("started").startswith("20")
    assert "per right answer" in found.pop("cost")
    assert found == {
        "dataset": "school <b>.jsonl, 2 conversations, 4 turns",
        "turns": "3 of 4 run, 2 answered, 2 scored",
        "model": "tiny",
        "endpoint": "http://127.0.0.1:9/v1",
        "parameters": "max_tokens 40, temperature 0",
        "settings": "8 in parallel, streamed, later turns see the dataset's golden answers",
        "system prompt": "Be short.",
        "scored by": "number",
        "price": "for a million tokens: 0.15 prompt, 0.6 output",
        "tokens": "40 prompt tokens, 10 output tokens",
    }


def test_trust_is_stated_once_in_both_forms(tmp_path):
    turns = [T(f"c{n}", 1, score=1.0, ttft_ms=5.0, latency_ms=9.0) for n in range(30)]
    session = S(turns, trust={"loop_lag_p99_ms": 4.0, "loop_stall_max_ms": 9.0})
    path = endpoint(write(tmp_path / "r.evalkit", [session], [talk(f"c{n}", (1,)) for n in range(30)]))
    for name in ("r.html", "r.md"):
        report([path], tmp_path / name)
        text = tmp_path.joinpath(name).read_text(encoding="utf-8")
        text = re.sub(r"<figure>.*?</figure>", "", text)  # a chart has its own mark
        words = "The times may be this client's own, not the endpoint's: it may have added up to 4 ms"
        assert text.count(words) == 1
        assert "CLIENT-BOUND" not in text


def test_the_accuracy_is_given_with_and_without_incomplete_answers(tmp_path):
    turns = [T(f"c{n}", 1, score=float(n > 2), finish_reason="length" if n < 3 else "stop") for n in range(10)]
    path = endpoint(write(tmp_path / "r.evalkit", [S(turns)], [talk(f"c{n}", (1,)) for n in range(10)]))
    with RunFile.open(path) as file, file.connection as connection:
        connection.execute("UPDATE turn SET flags = ?, finish_reason = NULL WHERE conversation = 9", (UNCONFIRMED,))
    found = sentences(path)
    cut_off = next(line for line in found if "3 cut-off answers" in line)
    assert cut_off.startswith("Accuracy with the 3 cut-off answers: 70.0% of 10 (")
    assert "; without them: 100.0% of 7 (" in cut_off
    unconfirmed = next(line for line in found if "the unconfirmed answer" in line)
    assert "; without it: 66.7% of 9 (" in unconfirmed
    assert "To send them again with a higher limit: evalkit resume r.evalkit --cut-off --max-tokens N." in found


@pytest.mark.parametrize(("finish", "left"), [("length", "without them no scored answer is left"), ("stop", None)])
def test_an_accuracy_without_any_answer_is_missing_and_not_0(tmp_path, finish, left):
    turns = [T(f"c{n}", 1, score=1.0, finish_reason=finish) for n in range(3)]
    path = endpoint(write(tmp_path / "r.evalkit", [S(turns)]))
    assert any(left in line for line in sentences(path)) if left else "without" not in " ".join(sentences(path))


def test_a_comparison_says_what_cut_off_answers_change_in_each_run(tmp_path):
    files = []
    for name, finish in (("a", "length"), ("b", "stop")):
        turns = [T(f"c{n}", 1, score=float(n > 2), finish_reason=finish if n < 3 else "stop") for n in range(10)]
        files.append(run(tmp_path / f"{name}.evalkit", turns, endpoint={"base_url": "http://a/v1", "model": "m"}))
    for name in ("two.html", "two.md"):
        report(files, tmp_path / name)
        text = tmp_path.joinpath(name).read_text(encoding="utf-8")
        assert "A: accuracy with the 3 cut-off answers: 70.0% of 10 (" in text
        assert "B: accuracy with" not in text
