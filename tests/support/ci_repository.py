"""A git repository whose build compares a prompt with a baseline, and its builds in a plain CI shell."""

import os
import random
import subprocess
import sys
from pathlib import Path

import evalkit as ek
from evalkit.scripted.server import Arithmetic

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


class CiRepository:
    """A commit with everything that the build needs: dataset, prompt, baseline, limits and script."""

    def __init__(self, folder: Path, data: Path, base_url: str) -> None:
        self.folder, self.base_url = folder, base_url
        self.path = folder / "repository"
        (self.path / "runs").mkdir(parents=True)
        data.rename(self.path / "sums.jsonl")
        files = {"prompt.txt": GOOD, "gates.toml": GATES, "build.sh": BUILD, ".gitignore": "runs/new*"}
        for name, text in files.items():
            (self.path / name).write_text(text, encoding="utf-8")
        self.base = ek.evaluate(
            self.path / "sums.jsonl",
            ek.Endpoint(base_url, "base"),
            system=GOOD,
            out=self.path / "runs" / "base.evalkit",
        )
        self._git("init", "-q")
        self._commit("A teacher and what it must keep")

    def change_prompt(self, text: str) -> None:
        """Commit another prompt."""
        (self.path / "prompt.txt").write_text(text, encoding="utf-8")
        self._commit("Another prompt")

    def build(self, model: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
        """The build of a fresh clone, in a shell with the variables of a CI job and the environment's command."""
        clone = self.folder / f"clone-{model}"
        subprocess.run(["git", "clone", "-q", self.path, clone], check=True, capture_output=True)
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(Path(ek.__file__).parents[1]),
            "HOME": str(self.folder),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "TERM": "dumb",
            "OPENAI_BASE_URL": self.base_url,
        }
        done = subprocess.run(
            ["sh", "build.sh", model], cwd=clone, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, timeout=100,
        )  # fmt: skip
        return clone, done

    def _commit(self, message: str) -> None:
        self._git("add", "-A")
        self._git("-c", "user.name=ci", "-c", "user.email=ci@localhost", "commit", "-q", "-m", message)

    def _git(self, *arguments: str) -> None:
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
        subprocess.run(["git", *arguments], cwd=self.path, env=environment, check=True, capture_output=True)
