"""Which models answered a run, counted from whole runs over real sockets and shown where a run is shown."""

import sqlite3

import pytest
from answering import answering, rows, stream, whole
from runfiles import S, T, write

import evalkit as ek
from evalkit.analysis.summary_json import summary_json
from evalkit.cli.main import main

GATEWAY = {"x-litellm-model-name": "openai/gpt-4o", "x-litellm-attempted-fallbacks": "0"}
FALLBACK = {"x-litellm-model-name": "openai/gpt-4o-mini", "x-litellm-attempted-fallbacks": "1"}


def looked(tmp_path, reply, *, model="gpt-4o", turns=4, **settings):
    data = rows(tmp_path / "d.jsonl", turns)
    with answering(reply) as url:
        run = ek.evaluate(data, ek.Endpoint(url, model), out=tmp_path / "r.evalkit", concurrency=1, **settings)
    return run, run.summary_json()["answering_models"]


def shown(run, tmp_path, capsys):
    """What a terminal, an HTML report and a Markdown report say."""
    main(["show", str(run.path)])
    said = [capsys.readouterr().out]
    for name in ("report.html", "report.md"):
        main(["report", str(run.path), "--out", str(tmp_path / name)])
        said.append((tmp_path / name).read_text())
    return [" ".join(text.replace("`", "").split()) for text in said]


@pytest.mark.parametrize("form", [whole, stream])
def test_a_run_that_was_answered_as_asked_keeps_and_says_nothing(tmp_path, capsys, form):
    run, result = looked(tmp_path, lambda body, n: form(model=body["model"], id=f"chatcmpl-{n}"))
    assert result["models"] == {"gpt-4o": 4}
    assert not any(result[name] for name in ("another", "several", "fallbacks", "cached", "repeated_ids", "providers"))
    assert " model" not in shown(run, tmp_path, capsys)[0].partition("turns/s")[0].replace("gpt-4o", "")
    kept = sqlite3.connect(run.path).execute("SELECT count(provenance) FROM attempt").fetchone()
    assert kept == (0,)


def test_a_dated_name_is_kept_and_is_no_other_model(tmp_path):
    run, result = looked(tmp_path, lambda body, n: whole(model="gpt-4o-2024-08-06"))
    assert (result["models"], result["another"], result["several"]) == ({"gpt-4o-2024-08-06": 4}, 0, False)
    kept = sqlite3.connect(run.path).execute("SELECT DISTINCT provenance FROM attempt").fetchall()
    assert kept == [('{"model": "gpt-4o-2024-08-06"}',)]


def test_another_model_is_said_everywhere(tmp_path, capsys):
    run, result = looked(tmp_path, lambda body, n: stream(model="gpt-4o-mini" if n else "gpt-4o"))
    assert (result["another"], result["several"], result["models"]) == (3, True, {"gpt-4o-mini": 3, "gpt-4o": 1})
    said = "3 of 4 answers name another model than gpt-4o: gpt-4o-mini (3), gpt-4o (1)"
    assert all(said in text for text in shown(run, tmp_path, capsys))


def test_several_models_behind_one_name_are_said(tmp_path, capsys):
    def reply(body, n):
        return whole(model=body["model"], headers=GATEWAY if n else GATEWAY | {"x-litellm-model-name": "azure/o1-mini"})

    run, result = looked(tmp_path, reply, model="main")
    assert (result["another"], result["several"]) == (0, True)
    said = "everal models answered: openai/gpt-4o (3), azure/o1-mini (1)"
    assert all(said in text for text in shown(run, tmp_path, capsys))


def test_one_model_behind_an_alias_is_no_warning(tmp_path, capsys):
    run, result = looked(tmp_path, lambda body, n: whole(model=body["model"], headers=GATEWAY), model="main")
    assert (result["models"], result["another"], result["several"]) == ({"openai/gpt-4o": 4}, 0, False)
    assert "model answered" not in shown(run, tmp_path, capsys)[0]


def test_a_fallback_is_said_everywhere(tmp_path, capsys):
    def reply(body, n):
        return whole(model="gpt-4o-mini", headers=FALLBACK) if n == 3 else whole(model="gpt-4o", headers=GATEWAY)

    run, result = looked(tmp_path, reply)
    assert (result["fallbacks"], result["another"]) == (1, 1)
    assert all("1 of 4 answers came from a fallback" in text for text in shown(run, tmp_path, capsys))


