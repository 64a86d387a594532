"""A repository with a prompt, a dataset, a baseline and limits, in a plain CI shell: a worse prompt fails the build."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import junitparser
import pytest
from junit_schema import SCHEMA
from lxml import etree

import evalkit as ek
from evalkit.scripted.server import Arithmetic, Script, serve

GOOD, BAD = "You are a math teacher. Calculate step by step.", "You are a poet. Never calculate."
GATES = """\
[run]
gates = ["errors<=1%", "complete>=100%"]

[compare]
allow = ["accuracy -5%", "errors +5%"]
"""
BUILD = """\
set -eu
evalkit run sums.jsonl --system @prompt.txt --model "$1" --out runs/new.evalkit --gates gates.toml
evalkit compare runs/base.evalkit runs/new.evalkit --gates gates.toml --junit out.xml --markdown > comment.md
"""


class Teacher:
    """Right in 9 of 10 answers if the prompt asks it to calculate, else in 6; each model has luck of its own."""

    def __call__(self, body):
        question, prompt = body["messages"][-1]["content"], body["messages"][0]["content"]
        share = 0.9 if "Calculate" in prompt else 0.6
        right = random.Random(f"{body['model']} {question}").random() < share
        return Arithmetic(wrong=0.0 if right else 1.0)(body)


@pytest.fixture(scope="module")
def server():
    with serve(Script(answer=Teacher())) as running:
        yield running


@pytest.fixture
def repository(tmp_path, sums, server):
    """A commit with everything that the build needs."""
    (tmp_path / "bin").mkdir()
    package = Path(ek.__file__).parents[1]
    command = tmp_path / "bin" / "evalkit"
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{package}" exec "{sys.executable}" -m evalkit.cli "$@"\n', "utf-8")
    command.chmod(0o755)
    repository = tmp_path / "repository"
    (repository / "runs").mkdir(parents=True)
    sums(60, 2).rename(repository / "sums.jsonl")
    for name, text in (("prompt.txt", GOOD), ("gates.toml", GATES), ("build.sh", BUILD), (".gitignore", "runs/new*")):
        (repository / name).write_text(text, encoding="utf-8")
    base = ek.evaluate(repository / "sums.jsonl", endpoint(server, "base"), system=GOOD,
                       out=repository / "runs" / "base.evalkit")  # fmt: skip
    assert 0.8 < base.summary_json()["accuracy"]["value"] < 1
    commit(repository, "A teacher and what it must keep", first=True)
    return repository


def endpoint(server, model):
    return ek.Endpoint(base_url=server.base_url, model=model)


def commit(repository, message, *, first=False):
    author = ["-c", "user.name=ci", "-c", "user.email=ci@localhost"]
    for command in (["init", "-q"],) * first + (["add", "-A"], [*author, "commit", "-q", "-m", message]):
        subprocess.run(["git", *command], cwd=repository, check=True, capture_output=True)


def build(repository, server, model):
    """The build of a fresh clone, in a shell that has nothing but a path, a home and the address."""
    clone = repository.parent / f"clone-{model}"
    subprocess.run(["git", "clone", "-q", repository, clone], check=True, capture_output=True)
    environment = {
        "PATH": f"{repository.parent / 'bin'}:/usr/bin:/bin",
        "HOME": str(repository.parent),
        "OPENAI_BASE_URL": server.base_url,
    }
    done = subprocess.run(
        ["sh", "build.sh", model], cwd=clone, env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    return clone, done


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_worse_prompt_fails_the_build_and_an_unchanged_one_passes(repository, server):
    clone, done = build(repository, server, "unchanged")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    (suite,) = junitparser.JUnitXml.fromfile(str(clone / "out.xml"))
    assert (suite.tests, suite.failures, suite.errors) == (2, 0, 0)

    (repository / "prompt.txt").write_text(BAD, encoding="utf-8")
    commit(repository, "A poet instead")
    clone, done = build(repository, server, "poet")
    assert done.returncode == 1, done.stderr
    SCHEMA.assertValid(etree.parse(clone / "out.xml"))
    (suite,) = junitparser.JUnitXml.fromfile(str(clone / "out.xml"))
    assert (suite.tests, suite.failures, suite.errors) == (2, 1, 0)
    (failed,) = [case for case in suite if any(isinstance(each, junitparser.Failure) for each in case.result)]
    assert (failed.classname, failed.name) == ("B and A", "accuracy -5%")
    assert failed.result[0].message.startswith("B accuracy: worse: −")
    comment = (clone / "comment.md").read_text(encoding="utf-8")
    assert comment.startswith("### B: worse 1, ")
    assert "| B | `accuracy -5%` |" in comment


def test_an_unchanged_prompt_passes_ten_times_in_ten_though_its_answers_differ(tmp_path, sums, server):
    data = sums(60, 2)
    base, *others = (
        ek.evaluate(data, endpoint(server, f"luck-{n}"), system=GOOD, out=tmp_path / f"{n}.evalkit") for n in range(11)
    )
    for other in others:
        comparison = ek.compare(base, other)
        assert len(comparison.contrasts[0].flips) > 0
        ek.check(comparison, "accuracy -5%", "errors +5%")
