"""Certificates whose paths are in variables; no message shows a path."""

import ssl
import subprocess

import pytest
import trustme

from evalkit.endpoint import Endpoint
from evalkit.errors import SettingsError
from evalkit.process.certificates import tls_context


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The paths of files with and without what they should have."""
    folder = tmp_path_factory.mktemp("secret-place")
    authority = trustme.CA()
    made, other = authority.issue_cert("me@client.example"), authority.issue_cert("other@client.example")
    paths = {name: folder / f"{name}.pem" for name in ("cert", "key", "both", "other", "ca", "empty", "encrypted")}
    made.cert_chain_pems[0].write_to_path(paths["cert"])
    made.private_key_pem.write_to_path(paths["key"])
    made.private_key_and_cert_chain_pem.write_to_path(paths["both"])
    other.private_key_pem.write_to_path(paths["other"])
    authority.cert_pem.write_to_path(paths["ca"])
    paths["empty"].write_text("no certificate\n")
    command = ["openssl", "pkey", "-aes256", "-passout", "pass:abcd", "-in", str(paths["key"])]
    subprocess.run([*command, "-out", str(paths["encrypted"])], check=True, capture_output=True)
    return {**{name: str(path) for name, path in paths.items()}, "missing": str(folder / "missing.pem")}


@pytest.mark.parametrize(("cert", "key"), [("cert", "key"), ("both", None)])
def test_a_certificate_with_its_key_in_one_file_or_two(files, monkeypatch, cert, key):
    monkeypatch.setenv("CERT", files[cert])
    monkeypatch.setenv("KEY", files["key"])
    monkeypatch.setenv("CA", files["ca"])
    context = tls_context(client_cert_env="CERT", client_key_env=key and "KEY", ca_env="CA")
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1  # only those of the file


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"client_cert_env": "missing"}, "the file with a certificate, whose path is in CERT, cannot be used"),
        ({"client_cert_env": "cert"}, "name the file of the key with --client-key-env"),
        ({"client_cert_env": "empty"}, "the file of CERT has no client certificate"),
        ({"client_cert_env": "cert", "client_key_env": "missing"}, "the file with a private key, whose path is in KEY"),
        ({"client_cert_env": "cert", "client_key_env": "other"}, "is not that of the certificate"),
        ({"client_cert_env": "cert", "client_key_env": "encrypted"}, "the file of KEY is encrypted"),
        ({"ca_env": "missing"}, r"the file with certificates, whose path is in CA, cannot be used \(No such file"),
        ({"ca_env": "empty"}, r"cannot be used \(no certificate in PEM is in it\)"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_by_its_variable(files, monkeypatch, given, says):
    variables = {"client_cert_env": "CERT", "client_key_env": "KEY", "ca_env": "CA"}
    for setting, name in given.items():
        monkeypatch.setenv(variables[setting], files[name])
    with pytest.raises(SettingsError, match=says) as caught:
        tls_context(**{setting: variables[setting] for setting in given})
    assert "secret-place" not in str(caught.value)


def test_a_variable_that_is_not_set(monkeypatch):
    monkeypatch.delenv("CERT", raising=False)
    with pytest.raises(SettingsError, match="CERT is named as the variable of a certificate's file, but it is not set"):
        tls_context(client_cert_env="CERT")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"client_cert_env": "/secret-place/cert.pem"}, "export CLIENT_CERT=…, then --client-cert-env CLIENT_CERT"),
        ({"ca_env": "ca.pem"}, "export CA_FILE=…, then --ca-env CA_FILE"),
        ({"client_key_env": "KEY"}, "a private key needs its certificate"),
    ],
)
def test_what_names_no_variable_is_refused_and_not_shown(settings, says):
    with pytest.raises(SettingsError, match=says) as caught:
        Endpoint("https://127.0.0.1:1", "m", **settings)
    assert "secret-place" not in str(caught.value)


def test_certificates_need_tls():
    with pytest.raises(SettingsError, match="only TLS uses certificates"):
        Endpoint("http://127.0.0.1:1", "m", ca_env="CA")
