"""A checkup beside a run: the endpoint is really checked, and what was found changes what is sent and what is said."""

import json
import re
import shlex

import pytest
from behaving import behaving, completion, error, reply, usage
from commands import evalkit

import evalkit as ek
from evalkit.cli import check
from evalkit.cli.main import command_parser

FOUND = ["stream_usage", "seed", "stop", "system_message", "max_tokens"]
SEEDED = "the checkup found seed ignored: repeats are not seeded, and the run cannot be repeated"
SYSTEM = "the checkup found a system message ignored: the system prompt has no effect on the answers"
COUNTS = "the checkup found stream_options.include_usage refused: it is not sent, so the tokens"


def answer(request):
    """Refuses ``stream_options``; ignores seeds, stop sequences and system messages, and counts no system prompt."""
    if "stream_options" in request:
        return error("Unrecognized request argument: stream_options")
    if request.get("stream"):
        return None
    words = sum(len(str(each["content"]).split()) for each in request["messages"] if each["role"] != "system")
    text = f"{id(request)} planets turn around a star that nobody has seen yet, they say"
    return reply(completion({"content": text}, counts=usage(prompt_tokens=words)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a dataset, a checkup and a run given it; what was printed; the requests with and without."""
    folder = tmp_path_factory.mktemp("checkup")
    rows = [{"id": "a", "turns": [{"user": "x"}]}, {"id": "b", "system": "Be brief.", "turns": [{"user": "y"}]}]
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with behaving(answer) as (base_url, requests):
        found = ek.check_endpoint(ek.Endpoint(base_url, "m"), only=FOUND)
        (folder / "c.json").write_text(json.dumps(found.to_json()), encoding="utf-8")
        flags = ["run", folder / "d.jsonl", "--base-url", base_url, "--model", "m", "--seed", 3, "--retries", 0]
        requests.clear()
        done = evalkit(*flags, "--checkup", folder / "c.json", "--out", folder / "r.evalkit")
        with_checkup = [body for _, body in requests]
        requests.clear()
        evalkit(*flags, "--out", folder / "without.evalkit")
        yield folder, done, with_checkup, [body for _, body in requests], [*flags]


def test_what_the_endpoint_refused_is_not_sent_and_no_request_is_lost_to_learn_it(made):
    _, done, with_checkup, without, _ = made
    assert done.returncode == 0, done.stderr
    assert len(with_checkup) == 2
    assert not any("stream_options" in body for body in with_checkup)
    assert len(without) > 2
    assert "stream_options" in without[0]


def test_what_touches_the_run_is_a_warning_before_the_first_request(made):
    _, done, *_ = made
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: the checkup")]
    assert [line.partition(": ")[2][: len(COUNTS)] for line in warnings] == [
        SYSTEM[: len(COUNTS)],
        COUNTS,
        SEEDED[: len(COUNTS)],
    ]
    assert "stop" not in "".join(warnings)


def test_every_view_of_the_run_says_it_and_that_the_checkup_is_kept(made, tmp_path):
    folder, done, *_ = made
    shown = evalkit("show", folder / "r.evalkit").stdout
    for name in ("r.html", "r.md"):
        assert evalkit("report", folder / "r.evalkit", "-o", tmp_path / name).returncode == 0
    texts = [done.stdout, shown, *(path.read_text(encoding="utf-8") for path in sorted(tmp_path.iterdir()))]
    for text in texts:
        for sentence in (SEEDED, SYSTEM, COUNTS):
            assert text.count(sentence[1:]) == 1
        assert "probes: " in text
    command = shlex.split(re.search(r"'(evalkit check --of .*)' prints it", shown)[1])
    assert evalkit(*command[1:]).stdout.startswith("m at http://127.0.0.1")


def test_json_has_the_verdicts_that_touch_the_run(made):
    result = json.loads(evalkit("show", made[0] / "r.evalkit", "--json").stdout)["checkup"]
    assert set(result) == {"checked_at", "evalkit", "counts", "concerns"}
    assert all(each["name"] == each["probe"] for each in result["concerns"])
    assert [(each["probe"], each["verdict"]) for each in result["concerns"]] == [
        ("system_message", "ignored"), ("stream_usage", "unsupported"), ("seed", "ignored"),
    ]  # fmt: skip
    assert "stream_options" in result["concerns"][1]["came"]
    assert json.loads(evalkit("show", made[0] / "without.evalkit", "--json").stdout)["checkup"] is None


def test_the_kept_checkup_is_printed_again_as_it_was(made, tmp_path):
    folder = made[0]
    was = json.loads((folder / "c.json").read_text(encoding="utf-8"))
    kept = json.loads(evalkit("check", "--of", folder / "r.evalkit", "--json").stdout)
    assert kept["calls"] == {}
    assert was["calls"]
    for each in was["probes"]:
        each["calls"] = []
    assert kept == {**was, "calls": {}, "source": "--base-url"}
    out = tmp_path / "c.md"
    done = evalkit("check", "--of", folder / "r.evalkit", "--markdown", "-o", out)
    assert done.stdout == out.read_text(encoding="utf-8")
    assert all(name in done.stdout for name in FOUND)


def test_a_copied_request_is_the_one_that_was_sent(made, tmp_path):
    folder, _, sent, *_ = made
    program = evalkit("curl", folder / "r.evalkit", "a", 1).stdout
    assert json.loads(shlex.split(program)[-1]) == next(
        body for body in sent if body["seed"] == 3 and len(body["messages"]) == 1
    )


def test_a_resumed_run_keeps_its_checkup(made, tmp_path):
    folder, *_ = made
    rows = [{"id": name, "turns": [{"user": name}]} for name in "abcd"]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    failing = [True]

    def later(request):
        return error(status=500) if failing[0] and request["messages"][0]["content"] != "a" else answer(request)

    with behaving(later) as (base_url, requests):
        found = json.loads((folder / "c.json").read_text(encoding="utf-8"))
        (tmp_path / "c.json").write_text(json.dumps({**found, "base_url": base_url}), encoding="utf-8")
        flags = ["--base-url", base_url, "--model", "m", "--retries", 0, "--concurrency", 1]
        run = tmp_path / "r.evalkit"
        evalkit("run", tmp_path / "d.jsonl", *flags, "--checkup", tmp_path / "c.json", "--out", run)
        failing.clear()
        failing.append(False)
        requests.clear()
        assert evalkit("resume", run, "--base-url", base_url).returncode == 0
        assert len(requests) == 3
        assert not any("stream_options" in body for _, body in requests)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "other"], "is of 'm' at 'http://127.0.0.1:"),
        (["--checkup", "none.json"], "cannot be read"),
        (["--checkup", "d.jsonl"], "is not a checkup"),
    ],
)
def test_a_checkup_of_something_else_ends_before_a_request(made, tmp_path, flags, message):
    folder, *_, command = made
    out = tmp_path / "no.evalkit"
    checkup = [] if "--checkup" in flags else ["--checkup", folder / "c.json"]
    flags = [folder / flag if "." in flag else flag for flag in flags]
    done = evalkit(*command, *checkup, *flags, "--out", out)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--base-url", "http://127.0.0.1:9"], ["--base-url", ""], ["--model", "m"], ["--against", "http://x"],
        ["--against-model", "m"], ["--against-api-key-env", "K"], ["--api-key-env", "K"], ["--header", "a=b"],
        ["--header-env", "a=B"], ["--client-cert-env", "C"], ["--client-key-env", "C"], ["--ca-env", "C"],
        ["--wait-ready", "0"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_kept_checkup_names_its_own_endpoint(made, flags):
    done = evalkit("check", "--of", made[0] / "r.evalkit", *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"and sends nothing: leave out {flags[0]}\n")


def test_every_flag_of_check_is_either_of_an_endpoint_or_of_the_output(made):
    parsed = vars(command_parser().parse_command_line(["check"]))
    set_by_itself = {"command", "timeout", "ttft_timeout", "no_stream", "param", "temperature", "max_tokens"}
    of_output = {"of", "markdown", "out", "overwrite", "json"}
    assert parsed.keys() - set_by_itself - of_output == set(check._OF_ENDPOINTS)


def test_with_several_runs_a_warning_names_the_one_it_is_about(made, tmp_path):
    folder, *_, command = made
    base_url = command[command.index("--base-url") + 1]
    found = json.loads((folder / "c.json").read_text(encoding="utf-8"))
    both = {"checkup": 1, "checks": [found, {**found, "model": "n"}], "differing": []}
    (tmp_path / "both.json").write_text(json.dumps(both), encoding="utf-8")
    (tmp_path / "e.jsonl").write_bytes((folder / "d.jsonl").read_bytes())
    rest = ["--seed", 3, "--checkup", tmp_path / "both.json", "--out", tmp_path]
    at = ["run", folder / "d.jsonl", "--base-url", base_url]

    def seeded(*arguments):
        done = evalkit(*arguments, *rest)
        assert done.returncode == 0, done.stderr
        return [line for line in done.stderr.splitlines() if SEEDED in line]

    assert seeded(*at, "--model", "m", "--model", "n") == [f"warning: m: {SEEDED}", f"warning: n: {SEEDED}"]
    two = ["run", folder / "d.jsonl", tmp_path / "e.jsonl", *at[2:]]
    assert seeded(*two, "--model", "m") == [
        f"warning: m, {folder / 'd.jsonl'}: {SEEDED}", f"warning: m, {tmp_path / 'e.jsonl'}: {SEEDED}",
    ]  # fmt: skip


def test_stream_options_of_the_user_are_sent_also_if_refused_and_the_warning_says_that_they_fail(made, tmp_path):
    folder, *_, command = made
    flags = ["--param", 'stream_options={"include_usage": false}', "--checkup", folder / "c.json"]
    done = evalkit(*command, *flags, "--out", tmp_path / "r.evalkit")
    assert done.returncode == 3
    assert "warning: the checkup found the parameter stream_options refused: requests with it fail\n" in done.stderr
    assert COUNTS not in done.stderr
    (concern,) = [
        each for each in json.loads(evalkit("show", tmp_path / "r.evalkit", "--json").stdout)["checkup"]["concerns"]
        if each["probe"] == "stream_usage"
    ]  # fmt: skip
    assert (concern["name"], concern["verdict"]) == ("stream_options", "unsupported")


def test_addresses_with_the_same_model_are_named_too_and_other_warnings_stand_once(made, tmp_path):
    folder, *_ = made
    found = json.loads((folder / "c.json").read_text(encoding="utf-8"))
    with behaving(answer) as (one, _), behaving(answer) as (two, _):
        both = {"checkup": 1, "checks": [{**found, "base_url": each} for each in (one, two)], "differing": []}
        (tmp_path / "both.json").write_text(json.dumps(both), encoding="utf-8")
        done = evalkit(
            "run", folder / "d.jsonl", "--model", "m", "--base-url", one, "--base-url", two, "--seed", 3,
            "--checkup", tmp_path / "both.json", "--out", tmp_path, "--header", "api-key=k1",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if SEEDED in line]
    assert lines == [f"warning: m at {each}: {SEEDED}" for each in (one, two)]
    assert done.stderr.count("taken for a placeholder") == 1


def test_a_run_without_a_checkup_has_none_to_print(made):
    done = evalkit("check", "--of", made[0] / "without.evalkit")
    assert (done.returncode, "evalkit run --checkup FILE" in done.stderr) == (2, True)
