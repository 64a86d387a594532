"""Headers that users add to every request: plain ones, which are stored, and secret ones by the name of a variable."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping

from evalkit.errors import SettingsError
from evalkit.inputs.secret_names import is_secret, is_secret_name, is_secret_value

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_GIVEN = re.compile(r"\s*([^\s=:]+)\s*(?:=|:\s*)(.*)", re.DOTALL)  # NAME=VALUE, and NAME: VALUE as curl writes it
_OWN = frozenset({"host", "content-length", "content-type", "content-encoding", "accept-encoding", "expect"})
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"}
)
SET_BY_CLIENT = _OWN | _HOP_BY_HOP  # headers that no endpoint may set, in lower case
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_headers(headers: Mapping[str, str], headers_env: Mapping[str, str]) -> None:
    """Check the headers of an endpoint.

    Parameters
    ----------
    headers : mapping
        Name to value.
    headers_env : mapping
        Name to the name of the variable that holds the value.

    Raises
    ------
    SettingsError
        A name or a value is not valid, evalkit sets the header itself, a plain header usually holds a secret, or one
        is named twice. The message shows no value.
    """
    for name in (*headers, *headers_env):
        _check_name(name)
    names = [name.lower() for name in (*headers, *headers_env)]
    if (twice := next((name for name in names if names.count(name) > 1), None)) is not None:
        raise SettingsError(f"the header {twice} is given twice: give it once")
    for name, value in headers.items():
        _check_value(name, value)
        if is_secret_name(name):
            warnings.warn(
                f"the value of the header {name} is short, so it is taken for a placeholder: it is stored and shown. "
                f"For a secret: {_by_variable(name)}",
                stacklevel=4,  # the caller of Endpoint
            )
    for name, variable in headers_env.items():
        if not isinstance(variable, str) or not VARIABLE.fullmatch(variable) or is_secret_value(variable):
            raise SettingsError(
                f"the header {name} needs the NAME of the environment variable that holds its value: "
                f"{_by_variable(name)}"
            )


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingsError(
            "the name of a header has a character that HTTP does not allow there: use letters, digits and hyphens"
        )
    if name.lower() in _OWN:
        raise SettingsError(f"the header {name} cannot be set: evalkit sets it itself")
    if name.lower() in _HOP_BY_HOP:
        raise SettingsError(f"the header {name} cannot be set: it belongs to one connection, not to a request")
    if name.lower() == "proxy-authorization":
        raise SettingsError(
            f"the header {name} cannot be set: put user and password of the proxy into its address, "
            "HTTPS_PROXY=http://user:password@host:port"
        )


def _check_value(name: str, value: str) -> None:
    if isinstance(value, str) and is_secret(name, value.strip()):
        raise SettingsError(
            f"the header {name} seems to hold a secret, and --header is stored and shown: {_by_variable(name)}"
        )
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise SettingsError(
            f"the value of the header {name} is empty, begins or ends with a blank, or has a line break, a control "
            "character or a non-ASCII character: HTTP headers do not allow that"
        )


def _by_variable(name: str) -> str:
    variable = suggested_variable(name)
    return (
        f"export {variable}=…, then --header-env {name}={variable}; in Python: headers_env={{{name!r}: {variable!r}}}"
    )


def suggested_variable(name: str) -> str:
    """The name of a variable for the value of a header: ``X_API_KEY`` for ``x-api-key``."""
    text = re.sub(r"\W+", "_", name, flags=re.ASCII).upper()
    return text if VARIABLE.fullmatch(text) else f"HEADER_{text}"


def parse_headers(flag: str, texts: list[str]) -> dict[str, str]:
    """The headers of ``--header NAME=VALUE``, or the variables of ``--header-env NAME=VARIABLE``.

    Raises
    ------
    SettingsError
        A text has another form, or names a header twice; the message shows no value.
    """
    given: dict[str, str] = {}
    for text in texts:
        match = _GIVEN.fullmatch(text)
        if match is None:
            form = "NAME=VALUE" if flag == "--header" else "NAME=VARIABLE"
            raise SettingsError(
                f"{flag}: a header is not written as {form}, for example {flag} X-Team={_EXAMPLE[flag]}"
            )
        name, value = match.groups()
        if name in given:
            raise SettingsError(f"the header {name} is given twice: give it once")
        given[name] = value
    check_headers(*((given, {}) if flag == "--header" else ({}, given)))
    return given


_EXAMPLE = {"--header": "search", "--header-env": "TEAM_KEY"}
