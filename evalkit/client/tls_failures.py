"""Failures of TLS in words: certificates that are not trusted, and what a server sends when it refuses a handshake."""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path

# X509_V_ERR_* codes of OpenSSL
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNTRUSTED = (2, 18, 19, 20, 21)
_WRONG_NAME = (62, 64)
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_ALERT = re.compile(r"ALERT_([A-Z_]+)")
# alerts of a server that are about the client's certificate: it is the only one that a server checks
_OF_CLIENT_CERTIFICATE = frozenset(
    {
        *("CERTIFICATE_REQUIRED", "NO_CERTIFICATE", "BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "UNKNOWN_CA"),
        *("CERTIFICATE_REVOKED", "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN", "ACCESS_DENIED", "DECRYPT_ERROR"),
    }
)
HOW_TO_GIVE_CERTIFICATE = (
    "Put the paths of the certificate and of its private key, both in PEM, into variables, and name them: "
    "export CLIENT_CERT=… CLIENT_KEY=…, then --client-cert-env CLIENT_CERT --client-key-env CLIENT_KEY."
)
CERTIFICATE_HINT = "if it wants a client certificate, name one with --client-cert-env"  # some servers send no alert
HTTP_2_ONLY = (
    "evalkit uses HTTP/1.1. Allow HTTP/1.1 in the server's settings, or put a reverse proxy that accepts it in between."
)


def certificate_failure(error: ssl.SSLCertVerificationError, peer: str, setting: str, ca_env: str | None) -> str:
    """The message for a certificate that this machine does not accept.

    Parameters
    ----------
    peer : str
        Whose certificate it is.
    setting : str
        What names the peer, for advice.
    ca_env : str or None
        The variable that names the file of the authorities.
    """
    whose, says = f"The certificate of {peer}", error.verify_message.rstrip(".")
    if error.verify_code == _EXPIRED:
        return f"{whose} has expired: its operator must renew it. Check this machine's clock too."
    if error.verify_code == _NOT_YET_VALID:
        return f"{whose} is not valid yet: check this machine's clock."
    if error.verify_code in _WRONG_NAME:
        return f"{whose} is for another name: use that name in {setting}. ({says})"
    if error.verify_code in _UNTRUSTED and ca_env is not None:
        return (
            f"{whose} is not signed by an authority in the file of {ca_env} ({says}): "
            "put the certificate of its authority there, in PEM."
        )
    if error.verify_code in _UNTRUSTED:
        return (
            f"{whose} is not signed by an authority that this machine trusts ({says}): "
            f"if the authority is your own, set SSL_CERT_FILE to its PEM file{_certificate_file_note()}."
        )
    return f"{whose} cannot be trusted ({says})."


def handshake_failure(error: Exception, peer: str, setting: str, client_cert_env: str | None) -> tuple[str, str | None]:
    """The message for a handshake that failed otherwise, and a code if trying again changes nothing."""
    reason = getattr(error, "reason", None) or ""
    if reason in _NO_TLS:
        return f"There is no TLS on {peer}: use http:// in {setting}, or a port with TLS.", "wrong_protocol"
    if (refused := client_certificate_failure(reason, peer, client_cert_env)) is not None:
        return refused, "certificate"
    if (
        "no application protocol" in f"{reason.replace('_', ' ')} {error}".lower()
    ):  # not every version has a name for it
        return (
            f"The server at {peer} refuses HTTP/1.1 and most likely speaks HTTP/2 only. {HTTP_2_ONLY}",
            "wrong_protocol",
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        failed = f"The TLS handshake with {peer} failed ({reason.replace('_', ' ').lower() or error})"
        if reason.endswith("ALERT_HANDSHAKE_FAILURE") and client_cert_env is None:
            return (
                f"{failed}: the server wants a client certificate, or has no cipher in common with this machine. "
                f"For a client certificate: {_lower(HOW_TO_GIVE_CERTIFICATE)}"
            ), "certificate"
        return f"{failed}.", None
    closed = f"The connection to {peer} was closed during the TLS handshake"
    or_certificate = "" if client_cert_env else f"; {CERTIFICATE_HINT}"
    return f"{closed}: if it speaks plain HTTP, use http:// in {setting}{or_certificate}.", None


def client_certificate_failure(text: str, peer: str, client_cert_env: str | None) -> str | None:
    """The message for a server's alert about the client's certificate; None: the text holds no such alert.

    Parameters
    ----------
    text : str
        OpenSSL's name for the error, or a text that contains it.
    peer : str
    client_cert_env : str or None
        The variable that names the client certificate's file.
    """
    alert = _ALERT.search(text)
    if alert is None or alert.group(1) not in _OF_CLIENT_CERTIFICATE:
        return None
    words = alert.group(1).replace("_", " ").lower()
    if client_cert_env is None:
        return f"The server at {peer} wants a client certificate ({words}). {HOW_TO_GIVE_CERTIFICATE}"
    return (
        f"The server at {peer} refused the client certificate ({words}): check that the certificate in the file of "
        f"{client_cert_env} is valid now, and signed by an authority that the server accepts."
    )


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _certificate_file_note() -> str:
    """A note if ``SSL_CERT_FILE`` names a missing file, which OpenSSL ignores silently."""
    path = os.environ.get("SSL_CERT_FILE")
    return f" (it is {path}, and there is no such file)" if path and not Path(path).is_file() else ""
