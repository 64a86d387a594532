"""What the project promises besides its code: one list of dependencies, documents that name what exists."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from evalkit.cli.main import command_parser

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCUMENTS = sorted(
    path for path in ROOT.rglob("*.md") if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)


def commands() -> set[str]:
    actions = command_parser()._subparsers._group_actions
    return set(actions[0].choices)


def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def packages(*extras: str) -> set[str]:
    """The names of all packages that an installation with these extras asks for."""
    found, listed = set(), list(PROJECT["dependencies"])
    for extra in extras:
        listed += PROJECT["optional-dependencies"][extra]
    for requirement in listed:
        if own := re.fullmatch(r"chat-evalkit\[([\w,]+)\]", requirement):
            found |= packages(*own[1].split(","))
        else:
            found.add(re.match(r"[\w.\-]+", requirement)[0].lower())
    return found


def test_environment_yml_points_at_pyproject_and_names_nothing_else():
    assert environment() == {
        "name": "evalkit",
        "channels": ["conda-forge"],
        "dependencies": [f"python{PROJECT['requires-python']}", "pip", {"pip": ["-e .[all]"]}],
    }


PROMISED = {"anywidget", "ipykernel", "ipywidgets", "jupyterlab", "matplotlib", "nbval", "openai", "pandas"}


def test_the_notebooks_extra_brings_what_the_notebooks_need():
    assert packages("notebooks") >= PROMISED
    named = " ".join(PROJECT["optional-dependencies"]["notebooks"])
    assert all(re.search(rf"\b{name}>=", named) for name in ("ipywidgets", "nbval", "jupyterlab", "openai"))


def test_environment_yml_installs_what_the_notebooks_need():
    (requirement,) = environment()["dependencies"][-1]["pip"]
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", requirement)[1].split(",")
    assert packages(*extras) >= PROMISED | {"xllamacpp"}


def test_the_workflow_runs_the_whole_check_on_both_ends_of_the_supported_pythons():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert job["runs-on"].startswith("ubuntu-")
    versions = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if "Python :: 3." in each]
    assert job["strategy"]["matrix"]["python-version"] == [versions[0], versions[-1]]
    uses = [step["uses"].partition("@")[0] for step in job["steps"] if "uses" in step]
    assert uses == ["actions/checkout", "actions/setup-python"]
    assert job["steps"][-1]["run"] == ".ci/run"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert {"push", "pull_request"} <= set(workflow[True])  # YAML reads the key "on" as true


def test_check_lowest_names_files_that_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    named = re.search(r"^LOWEST_TESTS := (.+)$", makefile, re.MULTILINE)[1].split()
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(("user", "flag"), [("0", "--allow-root"), ("1000", "")])
def test_make_lab_lets_root_in_and_only_root(tmp_path, user, flag):
    recipe = re.search(r"jupyter lab \$(\$\(.+?\)) --", (ROOT / "Makefile").read_text(encoding="utf-8"))[1]
    fake = tmp_path / "id"
    fake.write_text(f"#!/bin/sh\necho {user}\n", encoding="utf-8")
    fake.chmod(0o755)
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = f"echo {recipe}".replace("$$", "$")
    done = subprocess.run(["sh", "-c", script], env=path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == flag


@pytest.mark.parametrize("target", ["notebooks-recorded", "notebooks-record"])
def test_make_runs_no_other_tests_if_no_notebook_has_a_recording(target):
    command = ["make", "--dry-run", "--old-file=.venv/.ready-dev", target, "RECORDED="]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "no notebook has a recording" in done.stdout
    assert "python" not in done.stdout


def test_every_extra_of_the_plan_is_there_and_all_holds_them():
    extras = PROJECT["optional-dependencies"]
    assert set(extras) == {*{"charts", "local", "notebooks", "parquet", "ranking", "scorers", "dask", "dev", "all"}}
    assert extras["all"] == ["chat-evalkit[charts,local,notebooks,parquet,ranking,scorers,dask]"]


def test_the_charts_extra_is_light_enough_for_ci():
    assert packages("charts") - packages() == {"matplotlib"}


def test_every_dependency_has_a_lower_bound_and_no_upper_one():
    named = PROJECT["dependencies"] + [each for extra in PROJECT["optional-dependencies"].values() for each in extra]
    for requirement in named:
        if not requirement.startswith("chat-evalkit["):
            assert re.fullmatch(r"[\w.\-\[\]]+>=[\d.]+(; .+)?", requirement), requirement


def test_every_command_is_in_the_documents():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {name for name in commands() if not re.search(rf"(evalkit|make) {name}\b", text)} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_link_and_target_a_document_shows_exists(document):
    text = document.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"(?ms)^```.*?^```", text))
    shown = set(re.findall(r"(?m)^evalkit ([a-z]+)", blocks)) | set(re.findall(r"`evalkit ([a-z]+)[ `]", text))
    assert shown <= commands()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("http") or (document.parent / link).exists(), link
    targets = set(re.findall(r"(?m)^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    assert set(re.findall(r"(?m)(?:^|`)make ([a-z][\w-]*)", text)) <= targets


def test_files_and_folders_that_contributing_names_exist():
    named = re.findall(r"`((?:evalkit|tests)/[\w./-]*)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(named) > 15
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_folder_is_in_the_description_of_the_house():
    text = (ROOT / "evalkit" / "README.md").read_text(encoding="utf-8")
    folders = {path.parent.relative_to(ROOT / "evalkit") for path in (ROOT / "evalkit").glob("*/**/__init__.py")}
    assert len(folders) > 20
    assert {str(folder) for folder in folders if f"`{folder}/`" not in text} == set()


def test_the_wheel_holds_the_package_its_marker_and_the_demo_data(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("needs git")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", next(tmp_path.glob("chat_evalkit-*.whl"))],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in (
        "evalkit/cli/main.py",
        "evalkit/report/static/transcript_browser.js",
        "evalkit/py.typed",
        "evalkit/primary_math.jsonl",
        "evalkit/jupyterlab/server_extension.py",
        ".data/data/share/jupyter/labextensions/chat-evalkit/package.json",
        ".data/data/share/jupyter/labextensions/chat-evalkit/run_files.js",
        ".data/data/etc/jupyter/jupyter_server_config.d/chat-evalkit.json",
    ):
        assert name in listed
    assert "tests/" not in listed
