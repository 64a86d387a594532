"""A worse prompt fails a build, an unchanged one does not: in a git repository, by a shell script.

    python tests/benchmarks/bench_ci.py [--builds 10]

A temporary repository has a prompt, a dataset of 60 conversations, a baseline and limits. Each build is a fresh clone
in which a shell with a CI job's variables runs ``evalkit run`` and ``evalkit compare``. The endpoint answers at random:
right in 90 % with the prompt of the baseline, in 60 % with a worse one. Goals: every build of the unchanged prompt
passes, every build of the worse one fails, and both JUnit files are read by junitparser and valid by the schema.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import junitparser
import report
from lxml import etree

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from ci_repository import BAD, CiRepository, Teacher
from junit_schema import SCHEMA

from evalkit.scripted.server import Script, serve


def dataset(folder: Path, conversations: int) -> Path:
    """Conversations of two sums."""
    path = folder / "sums.jsonl"
    rows = [
        {
            "id": f"c{n}",
            "turns": [{"user": f"What is {n} + {k}?", "target": n + k, "scorer": "number"} for k in (1, 2)],
        }
        for n in range(conversations)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def builds(repository: CiRepository, prompt: str, count: int) -> list[object]:
    """Build a prompt so many times: how often it passed, how often the JUnit file agrees, and seconds a build."""
    passed = agree = 0
    began = time.monotonic()
    for number in range(1, count + 1):
        report.say(f"{prompt} prompt, build {number}")
        clone, done = repository.build(f"{prompt}-{number}")
        if done.returncode not in (0, 1):
            raise SystemExit(done.stderr)
        passed += done.returncode == 0
        SCHEMA.assertValid(etree.parse(clone / "out.xml"))
        (suite,) = junitparser.JUnitXml.fromfile(str(clone / "out.xml"))
        agree += (suite.failures > 0) == (done.returncode == 1) and suite.errors == 0
    return [prompt, count, passed, count - passed, agree, f"{(time.monotonic() - began) / count:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--builds", type=int, default=10, help="of each prompt")
    count = parser.parse_args().builds
    print(f"{report.machine()}\n")
    with tempfile.TemporaryDirectory() as name, serve(Script(answer=Teacher())) as server:
        repository = CiRepository(Path(name) / "ci", dataset(Path(name), 60), server.base_url)
        rows = [builds(repository, "unchanged", count)]
        repository.change_prompt(BAD)
        rows.append(builds(repository, "worse", count))
    print(report.table(["prompt", "builds", "passed", "failed", "JUnit agrees", "s a build"], rows))
    print(f"\ngoals: {report.met(rows[0][2] == count and rows[1][3] == count and rows[0][4] == rows[1][4] == count)}")


if __name__ == "__main__":
    main()
