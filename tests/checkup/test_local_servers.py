"""Servers that are found on the ports of this machine; what they answer is untrusted."""

import socket
import time

import pytest
from behaving import behaving, reply

from evalkit.checkup.local_servers import PORTS, find_servers


def port_of(base_url):
    return int(base_url.rsplit(":", 1)[1].removesuffix("/v1"))


def found_with(answer):
    with behaving(get=lambda path: answer) as (base_url, _):
        return find_servers([(port_of(base_url), "a server", "/v1")]), base_url


def listing(*names):
    return reply({"object": "list", "data": [{"id": name} for name in names]})


def test_a_server_and_its_models_are_found():
    (server,), base_url = found_with(listing("qwen2.5:0.5b", "a/b"))
    assert server.to_json() == {
        "base_url": base_url, "usual": "a server", "models": ["qwen2.5:0.5b", "a/b"], "needs_key": False,
    }  # fmt: skip


def test_a_server_that_wants_a_key_is_named_without_models():
    (server,), _ = found_with(reply({"error": {"message": "no key"}}, 401))
    assert (server.needs_key, server.models) == (True, ())


@pytest.mark.parametrize("answer", [
    reply({"detail": "Not Found"}, 404), reply(b"<html>hello</html>", kind="text/html"), reply([1]), reply({"data": 7}),
    b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n",
])  # fmt: skip
def test_anything_else_is_not_taken_for_one(answer):
    assert found_with(answer)[0] == []


def test_names_that_could_drive_a_terminal_are_left_out():
    (server,), _ = found_with(listing("good", "\x1b]0;owned\x07", "a\nb", "", " x", "y" * 300, 7, None))
    assert server.models == ("good",)


def test_at_most_fifty_models_are_named():
    (server,), _ = found_with(listing(*map(str, range(500))))
    assert len(server.models) == 50


def test_a_port_that_nobody_listens_on_and_one_that_never_answers_are_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as closed:
        ports = [(each.getsockname()[1], "x", "/v1") for each in (silent, closed)]
        closed.close()
        assert find_servers(ports) == []


def test_a_server_that_redirects_for_ever_ends_with_the_limit():
    def slowly(path):
        time.sleep(0.8)
        return reply(b"", 307, location="/v1/models?again")

    began = time.monotonic()
    with behaving(get=slowly) as (base_url, _):
        assert find_servers([(port_of(base_url), "a server", "/v1")]) == []
        assert time.monotonic() - began < 2.2


def test_ports_are_named_once():
    assert len({port for port, _, _ in PORTS}) == len(PORTS)
