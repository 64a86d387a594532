"""The commands and the Python of the documents are run, against a server with known answers."""

import contextlib
import os
import re
import shlex
import shutil
from pathlib import Path
from unittest import mock

import pytest
from commands import evalkit
from importing import CHAT, EVAL, batch_answer, batch_request, lines

import evalkit as ek
from evalkit.cli.main import command_parser
from evalkit.datasets import reader
from evalkit.scripted.server import Arithmetic, Script, serve

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "evalkit" / "docs").glob("*.md"))]
# what is only parsed: commands that measure or serve, blocks with addresses and files of the reader, cells
TOO_LONG = {"load", "calibrate", "serve", "view"}
OF_THE_READER = ("R.openai.azure.com", "https://host", "tasks.jsonl")
OF_A_NOTEBOOK = ("run.label(",)


def blocks(page, language):
    """First line number and text of each block of a page."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(rf"(?ms)^```{language}\n(.*?)^```", text):
        yield text[: found.start()].count("\n") + 1, found[1]


def shell(page):
    """The blocks that have commands, each a list of argument lists."""
    for line, text in blocks(page, ""):
        # an expected exit code, a comment and what a shell does around a command are left out
        commands = [
            shlex.split(each, comments=True)
            for each in re.findall(r"(?m)^(?:eval \"\$\()?evalkit (.+?)(?:\)\".*)?$", text)
        ]
        if commands:
            yield pytest.param(commands, id=f"{page.relative_to(ROOT)}:{line}")


def python(page):
    for line, text in blocks(page, "python"):
        yield pytest.param(text, id=f"{page.relative_to(ROOT)}:{line}")


@pytest.fixture(scope="module")
def endpoint():
    with serve(Script(answer=Arithmetic()), process=True) as server:
        yield ek.Endpoint(server.base_url, "scripted")


@pytest.fixture(scope="module")
def finished(endpoint, tmp_path_factory):
    """Run files of the names that the documents use."""
    folder = tmp_path_factory.mktemp("finished")
    for history, others in (("own", ("math", "base", "a")), ("golden", ("new", "b", "c"))):
        file = folder / f"{history}.evalkit"
        ek.evaluate(ROOT / "data" / "primary_math.jsonl", endpoint, out=file, limit=12, history=history)
        for name in others:
            shutil.copy(file, folder / f"{name}.evalkit")
    return folder


@pytest.fixture
def place(finished, endpoint, tmp_path):
    """A folder as a reader has it, and an environment that names the endpoint."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    shutil.copytree(finished, tmp_path / "runs")
    (tmp_path / "logs").mkdir()
    for name in ("math.eval", "2026-05-01_math.eval"):
        shutil.copy(EVAL, tmp_path / "logs" / name)
    shutil.copy(CHAT, tmp_path / "samples_gsm8k_2026-05-01.jsonl")
    lines(tmp_path / "batch_input.jsonl", batch_request("a", "What is 1 + 1?"))
    lines(tmp_path / "batch_output.jsonl", batch_answer("a", "2"))
    first = next(reader.read(ROOT / "data" / "primary_math.jsonl"))
    lines(tmp_path / "batch_answers.jsonl", batch_answer(f"{first.id}/turn-1", "35"))
    (tmp_path / "prices.toml").write_text('["scripted"]\nprompt = 1\noutput = 2\n', encoding="utf-8")
    names = {"OPENAI_BASE_URL": endpoint.base_url, "OPENAI_MODEL": "scripted", "EVALKIT_PRICES": "prices.toml"}
    with mock.patch.dict(os.environ, names), contextlib.chdir(tmp_path):
        yield tmp_path


@pytest.mark.parametrize("commands", [block for page in PAGES for block in shell(page)])
def test_the_commands_of_a_page_can_be_parsed(commands):
    for arguments in commands:
        command_parser().parse_command_line(arguments)


def runnable(page):
    for block in shell(page):
        (commands,) = block.values
        if not any(word in each for arguments in commands for each in arguments for word in OF_THE_READER):
            yield block


@pytest.mark.parametrize("commands", [block for page in PAGES for block in runnable(page)])
def test_the_commands_of_a_page_run(commands, place, endpoint):
    for arguments in (each for each in commands if each[0] not in TOO_LONG):
        given = [endpoint.base_url if each == "URL" else each for each in arguments]
        if "--out" in given and given[0] in ("run", "import"):  # the page makes a file that others here begin with
            Path(given[given.index("--out") + 1]).unlink(missing_ok=True)
        done = evalkit(*given)
        assert done.returncode in (0, 1), f"{shlex.join(given)}\n{done.stderr}"


@pytest.mark.parametrize("code", [block for page in PAGES for block in python(page)])
def test_the_python_of_a_page_runs(code, place, endpoint, monkeypatch):
    if any(word in code for word in OF_A_NOTEBOOK):
        compile(code, "page", "exec")
        return
    monkeypatch.setattr(ek, "local_endpoint", lambda **_: contextlib.nullcontext(endpoint))
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 12, "b": 32}'}}
    known = {"ek": ek, "message": {"role": "assistant", "tool_calls": [call]}, "judge": endpoint}
    known |= {name: ek.Run(f"runs/{name}.evalkit") for name in "abc"} | {"base": "runs/base.evalkit"}
    with contextlib.redirect_stdout(None):
        exec(compile(code, "page", "exec"), known)
        for test in [value for name, value in known.items() if name.startswith("test_")]:
            test()


def test_the_documents_have_commands_and_python_that_are_run():
    assert sum(1 for page in PAGES for _ in runnable(page)) >= 8
    assert sum(1 for page in PAGES for _ in python(page)) >= 5
