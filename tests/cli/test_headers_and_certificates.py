"""Secret headers and paths of certificates: used by every command, and in no file, output or process list."""

import asyncio
import os
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import trustme
from raw_server import RawServer, answer, completion

TOKEN = "q7Xw2-mT9vLk4RzJb8"
LOGIN = "Basic YW5uYTpzMWxlbnQtcGFzc3dvcmQ="
ENCODED = LOGIN.partition(" ")[2]
PLACE = "place-of-certificates-5581"
HIDDEN = (TOKEN, ENCODED, "s1lent-password", PLACE)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The authority, and the environment that names its certificates."""
    place, authority = tmp_path_factory.mktemp(PLACE), trustme.CA()
    authority.cert_pem.write_to_path(place / "ca.pem")
    made = authority.issue_cert("me@client.example")
    made.cert_chain_pems[0].write_to_path(place / "cert.pem")
    made.private_key_pem.write_to_path(place / "key.pem")
    paths = {"MY_CA": place / "ca.pem", "MY_CERT": place / "cert.pem", "MY_KEY": place / "key.pem"}
    return authority, {name: str(path) for name, path in paths.items()}


async def echoes(request, writer):
    """Repeats the secret headers, in answers and in refusals."""
    sent = f"{request.headers.get('x-gateway-token')} {request.headers.get('authorization')}"
    await asyncio.sleep(0.3)
    if b"refuse" in request.body:
        writer.write(answer("400 Bad Request", f'{{"error": {{"message": "you sent {sent}"}}}}'.encode()))
    else:
        writer.write(answer("200 OK", completion(f"35, and you sent {sent}"), x_request_id=TOKEN))


@pytest.fixture
def server(certificates):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificates[0].issue_cert("127.0.0.1").configure_cert(tls)
    certificates[0].configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    started, loop = threading.Event(), asyncio.new_event_loop()
    raw, end = RawServer(echoes, tls), asyncio.Event()

    async def serve():
        async with raw:
            started.set()
            await end.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(10)
    yield raw
    loop.call_soon_threadsafe(end.set)
    thread.join(10)
    loop.close()


class Commands:
    """Runs commands, and collects what they print and the command lines of all processes meanwhile."""

    def __init__(self, environment, folder):
        self.environment, self.folder, self.seen = environment, folder, []

    def __call__(self, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "evalkit.cli", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment, cwd=self.folder,
        )  # fmt: skip
        while process.poll() is None:
            self.seen += list(command_lines())
            time.sleep(0.05)
        printed = "".join(process.communicate(timeout=60))
        self.seen.append(printed)
        return process.returncode, printed


def command_lines():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().decode("utf-8", "replace")
        except OSError:  # it has ended
            continue


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the process list is read from /proc")
def test_a_secret_or_a_path_is_in_no_file_output_or_process_list(server, certificates, tmp_path):
    variables = {
        **certificates[1],
        "MY_TOKEN": TOKEN,
        "MY_LOGIN": LOGIN,
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
    }
    run = Commands({**os.environ, **variables}, tmp_path)
    reach = [
        *(
            "--base-url",
            f"{server.url}/deployments/g/chat/completions?api-version=2024-10-21",
            "--header",
            "X-Team=search",
        ),
        *("--header-env", "x-gateway-token=MY_TOKEN", "--header-env", "Authorization=MY_LOGIN", "--ca-env", "MY_CA"),
        *("--client-cert-env", "MY_CERT", "--client-key-env", "MY_KEY"),
    ]
    rows = ['{"id": "a", "turns": [{"user": "12 + 23?", "target": 35}]}', '{"id": "b", "turns": [{"user": "refuse"}]}']
    (tmp_path / "d.jsonl").write_text("\n".join(rows))
    asked = ("run", "d.jsonl", "--model", "m", "--no-stream", "--out", "r.evalkit", *reach)
    code, printed = run(*asked)
    assert code == 1, printed  # one turn was refused
    for request in server.requests:
        assert request.line == "POST /deployments/g/chat/completions?api-version=2024-10-21 HTTP/1.1"
        assert (request.headers["x-gateway-token"], request.headers["x-team"]) == (TOKEN, "search")
    code, printed = run("resume", "r.evalkit")
    assert code == 2
    assert "--client-cert-env=MY_CERT" in printed
    assert run("resume", "r.evalkit", *reach)[0] == 1
    assert run("ask", "12 + 23?", "--model", "m", "--no-stream", "--json", *reach)[0] == 0
    assert run("ask", "12 + 23?", "--model", "m", "--no-stream", *reach[:-6])[0] == 3  # without its certificates
    for command in (["show", "r.evalkit", "--json"], ["report", "r.evalkit", "-o", "r.html"]):
        assert run(*command)[0] in (0, 1)
    run("export", "r.evalkit", "--format", "jsonl", "-o", "r.jsonl")
    texts = [*run.seen, *(path.read_bytes().decode("utf-8", "replace") for path in written(tmp_path))]
    for hidden in HIDDEN:
        assert not [text for text in texts if hidden in text]


def written(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--header", f"api-key={TOKEN}"], "export API_KEY=…, then --header-env api-key=API_KEY"),
        (["--header", f"api-key: {TOKEN}"], "export API_KEY=…, then --header-env api-key=API_KEY"),
        (["--header-env", f"api-key={TOKEN}"], "export API_KEY=…, then --header-env api-key=API_KEY"),
        (["--client-cert-env", f"/{PLACE}/cert.pem"], "export CLIENT_CERT=…, then --client-cert-env CLIENT_CERT"),
        (["--client-cert", f"/{PLACE}/cert.pem"], "export CLIENT_CERT=…, then --client-cert-env CLIENT_CERT"),
        (["--header-env", "api-key=NOT_SET_ANYWHERE"], "but it is not set: export NOT_SET_ANYWHERE=…"),
    ],
)
def test_a_secret_or_a_path_on_the_command_line_is_refused_and_not_repeated(flags, says, monkeypatch, capsys):
    from evalkit.cli.main import main

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    code = main(["ask", "x", "--base-url", "https://127.0.0.1:1", "--model", "m", *flags])
    printed = "".join(capsys.readouterr())
    assert code == 2
    assert says in printed, printed
    assert TOKEN not in printed
    assert PLACE not in printed
