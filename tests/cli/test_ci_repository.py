"""A repository with a prompt, a dataset, a baseline and limits, in a plain CI shell: a worse prompt fails the build.

``tests/benchmarks/bench_ci.py`` builds an unchanged prompt ten times.
"""

import shutil

import junitparser
import pytest
from ci_repository import BAD, CiRepository, Teacher
from junit_schema import SCHEMA
from lxml import etree

from evalkit.scripted.server import Script, serve


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_worse_prompt_fails_the_build_and_an_unchanged_one_passes(tmp_path, sums):
    with serve(Script(answer=Teacher())) as server:
        repository = CiRepository(tmp_path / "ci", sums(60, 2), server.base_url)
        assert 0.8 < repository.base.summary_json()["accuracy"]["value"] < 1
        clone, done = repository.build("unchanged")
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        (suite,) = junitparser.JUnitXml.fromfile(str(clone / "out.xml"))
        assert (suite.tests, suite.failures, suite.errors) == (2, 0, 0)

        repository.change_prompt(BAD)
        clone, done = repository.build("poet")
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
    assert "A and B differ in model (A `base`, B `poet`), system (A " in comment
