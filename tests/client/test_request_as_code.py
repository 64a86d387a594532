"""Requests as commands and programs: run by a real shell and a real Python, they ask what they show and do no more."""

import json
import os
import subprocess
import sys

from evalkit.client.request_as_code import curl, python
from evalkit.scripted.server import Script, serve

HOSTILE = 'it\'s `id` $(touch owned) $HOME \\ "q" \n!! \u202e </script> \x1b[31m \x7f שלום 🙂 %s'


def body(text=HOSTILE, **more):
    return {"model": "m", "messages": [{"role": "user", "content": text}], "stream": False, **more}


def words_of(command, tmp_path, **environment):
    """What a shell makes of a command: its words, and which files it left behind."""
    script = 'curl() { for word in "$@"; do printf "%s\\0" "$word"; done; }\n' + command
    result = subprocess.run(["sh", "-c", script], capture_output=True, cwd=tmp_path, env={**os.environ, **environment})
    assert result.returncode == 0, result.stderr
    assert not list(tmp_path.iterdir())
    return result.stdout.decode().split("\0")[:-1]


def test_a_shell_takes_the_command_as_it_is_shown(tmp_path):
    words = words_of(
        curl("https://a/v1/chat/completions?x='$(id)'", body(), key_env="MY_KEY"), tmp_path, MY_KEY="k e$y"
    )
    assert words[0] == "https://a/v1/chat/completions?x='$(id)'"
    assert words[1:5] == ["-H", "Content-Type: application/json", "-H", "Authorization: Bearer k e$y"]
    assert json.loads(words[6]) == body()


def test_a_key_variable_that_no_shell_can_name_runs_nothing(tmp_path):
    words = words_of(curl("http://a", body("x"), key_env='x"; touch owned; "'), tmp_path)
    assert words[4] == "Authorization: Bearer "


def test_a_stream_is_asked_for_without_a_buffer():
    assert curl("http://a", body(stream=True)).startswith("curl -N ")
    assert not curl("http://a", body()).startswith("curl -N ")


def test_neither_shows_what_cannot_be_seen():
    for text in (curl("http://a\u202e\x9b\n", body()), python("http://a\u202e", body())):
        assert all(character.isprintable() or character == "\n" for character in text)
        assert "שלום 🙂" in text


def test_the_program_asks_what_it_shows():
    asked, got = body(stream=True, temperature=0, top_k=3), []
    with serve(Script(answer=lambda body: got.append(body) or "It is 35.", key="sk-of-the-test")) as server:
        program = python(server.base_url, asked, key_env="A_KEY")
        environment = {**os.environ, "A_KEY": "sk-of-the-test"}
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert "sk-of-the-test" not in program
    assert result.stdout == "It is 35.", result.stderr
    assert got == [asked]


def test_without_a_key_the_program_needs_no_variable():
    compile(python("http://a'", body()), "program", "exec")
    assert "os.environ" not in python("http://a", body())
