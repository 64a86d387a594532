"""Scorers that are the user's own functions: what they may give, how they are named, and who may name them."""

import functools
import hashlib
import json
import sqlite3
import sys

import numpy as np
import pytest

import evalkit as ek
from evalkit.conversation import ScorerSpec, ToolCall, Turn
from evalkit.errors import DatasetError, RunFileError, SettingsError
from evalkit.record import Answer
from evalkit.runfile import store
from evalkit.scorers import own_functions, registry, scoring
from evalkit.scorers.scoring import Verdict
from evalkit.scripted.server import Arithmetic, Fault, Script, serve
from evalkit.settings import Settings


def score(function, text="some text", target="x"):
    return scoring.score(Turn("?", target, ScorerSpec(own_functions.adopt(function, "own:function"))), Answer(text))


ODD = "which is neither true, false nor a number from 0 to 1"

GIVEN = [
    (True, 1, None, None),
    (False, 0, None, None),
    (0.25, 0.25, None, None),
    (1, 1, None, None),
    (np.float32(0.5), 0.5, None, None),
    (np.bool_(True), 1, None, None),
    (None, None, "the function returned None: it could not judge", None),
    (7, None, f"the function returned 7, {ODD}", None),
    (-0.1, None, f"the function returned -0.1, {ODD}", None),
    (float("nan"), None, f"the function returned nan, {ODD}", None),
    ("yes", None, f"the function returned 'yes', {ODD}", None),
    ([1], None, f"the function returned [1], {ODD}", None),
    (Verdict(0, "too rude", {"words": 3}), 0, "too rude", {"words": 3}),
    (Verdict(None, "no idea"), None, "no idea", None),
    (Verdict(None), None, "the function returned None: it could not judge", None),
    (Verdict(2, "great"), None, f"the function returned 2, {ODD}", None),
    (Verdict(1, extracted={1: {2}}), 1, None, {"1": "{2}"}),
    (Verdict(1, extracted=np.arange(2)), 1, None, [0, 1]),
    (Verdict(1, extracted=float("nan")), 1, None, "nan"),
    (Verdict(1, extracted={"at": [float("inf")]}), 1, None, "{'at': [inf]}"),
    (Verdict(1, extracted=np.array([float("nan")])), 1, None, "array([nan])"),
    (Verdict(1, 5), 1, "5", None),
]


@pytest.mark.parametrize(("given", "value", "reason", "extracted"), GIVEN)
def test_what_a_function_may_give(given, value, reason, extracted):
    said = score(lambda text, target: given)
    assert (said.value, said.reason, said.extracted) == (value, reason, extracted)
    json.dumps(said.extracted, allow_nan=False)


def test_what_a_function_keeps_is_short():
    assert len(score(lambda text, target: Verdict(1, extracted="x" * 100_000)).extracted) == 200


def test_a_function_that_breaks_ends_no_run():
    assert score(lambda text, target: 1 / 0).reason == "the scorer failed: ZeroDivisionError: division by zero"


def test_a_function_gets_the_text_or_the_whole_answer():
    def by_text(text, target):
        return text == "some text" and target == "x"

    def by_answer(said: Answer, target):
        return said.tool_calls[0].name == target

    def by_name(answer: "str", target):
        return isinstance(answer, str)

    assert score(by_text).value == 1
    assert score(by_name).value == 1
    name = own_functions.adopt(by_answer)
    answer = Answer(tool_calls=(ToolCall("x", "{}"),))
    assert scoring.score(Turn("?", "x", ScorerSpec(name)), answer).value == 1


def test_a_refusal_stands_for_the_text_and_scratch_does_not_count():
    name = own_functions.adopt(lambda text, target: text == target, "own:same")
    for answer in (Answer(refusal="no"), Answer(text="<think>yes</think>no")):
        assert scoring.score(Turn("?", "no", ScorerSpec(name)), answer).value == 1


def test_a_second_parameter_with_a_default_scores_turns_without_a_target_too():
    def polite(text, target=None):
        return target is None

    assert scoring.score(Turn("?"), Answer("x"), default=ScorerSpec(own_functions.adopt(polite))).value == 1
    strict = own_functions.adopt(lambda text, target: True, "own:strict")
    assert scoring.score(Turn("?"), Answer("x"), default=ScorerSpec(strict)) is None
    with pytest.raises(DatasetError, match=r"the target is missing: the scorer own:strict needs one"):
        scoring.turn_checker()(Turn("?", None, ScorerSpec(strict)))


