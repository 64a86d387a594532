"""Who is answered: the browser that knows the path, from this machine, for a run file of the folder."""

import contextlib
import http.client
import json
import os
import socket
import struct
import threading
import time
from urllib.parse import quote, urlencode

import pytest
from runfiles import S, T, talk, write

from evalkit.errors import SettingsError
from evalkit.viewer.server import serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("served")
    folder = where / "runs"
    folder.mkdir()
    for name in ("first", "second"):
        turns = [T(f"c{n}", 1, score=float(n % 2), text=f"{name} {n}") for n in range(5)]
        write(folder / f"{name}.evalkit", [S(turns)], [talk(f"c{n}", (1,)) for n in range(5)])
    outside = write(where / "outside.evalkit", [S([T("secret", 1, text="SECRET")])])
    (folder / "link.evalkit").symlink_to(outside)
    (folder / "notes.txt").write_text("SECRET")
    (folder / "inner").mkdir()
    write(folder / "inner" / "deep.evalkit", [S([T("deep", 1)])])
    (folder / "bad.evalkit").write_text("no run")
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder) as served:
        yield served


def get(server, path, method="GET", **headers):
    """Status, headers and body; the path is below the token unless it begins with a slash."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    path = path if path.startswith("/") else f"/{server.token}/{path}"
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def ask(server, what, **values):
    status, _, body = get(server, f"{what}?{urlencode(values, doseq=True)}")
    return status, json.loads(body)


def test_the_page_and_its_files_may_load_nothing_from_elsewhere(server):
    for name, kind in (("", "text/html"), ("view.js", "text/javascript"), ("view.css", "text/css")):
        status, headers, body = get(server, name)
        assert (status, headers.get_content_type()) == (200, kind)
        assert len(body) > 500
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers
    assert b"<script>" not in get(server, "")[2]
    assert b"<style>" not in get(server, "")[2]


def test_it_listens_on_loopback_only_at_a_path_that_nobody_can_guess(folder, server):
    assert server.server_address[0] == "127.0.0.1"
    assert len(server.token) >= 32
    assert server.address == f"http://127.0.0.1:{server.server_port}/{server.token}/"
    with serving(folder) as other:
        assert other.token != server.token


@pytest.mark.parametrize(
    "path", ["/", "/files", "//files", "/{token}", "/{short}/files", "/{token}x/files", "/x/{token}/files", "/%2e%2e/"]
)
def test_another_path_is_not_there(server, path):
    status, _, body = get(server, path.format(token=server.token, short=server.token[:-1]))
    assert (status, body) == (404, b"")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.evil.example:{port}",
        "",
        "[::1]:{port}",
    ],
)
def test_another_host_is_refused(server, host):
    status, _, body = get(server, "files", Host=host.format(port=server.server_port))
    assert (status, body) == (421, b"")


def test_both_names_of_this_machine_are_accepted(server):
    for name in ("127.0.0.1", "localhost"):
        assert get(server, "files", Host=f"{name}:{server.server_port}")[0] == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:1",
        "http://localhost:{port}",
        "file://",
    ],
)
def test_another_origin_is_refused(server, origin):
    status, _, body = get(server, "files", Origin=origin.format(port=server.server_port))
    assert (status, body) == (403, b"")


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_a_request_that_another_site_started_is_refused(server, site, status):
    assert get(server, "files", Sec_Fetch_Site=site)[0] == status
    own = f"http://127.0.0.1:{server.server_port}"
    assert get(server, "files", Sec_Fetch_Site=site, Origin=own)[0] == status


def exchange(server, *lines, times=1, body=b""):
    """What the server sends until it closes the connection, or for as long as it has more to say."""
    head = "\r\n".join([f"GET /{server.token}/files HTTP/1.1", *lines, "", ""]).encode()
    with socket.create_connection(server.server_address, timeout=1) as raw:
        raw.sendall(head * times + body)
        received = b""
        with contextlib.suppress(TimeoutError):
            while part := raw.recv(65536):
                received += part
        return received


def test_headers_that_say_two_things_are_refused(server):
    own = f"127.0.0.1:{server.server_port}"
    for lines in (
        (f"Host: {own}", "Host: evil.example"),
        (f"Host: {own}", f"Origin: http://{own}", "Origin: http://evil.example"),
        (f"Host: {own}", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"),
    ):
        assert exchange(server, *lines).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("line", ["Content-Length: 500", "Transfer-Encoding: chunked"])
def test_the_body_of_a_request_is_never_the_next_request(server, line):
    own = f"Host: 127.0.0.1:{server.server_port}"
    hidden = f"GET /{server.token}/files HTTP/1.1\r\n{own}\r\n\r\n".encode()
    for lines in ((own, line), (own, line, "Origin: http://evil.example")):
        received = exchange(server, *lines, body=hidden)
        assert received.startswith(b"HTTP/1.1 400 ")
        assert received.count(b"HTTP/1.1 ") == 1
    assert exchange(server, own, times=3).count(b"HTTP/1.1 200 ") == 3


def test_a_browser_that_leaves_while_it_is_answered_is_no_bug(server, capfd):
    request = f"GET /{server.token}/view.js HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode()
    for _ in range(5):
        with socket.create_connection(server.server_address, timeout=20) as raw:
            raw.sendall(request * 50)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
    assert ask(server, "files")[0] == 200
    deadline = time.monotonic() + 10
    while sum("process_request_thread" in thread.name for thread in threading.enumerate()) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
def test_nothing_but_reading_is_possible(server, method):
    assert get(server, "files", method=method)[0] == 501


NOT_THERE = [
    "../outside.evalkit", "..%2foutside.evalkit", "inner/deep.evalkit", "link.evalkit", "notes.txt", "inner", "..", ".",
    "{folder}/first.evalkit", "/etc/passwd", "first.evalkit\0", "first.evalkit/", "./first.evalkit", "nowhere.evalkit",
    "FIRST.evalkit\n", " ",
]  # fmt: skip


@pytest.mark.parametrize("name", NOT_THERE)
@pytest.mark.parametrize("what", ["labels", "turns", "conversation"])
def test_what_is_no_run_file_of_the_folder_is_not_there(server, folder, what, name):
    status, found = ask(server, what, run=name.format(folder=folder), id="secret")
    assert status == 404, found
    assert "SECRET" not in str(found)


@pytest.mark.parametrize("name", NOT_THERE)
def test_nor_has_it_a_line_or_is_another_run(server, folder, name):
    (line,) = ask(server, "lines", run=name.format(folder=folder))[1]
    assert line.keys() == {"name", "error"}
    assert ask(server, "turns", run="first.evalkit", other=name.format(folder=folder))[0] == 404


def test_files_that_lead_out_of_the_folder_are_not_listed(server):
    status, found = ask(server, "files")
    assert status == 200
    assert set(found["files"]) == {"first.evalkit", "second.evalkit", "bad.evalkit"}
    assert found["newest"] == next(name for name in found["files"] if name != "bad.evalkit")


@pytest.mark.parametrize(
    ("what", "values"),
    [
        ("turns", {"run": "first.evalkit", "from": "-1"}),
        ("turns", {"run": "first.evalkit", "from": "1e9"}),
        ("turns", {"run": "first.evalkit", "from": "9" * 30}),
        ("turns", {"run": "first.evalkit", "from": "٣"}),
        ("turns", {"run": "first.evalkit", "sort": "answer; DROP TABLE turn"}),
        ("turns", {"run": "first.evalkit", "status": "x"}),
        ("turns", {"run": "first.evalkit", "search": "x" * 1001}),
        ("turns", {"run": ["first.evalkit", "second.evalkit"]}),
        ("turns", {}),
        ("turns", {"run": ""}),
        ("turns", {"run": "bad.evalkit"}),
        ("labels", {"run": "bad.evalkit"}),
        ("lines", {"run": ["first.evalkit"] * 51}),
        ("lines", {"run": ["first.evalkit"] * 101}),
        ("conversation", {"run": "first.evalkit"}),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(server, what, values):
    status, found = ask(server, what, **values)
    assert status == 400
    assert found.keys() == {"error"}
    assert found["error"]


def test_what_there_is_not_is_said(server):
    assert ask(server, "secrets") == (404, {"error": "there is no 'secrets'"})


def test_many_requests_on_one_connection_and_what_is_no_request_do_not_stop_it(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    for _ in range(50):
        connection.request("GET", f"/{server.token}/files")
        assert connection.getresponse().read()
    connection.close()
    for nonsense in (b"", b"\x16\x03\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"x" * 100_000):
        with socket.create_connection(server.server_address, timeout=20) as raw:
            raw.sendall(nonsense)
    assert ask(server, "files")[0] == 200


def test_connections_that_are_kept_open_end_with_the_server(tmp_path):
    with serving(tmp_path) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)

        def again():
            connection.request("GET", f"/{server.token}/files")
            return connection.getresponse().read()

        assert again()
        assert connection.sock is not None
    with pytest.raises((OSError, http.client.HTTPException)):
        again()
    connection.close()


def test_a_run_that_grows_or_is_deleted_is_read_again(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])])
    with serving(tmp_path) as server:
        assert ask(server, "turns", run="r.evalkit")[1]["total"] == 1
        assert ask(server, "lines", run="r.evalkit")[1][0]["turns"] == 1
        path.unlink()
        write(path, [S([T("a", 1, score=1.0), T("a", 2, score=0.0)])])
        assert ask(server, "turns", run="r.evalkit")[1]["total"] == 2
        assert ask(server, "lines", run="r.evalkit")[1][0]["turns"] == 2
        path.unlink()
        assert ask(server, "turns", run="r.evalkit")[0] == 404
        assert ask(server, "files")[1] == {"folder": str(tmp_path), "files": [], "newest": None}


def test_names_of_any_characters_are_found(tmp_path):
    name = "a b#?&%2f'\"<é>.evalkit"
    write(tmp_path / name, [S([T("x&y=z", 1, score=1.0, text="yes")])])
    with serving(tmp_path) as server:
        assert ask(server, "files")[1]["files"] == [name]
        assert ask(server, "turns", run=name)[1]["total"] == 1
        status, _, body = get(server, f"conversation?run={quote(name)}&id={quote('x&y=z')}")
        assert status == 200
        assert json.loads(body)["turns"]["answer"] == ["yes"]


def test_a_file_whose_name_is_not_utf_8_is_a_line_that_says_so(tmp_path):
    write(tmp_path / "good.evalkit", [S([T("a", 1)])])
    os.rename(tmp_path / "good.evalkit", os.fsencode(tmp_path) + b"/a\xff.evalkit")  # noqa: PTH104
    with serving(tmp_path) as server:
        found = ask(server, "files")[1]
        (name,) = found["files"]
        (line,) = ask(server, "lines", run=name)[1]
    assert found["newest"] is None
    assert line == {
        "name": name,
        "error": "the folder has no run file 'a\ufffd.evalkit': its name is not UTF-8, rename it",
    }


def test_a_link_that_cannot_be_followed_is_a_line_and_hides_no_other_run(tmp_path):
    write(tmp_path / "good.evalkit", [S([T("a", 1)])])
    (tmp_path / "long.evalkit").symlink_to("y" * 300)
    with serving(tmp_path) as server:
        assert ask(server, "files")[1]["files"][-1:] == ["long.evalkit"]
        good, long = ask(server, "lines", run=["good.evalkit", "long.evalkit"])[1]
    assert good["turns"] == 1
    assert "File name too long" in long["error"]


def test_a_folder_or_a_port_that_cannot_be_used_is_refused(tmp_path, server):
    with pytest.raises(SettingsError, match="there is no folder"), serving(tmp_path / "nowhere"):
        pass
    for port in (server.server_port, -1, 70_000):
        with pytest.raises(SettingsError, match=r"port .* cannot be used"), serving(tmp_path, port=port):
            pass
