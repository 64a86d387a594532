"""Tab completion, as a shell does it."""

import shutil
import subprocess

import pytest
from commands import evalkit, evalkit_process

from evalkit.cli import completion
from evalkit.cli.main import command_parser

COMPLETE = (
    'source "$1"; shift; COMP_WORDS=(evalkit "$@"); COMP_CWORD=$#; _shtab_evalkit; printf "%s\\n" "${COMPREPLY[@]}"'
)


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "evalkit.bash"
    path.write_text(evalkit("completion", "bash").stdout, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sh"], {"show"}),
        (["com"], {"compare", "completion"}),
        (["run", "--his"], {"--history"}),
        (["run", "d.jsonl", "--history", ""], {"own", "golden"}),
        (["export", "--format", "p"], {"parquet"}),
        (["show", "--js"], {"--json"}),
        (["show", "r"], {"r.evalkit"}),
        (["show", "run"], {"runs"}),
        (["load", "d.jsonl", "--out", "r"], {"runs"}),
        (["report", "r.evalkit", "-o", "rep"], {"report.html"}),
    ],
)
def test_bash_completes_commands_flags_choices_and_files(script, tmp_path, words, expected):
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    for name in ("r.evalkit", "report.html", "d.jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "runs").mkdir()
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", script, *words], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert expected <= set(done.stdout.split())
    assert all(word.startswith(words[-1]) for word in done.stdout.split())


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_script_has_every_command(shell):
    done = evalkit("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert [name for name in command_parser().commands if name not in done.stdout] == []


def test_another_shell_is_refused():
    done = evalkit("completion", "ksh")
    assert done.returncode == 2
    assert "invalid choice: 'ksh'" in done.stderr


def test_no_other_command_loads_what_makes_the_scripts():
    done = evalkit_process("--version", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert "evalkit.cli.main" in done.stderr
    assert "shtab" not in done.stderr
