"""Client certificates and authorities: files whose paths are in environment variables, and the TLS made with them.

The paths are read when they are used, and are in no message, attribute or file.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import NoReturn

from evalkit.errors import SettingsError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FLAGS = {"client_cert_env": "CLIENT_CERT", "client_key_env": "CLIENT_KEY", "ca_env": "CA_FILE"}


class _KeyIsEncrypted(Exception):
    """OpenSSL asks for the password of a private key."""


def check_certificates(
    base_url: str, *, client_cert_env: str | None, client_key_env: str | None, ca_env: str | None
) -> None:
    """Check the names of the variables that hold the paths of certificates; whether they are set is checked later.

    Raises
    ------
    SettingsError
        A name is that of no variable, there is a key without a certificate, or the address is not https.
    """
    given = {"client_cert_env": client_cert_env, "client_key_env": client_key_env, "ca_env": ca_env}
    for setting, variable in given.items():
        if variable is not None and not (isinstance(variable, str) and _VARIABLE.fullmatch(variable)):
            raise SettingsError(
                f"{setting} must be the NAME of the environment variable that holds the path of the file: "
                f"export {_FLAGS[setting]}=…, then --{setting.replace('_', '-')} {_FLAGS[setting]}"
            )
    if client_key_env and not client_cert_env:
        raise SettingsError("client_key_env is given without client_cert_env: a private key needs its certificate")
    named = next((setting for setting, variable in given.items() if variable), None)
    if named is not None and not base_url.startswith("https://"):
        raise SettingsError(f"{named} is given, but the base URL is not https://: only TLS uses certificates")


def tls_context(
    *, client_cert_env: str | None = None, client_key_env: str | None = None, ca_env: str | None = None
) -> ssl.SSLContext:
    """TLS for HTTP/1.1, with the client certificate and the authorities of the files that the variables name.

    Raises
    ------
    SettingsError
        A variable is not set, or its file cannot be used; the message names the variable, not the path.
    """
    for variable in (client_cert_env, client_key_env, ca_env):
        if variable is not None and not os.environ.get(variable):
            raise SettingsError(f"{variable} is named as the variable of a certificate's file, but it is not set")
    try:
        context = ssl.create_default_context(cafile=os.environ[ca_env] if ca_env else None)
    except OSError as error:
        _refuse(ca_env, "certificates", error)
    context.set_alpn_protocols(["http/1.1"])
    if client_cert_env:
        try:
            context.load_cert_chain(
                os.environ[client_cert_env], os.environ[client_key_env] if client_key_env else None, _ask_no_password
            )
        except _KeyIsEncrypted:
            raise SettingsError(
                f"the private key in the file of {client_key_env or client_cert_env} is encrypted, and evalkit asks "
                "for no password: write it without one to a file that only you can read: "
                "openssl pkey -in ENCRYPTED.pem -out KEY.pem"
            ) from None
        except OSError as error:
            _refuse_client_certificate(client_cert_env, client_key_env, error)
    return context


def _ask_no_password() -> NoReturn:
    raise _KeyIsEncrypted


def _refuse_client_certificate(cert: str, key: str | None, error: OSError) -> NoReturn:
    for variable in (cert, key):
        if variable is not None and not os.access(os.environ[variable], os.R_OK):
            _refuse(variable, "a certificate" if variable == cert else "a private key", error)
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        raise SettingsError(
            f"the private key in the file of {key or cert} is not that of the certificate in the file of {cert}: "
            "name the two files that belong together"
        ) from None
    where = f"the files of {cert} and {key} have" if key else f"the file of {cert} has"
    need = "" if key else ", or name the file of the key with --client-key-env"
    raise SettingsError(
        f"{where} no client certificate with its private key in PEM: check the file{'s' if key else ''}{need}"
    ) from None


def _refuse(variable: str | None, what: str, error: OSError) -> NoReturn:
    if variable is None:  # of this machine's own store
        raise error
    reason = "no certificate in PEM is in it" if isinstance(error, ssl.SSLError) else os.strerror(error.errno or 0)
    raise SettingsError(f"the file with {what}, whose path is in {variable}, cannot be used ({reason})") from None
