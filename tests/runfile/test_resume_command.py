"""The command that resumes a run: it names what has to be named, and nothing else."""

import shlex

from resuming import SECRET, VARIABLE, answered, evalkit

from evalkit.runfile import resume_command


def test_the_command_that_is_printed_does_it(server, sums, tmp_path):
    out = tmp_path / "my run.evalkit"
    where = ["--base-url", server.base_url, "--api-key-env", VARIABLE]
    stopped = evalkit(
        "run", sums(30, 1), *where, "--model", "scripted", "--out", out, "--concurrency", 1, "--max-tokens-total", 60,
        **{VARIABLE: SECRET},
    )  # fmt: skip
    command = shlex.split(stopped.stderr.partition("Continue with: ")[2])
    assert command == ["evalkit", "resume", str(out), *where]
    before = answered(out)
    assert evalkit(*command[1:], **{VARIABLE: SECRET}).returncode == 0
    assert before < answered(out)


def test_the_command_names_nothing_that_the_environment_names(half, server, monkeypatch):
    path = half(key_env="OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert resume_command.command(path) == f"evalkit resume {path}"
    assert resume_command.command(path.with_name("gone.evalkit")) == f"evalkit resume {path.with_name('gone.evalkit')}"
