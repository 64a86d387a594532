"""``evalkit check`` from the command line."""

import json
import re

import pytest
from behaving import behaving, completion, reply
from commands import evalkit

from evalkit.checkup.probes.all_probes import PROBES

CODE = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)")  # inline code in Markdown


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """The command with every kind of output, against one endpoint."""
    folder = tmp_path_factory.mktemp("check")

    def hostile(request):
        return (
            None if request.get("stream") else reply(completion({"content": "\x1b[31m|<b>red</b> `x` one two three"}))
        )

    with behaving(hostile) as (base_url, _):
        flags = ["--base-url", base_url, "--model", "m"]
        yield (
            {
                "text": evalkit("check", *flags, "-o", folder / "c.json"),
                "json": evalkit("check", *flags, "--json"),
                "against": evalkit("check", *flags, "--against", base_url, "--markdown", "-o", folder / "c.md"),
            },
            folder,
            flags,
        )


def test_the_terminal_shows_each_probe_what_came_and_why_it_matters(checked):
    done = checked[0]["text"]
    assert done.returncode == 0
    assert all(f"\n{probe.name} " in done.stdout for probe in PROBES)
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("no_messages"))
    assert lines[place].split("  ")[-1].strip() == "accepted without an error"
    assert lines[place + 1].strip().startswith("An empty conversation")
    assert lines[-2].startswith(f"{len(PROBES)} probes: ")
    assert done.stderr.startswith("checking m at http://127.0.0.1")


def test_json_is_one_object_and_the_file_holds_the_same(checked):
    printed = json.loads(checked[0]["json"].stdout)
    stored = json.loads((checked[1] / "c.json").read_text(encoding="utf-8"))
    assert printed.keys() == stored.keys()
    assert [each["name"] for each in printed["probes"]] == [probe.name for probe in PROBES]
    calls = printed["calls"]
    assert all(name in calls for each in printed["probes"] for name in each["calls"])
    assert calls["plain"]["request"]["messages"][0]["role"] == "user"
    assert calls["plain"]["status"] == 200


def test_two_endpoints_stand_side_by_side_in_markdown(checked):
    done = checked[0]["against"]
    assert done.returncode == 0
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == len(PROBES) + 1
    assert all(row.replace("\\|", "").count("|") == 5 for row in rows)
    assert any("<b>red" in row for row in rows)
    assert not any("<b>" in CODE.sub("", row) for row in rows)
    assert (checked[1] / "c.md").read_text(encoding="utf-8") == done.stdout


def test_an_earlier_file_is_replaced_only_if_asked(checked):
    _, folder, flags = checked
    done = evalkit("check", *flags, "-o", folder / "c.json")
    assert (done.returncode, "--overwrite" in done.stderr) == (2, True)
    (folder / "own.json").write_text('{"mine": 1}', encoding="utf-8")
    done = evalkit("check", *flags, "-o", folder / "own.json", "--overwrite")
    assert (done.returncode, "did not write it" in done.stderr) == (2, True)


@pytest.mark.parametrize(("flags", "words"), [
    (["--json", "--markdown"], "omit one"),
    (["--json", "-o", "-"], "omit one"),
    (["--against-model", "b"], "--against"),
    (["--against", "http://user:pass@host/v1"], "user"),
    (["-o", "no/folder/c.json"], "no folder"),
])  # fmt: skip
def test_flags_that_cannot_be_used_are_refused_before_a_request(flags, words):
    done = evalkit("check", "--base-url", "http://127.0.0.1:9/v1", "--model", "m", *flags)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_an_endpoint_that_cannot_be_used_has_exit_code_3():
    done = evalkit("check", "--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--json")
    assert (done.returncode, json.loads(done.stdout)["exit"]) == (3, 3)


def test_the_key_of_the_first_does_not_go_to_the_second(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-first-0123456789")
    with behaving() as (one, first), behaving() as (two, second):
        done = evalkit("check", "--base-url", one, "--model", "m", "--against", two)
    assert done.returncode == 0
    assert "Bearer sk-first-0123456789" in {headers.get("Authorization") for headers, _ in first}
    assert {headers.get("Authorization") for headers, _ in second} == {None, "Bearer sk-evalkit-check-0000000000"}
    assert "\nA: http" not in done.stdout
    assert f"\n0 verdicts of {len(PROBES)} not the same" in done.stdout
