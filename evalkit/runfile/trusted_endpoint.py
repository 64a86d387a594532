"""Which endpoint a run may be resumed against.

A run file may come from a stranger, so nothing is sent to an address only because a file names it. The user must name
the address as well, by a flag, in the environment or in Python, and the variable of the key too, and headers and
certificates if the run has any: a header can make a gateway pass a request on to another host. Two cases are exempt: an
endpoint on this machine that needs neither, and an embedded server that this process runs.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.client.origin import Origin
from evalkit.endpoint import CERTIFICATES, ENVIRONMENT, REACHED_BY, Endpoint, embedded_key_variables
from evalkit.errors import RunFileError, SettingsError
from evalkit.inputs.addresses import normalise_base_url
from evalkit.runfile import reader


def stored_endpoint(path: Path | str, settings: Mapping[str, Any]) -> Endpoint:
    """The endpoint stored in a run file.

    Raises
    ------
    RunFileError
        Its settings are not valid, or the run was imported from another tool.
    """
    if settings.get("source") == "imported":
        raise RunFileError(f"{path} was imported from another tool: it has no endpoint to send anything to")
    try:
        return Endpoint.from_json(settings)
    except (TypeError, SettingsError) as error:
        raise RunFileError(f"{path} names an endpoint that cannot be used: {error}") from None


def trusted(
    path: Path | str,
    stored: Endpoint,
    *,
    base_url: str | None = None,
    key_env: str | None = None,
    reached_by: Mapping[str, Any] | None = None,
    command: Sequence[str] | None = None,
) -> Endpoint:
    """The endpoint of a run file, if the user names its address and key variable too.

    Parameters
    ----------
    path : path-like
        The run file.
    stored : Endpoint
        The endpoint stored in it.
    base_url, key_env : str, optional
        Given by flags; None: the environment is read.
    reached_by : mapping, optional
        Headers and the variables of certificates, as ``Endpoint`` accepts them, given by flags.
    command : sequence of str, optional
        The words of the command that needs the endpoint, for messages; None: ``evalkit resume``.

    Raises
    ------
    RunFileError
        Only the file names the address, the variable, a header or a certificate, or the user names another address or
        other headers.
    SettingsError
        The variable named is not set.
    """
    if key_env is not None and not os.environ.get(key_env):
        raise SettingsError(f"{key_env} is named as the variable of the API key, but it is not set")
    if base_url is not None and normalise_base_url(base_url) != stored.base_url:
        raise RunFileError(
            f"{path} was run against {stored.base_url}, not {normalise_base_url(base_url)}: "
            "start a new run for another endpoint"
        )
    if stored.source == "embedded" and stored.base_url in embedded_key_variables:  # of this process
        return replace(stored, key_env=embedded_key_variables[stored.base_url])
    given, names_any = dict(reached_by or {}), any(getattr(stored, name) for name in REACHED_BY)
    if names_any and not given:
        raise _unnamed(path, stored, command)
    check_headers(path, stored, given.get("headers", {}), given.get("headers_env", {}))
    certificates: dict[str, Any] = {name: given.get(name) for name in CERTIFICATES}
    stored = replace(stored, headers_env=given.get("headers_env", {}), **certificates)
    own = key_variable_of(stored.base_url)
    if base_url is None and own is None:
        if key_env is None and not names_any and _is_this_machine(stored.base_url) and not _is_set(stored.key_env):
            return replace(stored, key_env=None)
        raise _unnamed(path, stored, command)
    if key_env is None and stored.key_env is None and stored.headers_env:  # a header holds the key
        return stored
    named = key_env or own or _usual_key_variable()  # the usual one is used with any --base-url, as in a new run
    if key_env is None and _is_set(stored.key_env) and stored.key_env != named and not _is_set(own):
        raise _unnamed(path, stored, command)
    return replace(stored, key_env=named if key_env or own or stored.key_env == named else None)


@contextlib.contextmanager
def opened(
    path: Path | str,
    *,
    base_url: str | None = None,
    key_env: str | None = None,
    reached_by: Mapping[str, Any] | None = None,
    command: Sequence[str] | None = None,
) -> Iterator[Endpoint]:
    """The endpoint of a run: the embedded one, started again, or the one in the file if the user names it too.

    Raises
    ------
    RunFileError
        Only the file names it; see ``trusted``.
    """
    from evalkit.endpoint import local_endpoint

    with reader.reading(path) as connection:
        stored = connection.info["endpoint"]
    if stored["source"] != "embedded":
        yield trusted(
            path,
            stored_endpoint(path, stored),
            base_url=base_url,
            key_env=key_env,
            reached_by=reached_by,
            command=command,
        )
        return
    if base_url or key_env or reached_by:
        raise RunFileError(
            f"{path} was run against the embedded model: leave out --base-url and --api-key-env, and headers and "
            "certificates too"
        )
    limits = {name: stored[name] for name in ("params", "timeout_s", "ttft_timeout_s", "connect_timeout_s")}
    with local_endpoint(**limits) as endpoint:
        yield endpoint


def same_endpoint(path: Path | str, stored: Endpoint, given: Endpoint | None) -> Endpoint:
    """The endpoint with which a run continues: the one given, after a check that it is the run's; else the stored one.

    Raises
    ------
    RunFileError
        Another one is given, or none and the stored one is not trusted.
    """
    if given is None:
        return trusted(path, stored)
    if given.model != stored.model:
        raise RunFileError(
            f"{path} was started with the model {stored.model!r}, but {given.model!r} is given: "
            "one run has one model. Start a new run for the other"
        )
    if given.base_url != stored.base_url and not given.source == stored.source == "embedded":
        raise RunFileError(
            f"{path} was started at {stored.base_url}, but {given.base_url} is given: start a new run for the other"
        )
    check_headers(path, stored, given.headers, given.headers_env)
    if given.params != stored.params:
        raise RunFileError(
            f"{path} was started with the parameters {stored.params}, but {given.params} are given: "
            "one run has one set of parameters. Start a new run for the others"
        )
    return given


def check_headers(
    path: Path | str, stored: Endpoint, headers: Mapping[str, str], headers_env: Mapping[str, str]
) -> None:
    """Check that the headers given are those of a run; the variables of secret ones may be others.

    Raises
    ------
    RunFileError
        They are not.
    """
    own, given = _comparable(stored.headers, stored.headers_env), _comparable(headers, headers_env)
    if own != given:
        name = next(name for name in (*own, *given) if own.get(name) != given.get(name))
        missing = "and it is not given" if name not in given else "and another is given" if name in own else ""
        was = (
            f"was started with the header {name}, {missing}"
            if name in own
            else f"was started without the header {name}"
        )
        again = shlex.join(_header_flags(stored.headers, stored.headers_env))
        advice = f"resume with {again}" if again else "resume without it"
        raise RunFileError(f"{path} {was}: one run has one set of headers. Start a new run for others, or {advice}")


def _comparable(headers: Mapping[str, str], headers_env: Mapping[str, str]) -> dict[str, str | None]:
    plain: dict[str, str | None] = {name.lower(): value for name, value in headers.items()}
    return plain | dict.fromkeys(map(str.lower, headers_env))


def _header_flags(headers: Mapping[str, str], headers_env: Mapping[str, str]) -> list[str]:
    plain = [f"--header={name}={value}" for name, value in headers.items()]
    return plain + [f"--header-env={name}={variable}" for name, variable in headers_env.items()]


def naming_flags(stored: Endpoint) -> list[str]:
    """The flags that name an endpoint's address, headers and certificates, and its key variable, if that is set."""
    key = ["--api-key-env", stored.key_env] if stored.key_env and _is_set(stored.key_env) else []
    headers = _header_flags(stored.headers, stored.headers_env)
    files = [f"--{name.replace('_', '-')}={value}" for name in CERTIFICATES if (value := getattr(stored, name))]
    return ["--base-url", stored.base_url, *key, *headers, *files]