def test_repeats_from_a_cache_are_said_not_to_be_independent(tmp_path, capsys):
    def reply(body, n):
        question = body["messages"][-1]["content"]
        cached = {"x-litellm-cache-key": "767bba1f"} if n >= 2 else {}
        return stream(["it is ", question], model="gpt-4o", id=f"chatcmpl-{question}", headers=GATEWAY | cached)

    run, result = looked(tmp_path, reply, turns=2, repeats=3)
    assert [result[name] for name in ("answers", "cached", "repeated_ids", "not_independent")] == [6, 4, 4, 4]
    said = "4 of 6 answers came from a cache (4 by their headers, 4 with the id and text of an earlier answer): their"
    for text in shown(run, tmp_path, capsys):
        assert said in text
        assert "repeats from a cache are not independent" in text


def test_the_same_id_twice_is_a_cache_without_any_header(tmp_path):
    _, result = looked(tmp_path, lambda body, n: whole(str(n % 2), id=f"chatcmpl-{n % 2}"))
    assert (result["cached"], result["repeated_ids"], result["not_independent"]) == (0, 2, 2)


def test_providers_and_fingerprints_that_change_are_reported(tmp_path, capsys):
    def reply(body, n):
        return whole(model="gpt-4o", provider="Azure" if n else "OpenAI", system_fingerprint=f"fp_{n > 1}")

    run, result = looked(tmp_path, reply)
    assert (result["providers"], result["fingerprints"]) == ({"Azure": 3, "OpenAI": 1}, 2)
    for text in shown(run, tmp_path, capsys):
        assert "everal providers answered: Azure (3), OpenAI (1)" in text
        assert "2 different values of system_fingerprint" in text


def test_a_failed_request_names_no_model(tmp_path):
    def reply(body, n):
        broken = stream(["3"], finish=None, model="x").replace(b"[DONE]", b"      ")
        return broken if n else stream(model="gpt-4o")

    _, result = looked(tmp_path, reply, turns=2, retries=0)
    assert (result["answers"], result["models"], result["another"]) == (1, {"gpt-4o": 1}, 0)


def test_the_name_of_a_model_stays_text_in_markdown(tmp_path):
    run, _ = looked(tmp_path, lambda body, n: whole(model="**[x](http://evil.example)**\u202e<b>"))
    main(["report", str(run.path), "--out", str(tmp_path / "report.md")])
    assert "`**[x](http://evil.example)** <b>` (4)" in (tmp_path / "report.md").read_text()


def test_an_older_file_shows_as_before(tmp_path):
    path = write(tmp_path / "old.evalkit", [S([T("c1", 1, score=1.0), T("c1", 2, score=0.0)])])
    with sqlite3.connect(path) as connection:
        later = {"turn": ("logprobs", "cached_tokens", "cache_write_tokens")}
        later["attempt"] = ("provenance", "cached_tokens", "cache_write_tokens")
        for table, names in later.items():
            for name in names:
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
        connection.executescript("ALTER TABLE scoring DROP COLUMN targets; DROP TABLE corrected_row")
        connection.execute("PRAGMA user_version = 4")  # before attempts had a provenance
    result = summary_json(path)["answering_models"]
    assert (result["answers"], result["another"], result["not_independent"]) == (2, 0, 0)


def test_a_file_in_which_it_is_no_json_is_refused(tmp_path, capsys):
    path = write(tmp_path / "bad.evalkit", [S([T("c1", 1, score=1.0)])])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE attempt SET provenance = '{'")
    assert main(["show", str(path)]) == 2
    assert "an attempt of conversation number 1, repeat 1, turn 1 holds JSON that cannot be read" in " ".join(
        capsys.readouterr().err.split()
    )


def test_ask_says_where_an_answer_came_from(monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody")
    with answering(lambda body, n: whole(model="gpt-4o-mini", headers=FALLBACK | {"x-cache": "HIT"})) as url:
        main(["ask", "hello", "--base-url", url, "--model", "gpt-4o"])
    said = capsys.readouterr().out
    assert "this answer names another model than gpt-4o: gpt-4o-mini" in said
    assert "this answer came from a fallback (x-litellm-attempted-fallbacks: 1)" in said
    assert "this answer came from a cache (x-cache: HIT)" in said