class Judge:
    def __call__(self, text, target):
        return True

    def method(self, text, target):
        return True


async def slow(text, target):
    return True


def test_what_a_function_is_called():
    here = __name__
    assert own_functions.adopt(score) == f"{here}:score"
    assert own_functions.adopt(Judge()) == f"{here}:Judge"
    assert own_functions.adopt(Judge().method) == f"{here}:Judge.method"
    assert own_functions.adopt(functools.partial(score, Judge())) == f"{here}:score"
    local = own_functions.adopt(lambda text, target: True)
    assert local == f"{here}:test_what_a_function_is_called.<locals>.<lambda>"
    assert ek.ScorerSpec(local) == Settings(scorer=local).default_scorer
    assert not any(":" in name for name in scoring.names())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda text: True, "cannot be called with two arguments, the answer's text and the target"),
        (lambda text, target, more: True, "cannot be called with two arguments"),
        (lambda *, text, target: True, "cannot be called with two arguments"),
        (slow, "is an async function: define it with a plain def"),
    ],
)
def test_what_cannot_be_a_scorer(function, message):
    with pytest.raises(SettingsError, match=message):
        own_functions.adopt(function)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module into the working folder, and forget it afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)

    def write(source, name="own_scorers"):
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        return name

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


SAYS_HELLO = "def hello(text, target=None):\n    return 'hello' in text\n"


def test_a_function_is_imported_from_the_working_folder(module):
    module(SAYS_HELLO)
    name = own_functions.load("own_scorers:hello")
    assert scoring.score(Turn("?"), Answer("hello"), default=ScorerSpec(name)).value == 1


def test_the_version_is_the_beginning_of_a_hash_of_the_source(module):
    module(SAYS_HELLO)
    module(SAYS_HELLO.replace("hello' in", "hallo' in"), "own_other")
    module("import own_scorers\nhello = own_scorers.hello\n", "own_third")
    names = [own_functions.load(f"{name}:hello") for name in ("own_scorers", "own_other", "own_third")]
    one, other, third = (scoring.version_of(ScorerSpec(name)) for name in names)
    assert one == hashlib.sha256(SAYS_HELLO.encode()).hexdigest()[:12]
    assert one != other
    assert one == third
    assert (
        scoring.version_of(ScorerSpec(own_functions.adopt(eval("lambda text, target: True"), "own:typed"))) == "unknown"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_nowhere:f", "--scorer own_nowhere:f: the module own_nowhere does not exist"),
        ("own_nowhere.deep:f", "--scorer own_nowhere.deep:f: the module own_nowhere.deep does not exist"),
        ("own_scorers:helo", "--scorer own_scorers:helo: own_scorers has no 'helo'; did you mean 'hello'?"),
        ("own_scorers:NUMBER", "--scorer own_scorers:NUMBER: it is not a function but int"),
        ("own_needy:f", "--scorer own_needy:f: the module own_needy needs 'own_missing', which is not installed"),
        ("own_broken:f", "--scorer own_broken:f: importing own_broken failed: ZeroDivisionError: division by zero"),
    ],
)
def test_what_cannot_be_imported_is_told(module, name, message):
    module(SAYS_HELLO + "NUMBER = 5\n")
    module("import own_missing\n", "own_needy")
    module("1 / 0\n", "own_broken")
    with pytest.raises(SettingsError) as caught:
        own_functions.load(name)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["own_scorers:", ":hello", "./own_scorers.py:hello", "own_scorers:hello:x", "..own:f"])
def test_a_name_of_another_form_is_told(name):
    with pytest.raises(SettingsError) as caught:
        own_functions.load(name)
    assert str(caught.value) == (
        f"--scorer {name}: write it as module:function, such as my_scorers:polite for polite in my_scorers.py"
    )


def test_the_working_folder_does_not_stand_before_installed_packages(module, tmp_path):
    module(SAYS_HELLO)
    own_functions.load("own_scorers:hello")
    assert sys.path[-1] == str(tmp_path)
    assert sys.path[0] != str(tmp_path)


