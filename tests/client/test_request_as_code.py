"""Requests as commands and programs: run by a real shell and a real Python, they ask what they show and do no more."""

import json
import os
import socket
import subprocess
import sys
import threading

from evalkit.client.request_as_code import ReachedBy, curl, python
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


def test_a_body_longer_than_an_argument_may_be_is_read_from_the_input(tmp_path):
    long = {"messages": [{"role": "user", "content": "It's END\nEND\n$(touch hacked) " + "x" * 200_000}]}
    shell = f"curl() {{ cat > body; }}\n{curl('http://a/v1', long)}\n"
    subprocess.run(["bash", "-s"], input=shell, text=True, check=True, cwd=tmp_path, timeout=60)
    assert json.loads((tmp_path / "body").read_text(encoding="utf-8")) == long
    assert not (tmp_path / "hacked").exists()


def test_headers_and_certificates_are_named_by_their_variables(tmp_path):
    reached_by = ReachedBy(
        {"X-Team": "it's $HOME `id`"},
        {"api-key": "MY_KEY", "X-`touch owned`$(id)": "MY_OTHER"},
        {"client_cert_env": "CERT", "client_key_env": "KEY", "ca_env": "CA"},
    )
    command = curl("https://a", body(), reached_by=reached_by)
    words = words_of(command, tmp_path, MY_KEY="s3 cr$t", MY_OTHER="other", CERT="/c a.pem", KEY="/k.pem", CA="/ca.pem")
    headers = [words[at + 1] for at, word in enumerate(words) if word == "-H"]
    assert headers[1:] == ["X-Team: it's $HOME `id`", "api-key: s3 cr$t", "X-`touch owned`$(id): other"]
    files = {flag: words[words.index(flag) + 1] for flag in ("--cert", "--key", "--cacert")}
    assert files == {"--cert": "/c a.pem", "--key": "/k.pem", "--cacert": "/ca.pem"}


def test_a_report_gives_variables_names_of_its_own():
    stored = {"headers": {"X-Team": "a"}, "headers_env": {"openai-api-key": "OPENAI_API_KEY"}, "ca_env": "AWS_SECRET"}
    reached_by = ReachedBy.for_report(stored)
    text = " ".join([*reached_by.curl_lines(), *reached_by.flags()])
    assert "HEADER_OPENAI_API_KEY" in text
    assert "$OPENAI_API_KEY" not in text
    assert "AWS_SECRET" not in text


def test_the_program_sends_the_headers_the_query_and_no_made_up_key():
    """The official client itself, against a server that notes what it receives."""
    seen = []

    def serve_once(listener):
        connection, _ = listener.accept()
        with connection:
            received = connection.recv(65536)
            seen.append(received.decode())
            text = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "35"}}]}).encode()
            head = (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            )
            connection.sendall(head % len(text) + text)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve_once, args=(listener,), daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/openai/deployments/g?api-version=2024-10-21"
        program = python(address, body("x"), reached_by=ReachedBy({"X-Team": "a"}, {"api-key": "A_KEY"}))
        environment = {**os.environ, "A_KEY": "k-of-the-test"}
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert result.stdout == "35\n", result.stderr
    assert seen[0].startswith("POST /openai/deployments/g/chat/completions?api-version=2024-10-21 HTTP/1.1")
    lines = [line.lower() for line in seen[0].split("\r\n")]
    assert "x-team: a" in lines
    assert "api-key: k-of-the-test" in lines
    assert not [line for line in lines if line.startswith("authorization")]
