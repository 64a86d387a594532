"""``evalkit serve`` in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from types import SimpleNamespace

import pytest
from commands import evalkit
from runfiles import S, T, endpoint, talk, write

from evalkit.cli import serve

KEY = "tkKNOWN1KNOWNKEYforTheTestsOnly42"


def test_serve_json_is_one_line_without_the_key_of_a_named_variable():
    command = [sys.executable, "-m", "evalkit.cli", "serve", "--json", "--key", "MY_KEY"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "MY_KEY": KEY}) as child:
        told = json.loads(child.stdout.readline())
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=30)
    assert (child.returncode, rest) == (130, "")
    assert told["base_url"].startswith("http://127.0.0.1:")
    assert (told["key_env"], told["api_key"]) == ("MY_KEY", None)


def test_a_recording_is_served_until_interrupted_and_its_key_is_the_variables(tmp_path):
    run = write(tmp_path / "r.evalkit", [S([T("sums", 1, text="It is 35.")])], [talk("sums", (35,))])
    endpoint(run)
    command = [sys.executable, "-m", "evalkit.cli", "serve", "--from", run, "--key", "MY_KEY", "--timings", "none"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "MY_KEY": KEY}) as child:
        about, guide, openai = (child.stdout.readline() for _ in range(3))
        address = openai.split("OPENAI_BASE_URL=")[1].split()[0]
        body = {"model": "tiny", "messages": [{"role": "user", "content": "sums, question 1"}]}
        headers = {"Authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(f"{address}/chat/completions", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)
    assert child.returncode == 130
    assert "1 recorded request of" in about
    assert 'TASKINGAI_API_KEY="$MY_KEY" ASSISTANT_ID=tiny' in guide
    assert KEY not in about + guide + openai
    assert answer["choices"][0]["message"]["content"] == "It is 35."


def test_no_name_of_a_stranger_begins_a_line_for_the_shell(capsys):
    server = SimpleNamespace(model="tiny\ntouch owned; x\u2028\x1b[2J", base_url="http://127.0.0.1:9/v1", key_env="X")
    serve._print_exports(server, "k", "1 recorded request of a\ntouch owned\r.jsonl, ")
    about, *_ = capsys.readouterr().out.split("export")
    assert len(about.splitlines()) == 1
    assert about.startswith("# tiny touch owned; ")
    assert "\x1b" not in about


@pytest.mark.parametrize("kind", ["run", "recording"])
def test_what_serve_prints_of_a_strangers_file_runs_nothing_in_a_shell(tmp_path, kind):
    model = f"tiny\ntouch {tmp_path}/owned"
    if kind == "run":
        file = endpoint(write(tmp_path / "r.evalkit", [S([T("sums", 1)])]), model=model)
    else:
        (file := tmp_path / "r.jsonl").write_text(json.dumps({"evalkit_recording": 1, "model": model}) + "\n")
    done = evalkit("serve", "--from", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "not the name of a model" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--from", "none.jsonl"], "the recording none.jsonl cannot be read"),
        (["--from", "."], "cannot be read"),
        (["--timings", "none"], "--timings belongs to --from"),
        (["--overwrite"], "--overwrite belongs to --record"),
        (["--from", "a", "--record", "b"], "not allowed with"),
        (["--from", "data.txt"], "neither a recording nor a run file"),
    ],
)
def test_wrong_usage_is_refused_in_words(tmp_path, arguments, why):
    (tmp_path / "data.txt").write_text("text")
    done = evalkit("serve", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
