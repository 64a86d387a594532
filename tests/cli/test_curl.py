"""``evalkit curl`` prints code and nothing else; ``evalkit ask --curl`` sends a pasted command."""

import argparse
import io
import json
import subprocess
import sys

import pytest
from commands import evalkit, evalkit_process
from recording_server import recording
from runfiles import S, T, endpoint, write

from evalkit.cli.ask import add_ask

BODY = '{"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true, "top_k": 3}'


@pytest.fixture
def path(tmp_path):
    return endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1, text="שלום 🙂"), T("a", 2)])]))


def test_the_key_and_the_address_can_be_named(path):
    printed = evalkit("curl", path, "a", "2", "--base-url", "http://127.0.0.1:1", "--api-key-env", "MY_KEY")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert printed.stdout.startswith("curl -N 'http://127.0.0.1:1/v1/chat/completions' \\\n")
    assert '-H "Authorization: Bearer $MY_KEY"' in printed.stdout
    program = evalkit("curl", path, "a", "2", "--python").stdout
    compile(program, "program", "exec")
    assert "שלום 🙂" in program


def test_the_key_of_an_address_is_not_named_for_another(path, monkeypatch):
    endpoint(path, key_env="ANY")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert "$OPENAI_API_KEY" in evalkit("curl", path, "a", "1").stdout
    elsewhere = evalkit("curl", path, "a", "1", "--base-url", "http://127.0.0.1:8").stdout
    assert "OPENAI" not in elsewhere
    assert "$API_KEY" in elsewhere


def test_json_has_the_body_and_the_code(path):
    result = json.loads(evalkit("curl", path, "a", "1", "--json").stdout)
    assert json.loads(result["body"])["messages"] == [{"role": "user", "content": "a, question 1"}]
    assert result["body"] in result["curl"]
    assert "python" in json.loads(evalkit("curl", path, "a", "1", "--python", "--json").stdout)


def test_the_bytes_are_utf8_whatever_the_locale(path):
    printed = evalkit_process("curl", path, "a", "2", env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert "שלום 🙂" in printed.stdout, printed.stderr


@pytest.mark.parametrize("arguments", [("a", "x"), ("a",), ("a", "1", "--repeat", "0"), ("b", "1")])
def test_wrong_usage(path, arguments):
    result = evalkit("curl", path, *arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_ask_sends_a_pasted_command(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "k-of-the-test")
    with recording() as server:
        command = f"curl {server.base_url}/chat/completions -H \"Authorization: Bearer $MY_KEY\" -d '{BODY}'"
        file = tmp_path / "command.sh"
        file.write_text(command, encoding="utf-8")
        from_file = evalkit("ask", "--curl", file, "--json")
        monkeypatch.setattr(sys, "stdin", io.StringIO(command))
        from_input = evalkit("ask", "--curl", "-")
        one, two = server.received
    assert json.loads(one.body) == json.loads(two.body) == json.loads(BODY)
    assert one.headers["Authorization"] == "Bearer k-of-the-test"
    assert json.loads(from_file.stdout)["turns"][0]["answer"] == "It is 35."
    assert json.loads(from_file.stdout)["turns"][0]["user"] == "hi"
    assert from_input.stdout.startswith("It is 35.")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "there is nothing to send"),
        (("--curl", "x", "hi"), "--curl and messages exclude each other"),
        (("--curl", "x", "--model", "m"), "--curl and --model exclude each other"),
        (("--curl", "/nowhere/x"), "cannot be read"),
        (("--curl", "/nowhere/x", "--wait-ready", "1", "--json"), "cannot be read"),
    ],
)
def test_ask_with_nothing_or_too_much(arguments, words):
    result = evalkit("ask", *arguments)
    assert result.returncode == 2
    assert words in result.stderr


def flags_of_ask():
    """Every flag of ``evalkit ask`` with a value, also its default."""
    commands = argparse.ArgumentParser().add_subparsers()
    add_ask(commands)
    values = {"--header": "A=b", "--header-env": "A=B", "--param": "a=1", "--temperature": "1"}
    for action in commands.choices["ask"]._actions:
        flag = next(iter(action.option_strings), None)
        if flag not in (None, "-h", "--curl", "--json", "--wait-ready"):
            default = [] if action.default in (None, [], False) else [str(action.default)]
            value = [] if action.nargs == 0 else default or [values.get(flag, "1")]
            yield (flag, *value)


@pytest.mark.parametrize("flag", list(flags_of_ask()), ids=str)
def test_no_flag_beside_a_pasted_command_is_ignored(flag):
    result = evalkit("ask", "--curl", "x", *flag)
    assert (result.returncode, result.stderr) == (
        2, f"error: --curl and {flag[0]} exclude each other: change the cURL command instead\n",
    )  # fmt: skip


def test_what_a_pasted_command_sends_from_this_machine_is_named_before_it_is_sent(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "hush-hush")
    (tmp_path / "body\x1b.json").write_text(BODY)
    file = tmp_path / "command.sh"
    with recording() as server:
        for shown in ((), ("--json",)):
            file.write_text(
                f"curl {server.base_url}/chat/completions -H \"api-key: $MY_KEY\" -d '@body\x1b.json'", encoding="utf-8"
            )
            result = evalkit("ask", "--curl", file, *shown, cwd=tmp_path)
            host = server.base_url.removeprefix("http://").removesuffix("/v1")
            assert result.stderr == f"sent to {host}: the file 'body\\x1b.json', the variable MY_KEY\n"
            assert "hush" not in result.stdout
        file.write_text(f"curl {server.base_url}/chat/completions -d '{BODY}'", encoding="utf-8")
        assert evalkit("ask", "--curl", file).stderr == ""


def test_a_key_in_a_pasted_command_is_not_shown(tmp_path):
    file = tmp_path / "command.sh"
    file.write_text(f"curl http://127.0.0.1:9/v1/chat/completions -H 'Authorization: Bearer hush-hush' -d '{BODY}'")
    result = evalkit("ask", "--curl", file)
    assert "export API_KEY=" in result.stderr
    assert "hush" not in result.stderr + result.stdout


def test_a_shell_can_run_what_is_printed(path, tmp_path):
    with recording() as server:
        printed = evalkit("curl", path, "a", "2", "--base-url", server.base_url)
        subprocess.run(["sh"], input=printed.stdout, text=True, check=True, capture_output=True, cwd=tmp_path)
        assert server.received[0].body.decode() in printed.stdout
