"""``evalkit import`` from the command line."""

import json

from importing import CHAT, EVAL, lines

from evalkit.cli.main import main


def said(capsys, *arguments):
    code = main(list(map(str, arguments)))
    return code, *capsys.readouterr()


def test_import_says_what_it_took_and_what_it_left(tmp_path, capsys):
    out = tmp_path / "r.evalkit"
    code, text, err = said(capsys, "import", CHAT, "--out", out)
    assert (code, err) == (0, "")
    assert text.splitlines() == [
        "4 answers; 4 scores by exact_match,strict-match; no times",
        "other scores, to take with --score: exact_match,flexible-extract",
        f"run file: {out}",
    ]
    code, text, _ = said(capsys, "import", EVAL, "--out", tmp_path / "j.evalkit", "--json")
    assert list(json.loads(text)) == [
        "run", "form", "answers", "failed", "scorer", "scored", "other_scorers", "notes",
    ]  # fmt: skip


def test_text_of_strangers_is_printed_as_text(tmp_path, capsys):
    path = lines(
        tmp_path / "a.jsonl", {"id": "[red]\x1b[31m", "question": "[b]q\x1b", "answer": "[i]x\x1b", "target": "x"}
    )
    out = tmp_path / "r.evalkit"
    assert said(capsys, "import", path, "--model", "[u]m\x1b", "--out", out)[0] == 0
    code, text, _ = said(capsys, "show", out)
    assert code == 0
    assert "\x1b" not in text
    assert "answers of [u]m" in text


def test_bad_input_ends_with_2_and_names_the_line(tmp_path, capsys):
    path = lines(tmp_path / "a.jsonl", {"id": "a", "question": "q", "answer": "x"}, {"id": "b", "question": "q"})
    code, out, err = said(capsys, "import", path, "--out", tmp_path / "r.evalkit")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {path}, line 2, field answer: is missing")
    code, _, err = said(capsys, "import", tmp_path / "b.jsonl")
    assert code == 2
    assert "there is no such file" in err