def test_a_setting_holds_names_and_no_functions():
    def fine(text, target):
        return True

    name = own_functions.adopt(fine)
    spec = ScorerSpec.several([ScorerSpec("number", {}, 2.0), ScorerSpec("length", {"max": 3})])
    assert own_functions.setting_of(None) is None
    assert own_functions.setting_of("number") == "number"
    assert own_functions.setting_of(fine) == name
    assert own_functions.setting_of(spec) == [{"name": "number", "weight": 2.0}, {"name": "length", "max": 3}]
    assert own_functions.setting_of(["number", {"name": fine, "weight": 3}, fine]) == [
        "number",
        {"name": name, "weight": 3},
        name,
    ]


def test_two_functions_of_one_name_are_refused():
    def make(word):
        return lambda text, target: word in text

    with pytest.raises(SettingsError, match=r"two different functions are both called .*make.<locals>.<lambda>"):
        own_functions.setting_of([make("a"), {"name": make("b"), "weight": 2}])
    same = make("a")
    assert len(own_functions.setting_of([same, {"name": same, "weight": 2}])) == 2


def test_a_rule_for_an_argument_cannot_use_one():
    name = own_functions.adopt(lambda text, target: True, "own:rule")
    target = {"name": "f", "arguments": {"x": {"$scorer": name, "target": 1}}}
    with pytest.raises(DatasetError, match=r"is not the name of a scorer"):
        scoring.turn_checker("tool_call")(Turn("?", target))


# -- whole runs


def scores_of(path):
    connection = store.open_to_read(path)
    try:
        return connection.execute("SELECT scorer, value, parts FROM score ORDER BY conversation, turn").fetchall()
    finally:
        connection.close()


def test_a_run_scored_by_functions_is_gone_on_with_only_when_they_are_given_again(sums, tmp_path):
    def ends_well(text, target=None):
        return text.endswith(".")

    out = tmp_path / "r.evalkit"
    mixed = ["number", {"name": ends_well, "weight": 3}]
    with serve(Script(answer=Arithmetic(), faults=[Fault("server_error", numbers={2})])) as server:
        endpoint = ek.Endpoint(server.base_url, "scripted")
        ek.evaluate(sums(2, 1), endpoint, out=out, scorer=mixed, concurrency=1, retries=0)
        del registry._SCORERS[own_functions.adopt(ends_well)]  # as in another process
        with pytest.raises(SettingsError, match=r"is a Python function, and datasets and run files cannot run code"):
            ek.resume(out)
        run = ek.resume(out, scorer=mixed)
        with pytest.raises(RunFileError, match=r'was started with the scorer \[.*\], but "number" is given'):
            ek.resume(out, scorer="number")
    assert run.summary_json()["answered"] == 2
    (first, *_), other = scores_of(out)
    assert first == f"number+{own_functions.adopt(ends_well)}"
    assert [part["weight"] for part in json.loads(other[2])] == [1.0, 3.0]
    assert other[1] == pytest.approx(sum(part["weight"] * part["value"] for part in json.loads(other[2])) / 4)


def test_turns_without_a_target_are_scored_and_their_failures_counted(tmp_path):
    data, out = tmp_path / "d.jsonl", tmp_path / "r.evalkit"
    data.write_text("".join(json.dumps({"turns": [{"user": f"What is {n} + 1?"}]}) + "\n" for n in range(3)))
    with serve(Script(answer=Arithmetic(), faults=[Fault("server_error", numbers={2})])) as server:
        endpoint = ek.Endpoint(server.base_url, "scripted")
        run = ek.evaluate(
            data, endpoint, out=out, scorer={"name": "length", "max": 100}, concurrency=1, retries=0
        )  # fmt: skip
    summary = run.summary_json()
    assert (summary["accuracy"]["n"], summary["accuracy"]["value"]) == (2, 1.0)
    assert (summary["accuracy_all"]["n"], summary["accuracy_all"]["value"]) == (3, pytest.approx(2 / 3))


def test_a_run_file_that_names_code_makes_none_run(sums, tmp_path, module):
    module("from pathlib import Path\nPath('ran').touch()\n\ndef f(text, target):\n    return True\n")
    out = tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic())) as server:
        ek.evaluate(sums(1, 1), ek.Endpoint(server.base_url, "scripted"), out=out)
        with sqlite3.connect(out) as connection:
            connection.execute("UPDATE run SET settings = json_set(settings, '$.scorer', 'own_scorers:f')")
        connection.close()
        with pytest.raises(SettingsError, match=r"the scorer 'own_scorers:f' is a Python function"):
            ek.resume(out)
    assert not (tmp_path / "ran").exists()
