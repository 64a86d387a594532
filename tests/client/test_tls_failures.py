"""Servers that want a client certificate, over real TLS."""

import asyncio
import socket
import ssl
import threading
from contextlib import contextmanager, suppress

import pytest
import trustme
from loops import pytest_generate_tests  # noqa: F401  (runs each test that takes ``run`` on both loops)
from raw_server import RawServer, answer, answers, ask, completion, send

from evalkit.client.transport import Transport
from evalkit.endpoint import Endpoint
from evalkit.errors import LASTING_CODES

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def certificates(authority, tmp_path, monkeypatch):
    """Variables of certificates: the authority, a client of it, and a client of a stranger."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("me@client.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "me.pem")
    trustme.CA().issue_cert("x@client.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "stranger.pem")
    for name in ("ca", "me", "stranger"):
        monkeypatch.setenv(f"{name.upper()}_PEM", str(tmp_path / f"{name}.pem"))


@contextmanager
def blocking_server(tls):
    """A server with blocking sockets: unlike asyncio's, it sends its alert before it closes."""

    def serve(listener):
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with suppress(OSError), tls.wrap_socket(connection, server_side=True) as secured:
                    secured.recv(65536)
                    secured.sendall(answer("200 OK", completion()))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"


def ask_blocking(run, tls, **endpoint):
    async def go(url):
        async with Transport(Endpoint(url, "m", **endpoint)) as transport:
            return await send(transport, stream=False)

    with blocking_server(tls) as url:
        return run(go(url))


def demanding(authority, version):
    """TLS of a server that wants a client certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_certificate_is_shown(run, authority, certificates, version):
    tls = demanding(authority, version)
    (attempt,), server = ask(run, answers, stream=False, tls=tls, ca_env="CA_PEM", client_cert_env="ME_PEM")
    assert attempt.failure is None
    assert len(server.requests) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_without_one_the_message_says_what_is_wanted_and_how_to_give_it(run, authority, certificates, version):
    failure = ask_blocking(run, demanding(authority, version), ca_env="CA_PEM").failure
    assert failure.kind == "connection"
    assert failure.code in LASTING_CODES
    assert "wants a client certificate" in failure.message
    assert failure.message.endswith("--client-cert-env CLIENT_CERT --client-key-env CLIENT_KEY.")


@pytest.mark.parametrize("version", VERSIONS)
def test_one_of_a_stranger_is_refused(run, authority, certificates, version):
    tls = demanding(authority, version)
    failure = ask_blocking(run, tls, ca_env="CA_PEM", client_cert_env="STRANGER_PEM").failure
    assert failure.kind == "connection"
    assert failure.code in LASTING_CODES
    assert "refused the client certificate (unknown ca): check that the certificate in the file of" in failure.message
    assert "stranger.pem" not in failure.message


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_closes_without_an_alert(run, authority, certificates, version):
    (attempt,), _ = ask(run, answers, tls=demanding(authority, version), ca_env="CA_PEM")
    assert "f it wants a client certificate, name one with --client-cert-env." in attempt.failure.message


@pytest.mark.parametrize(
    ("alert", "says"),
    [
        (116, "wants a client certificate (certificate required)"),
        (42, "wants a client certificate (bad certificate)"),
        (40, "the server wants a client certificate, or has no cipher in common"),
        (120, "most likely speaks HTTP/2 only"),
    ],
)
def test_alerts_of_servers(run, alert, says):
    async def converse(reader, writer):
        await reader.read(65536)
        writer.write(bytes([0x15, 3, 3, 0, 2, 2, alert]))

    async def go():
        async with (
            RawServer(converse=converse) as server,
            Transport(Endpoint(f"https://127.0.0.1:{server.port}", "m")) as transport,
        ):
            return await send(transport)

    failure = run(go()).failure
    assert says in failure.message
    assert failure.code in LASTING_CODES


def test_an_authority_that_is_not_in_the_file(run, certificates, authority, tmp_path, monkeypatch):
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    monkeypatch.setenv("OTHER_PEM", str(tmp_path / "other.pem"))
    tls = demanding(authority, VERSIONS[1])
    (attempt,), _ = ask(run, answers, tls=tls, ca_env="OTHER_PEM")
    assert "is not signed by an authority in the file of OTHER_PEM" in attempt.failure.message
    assert attempt.failure.code == "certificate"
    assert str(tmp_path) not in attempt.failure.message


def test_a_check_before_the_first_request_finds_a_certificate_that_is_none(monkeypatch, tmp_path):
    (tmp_path / "none.pem").write_text("none")
    monkeypatch.setenv("NONE_PEM", str(tmp_path / "none.pem"))
    with pytest.raises(Exception, match="NONE_PEM") as caught:
        Transport.check(Endpoint("https://127.0.0.1:1", "m", client_cert_env="NONE_PEM"))
    assert str(tmp_path) not in str(caught.value)


def test_the_official_client_has_the_same_certificates(authority, certificates):
    async def go():
        async with RawServer(answers, demanding(authority, VERSIONS[1])) as server:
            endpoint = Endpoint(server.url, "m", ca_env="CA_PEM", client_cert_env="ME_PEM")
            async with endpoint.async_openai() as client:
                message = {"role": "user", "content": "x"}
                return await client.chat.completions.create(model="m", messages=[message])

    assert asyncio.run(go()).choices[0].message.content == "35"