def _unnamed(path: Path | str, stored: Endpoint, command: Sequence[str] | None) -> RunFileError:
    key = f" with the key in {stored.key_env}" if _is_set(stored.key_env) else ""
    what = "the address and the variable"
    if any(getattr(stored, name) for name in REACHED_BY):
        what = "address, variables and headers"
    in_python = "; in Python: endpoint=" if command is None else ""
    words = shlex.join([*(command or ("evalkit", "resume", str(path))), *naming_flags(stored)])
    return RunFileError(
        f"{path} was run against {stored.base_url}{key}, and nothing is sent to an address that only a file names. "
        f"If you trust it, name {what}: {words}{in_python}"
    )


def key_variable_of(base_url: str) -> str | None:
    """The key variable that the environment pairs with the origin of an address; None: it does not name the origin."""
    for host, _, key in ENVIRONMENT:
        with contextlib.suppress(SettingsError, ValueError):
            if os.environ.get(host) and Origin.of(normalise_base_url(os.environ[host])) == Origin.of(base_url):
                return key
    return None


def _usual_key_variable() -> str:
    return ENVIRONMENT[-1][2]


def _is_set(name: str | None) -> bool:
    return bool(name and os.environ.get(name))


def _is_this_machine(base_url: str) -> bool:
    """Whether an address is this machine, without a name lookup."""
    try:
        host = Origin.of(base_url).host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
