"""Which endpoint a run may be resumed against.

A run file may come from a stranger, so nothing is sent to an address only because a file names it. The user must name
the address as well, by a flag, in the environment or in Python, and the variable of the key too. Two cases are exempt:
an endpoint on this machine that needs no key, and an embedded server that this process runs.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.client.origin import Origin
from evalkit.endpoint import ENVIRONMENT, Endpoint, embedded_key_variables, normalise_base_url
from evalkit.errors import RunFileError, SettingsError


def stored_endpoint(path: Path | str, settings: Mapping[str, Any]) -> Endpoint:
    """The endpoint stored in a run file.

    Raises
    ------
    RunFileError
        Its settings are not valid.
    """
    try:
        return Endpoint.from_json(settings)
    except (TypeError, SettingsError) as error:
        raise RunFileError(f"{path} names an endpoint that cannot be used: {error}") from None


def trusted(path: Path | str, stored: Endpoint, *, base_url: str | None = None, key_env: str | None = None) -> Endpoint:
    """The endpoint of a run file, if the user names its address and key variable too.

    Parameters
    ----------
    path : path-like
        The run file.
    stored : Endpoint
        The endpoint stored in it.
    base_url, key_env : str, optional
        Given by flags; None: the environment is read.

    Raises
    ------
    RunFileError
        Only the file names the address or the variable, or the user names another address.
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
    own = _key_variable_of(stored.base_url)
    if base_url is None and own is None:
        if key_env is None and _is_this_machine(stored.base_url) and not _is_set(stored.key_env):
            return replace(stored, key_env=None)
        raise _unnamed(path, stored)
    named = key_env or own or _usual_key_variable()  # the usual one is used with any --base-url, as in a new run
    if key_env is None and _is_set(stored.key_env) and stored.key_env != named and not _is_set(own):
        raise _unnamed(path, stored)
    return replace(stored, key_env=named if key_env or own or stored.key_env == named else None)


def naming_flags(stored: Endpoint) -> list[str]:
    """The flags that name an endpoint's address and its key variable, if that is set."""
    key = ["--api-key-env", stored.key_env] if stored.key_env and _is_set(stored.key_env) else []
    return ["--base-url", stored.base_url, *key]


def _unnamed(path: Path | str, stored: Endpoint) -> RunFileError:
    key = f" with the key in {stored.key_env}" if _is_set(stored.key_env) else ""
    command = shlex.join(["evalkit", "resume", str(path), *naming_flags(stored)])
    return RunFileError(
        f"{path} was run against {stored.base_url}{key}, and nothing is sent to an address that only a file names. "
        f"If you trust it, name the address and the variable: {command}; in Python: endpoint="
    )


def _key_variable_of(base_url: str) -> str | None:
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
