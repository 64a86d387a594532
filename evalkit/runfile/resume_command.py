"""Which endpoint a run is resumed against, and the command that does it.

A run file may come from a stranger, so nothing is sent anywhere on its word alone. Its address must be named now: by a
flag, by the environment, or in Python. So must the variable of the key. An endpoint on this machine that needs no key
is an exception, and so is an embedded server that this process itself runs.
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
from evalkit.endpoint import ENVIRONMENT, Endpoint, normalise_base_url, started
from evalkit.errors import InputError, RunFileError, SettingsError
from evalkit.runfile.reader import open_to_read, run_info


def kept_endpoint(path: Path | str, kept: Mapping[str, Any]) -> Endpoint:
    """The endpoint that a run file names.

    Raises
    ------
    RunFileError
        It is none that can be.
    """
    try:
        return Endpoint.from_json(kept)
    except (TypeError, SettingsError) as error:
        raise RunFileError(f"{path} names an endpoint that cannot be used: {error}") from None


def trusted(path: Path | str, kept: Endpoint, *, base_url: str | None = None, key_env: str | None = None) -> Endpoint:
    """The endpoint of a run file, as far as the user names it.

    Parameters
    ----------
    path : path-like
        The run file.
    kept : Endpoint
        What it names.
    base_url, key_env : str, optional
        What flags name; None: the environment does, or nobody.

    Raises
    ------
    RunFileError
        Nobody but the file names the address or the variable, or another address is named.
    SettingsError
        A variable is named that is not set.
    """
    if key_env is not None and not os.environ.get(key_env):
        raise SettingsError(f"{key_env} is named as the variable of the API key, but it is not set")
    if base_url is not None and normalise_base_url(base_url) != kept.base_url:
        raise RunFileError(
            f"{path} was begun at {kept.base_url}, and now {normalise_base_url(base_url)} is named: "
            "start a new run for the other"
        )
    if kept.source == "embedded" and kept.base_url in started:  # by this very process
        return replace(kept, key_env=started[kept.base_url])
    own = _variable_of(kept.base_url)  # of this address
    if base_url is None and own is None:
        if key_env is None and _is_here(kept.base_url) and not _is_set(kept.key_env):
            return replace(kept, key_env=None)
        raise _unnamed(path, kept)
    named = key_env or own or _usual_variable()  # the usual one goes with any address of a flag, as in a new run
    if key_env is None and _is_set(kept.key_env) and kept.key_env != named and not _is_set(own):
        raise _unnamed(path, kept)
    return replace(kept, key_env=named if key_env or own or kept.key_env == named else None)


def command(path: Path | str) -> str:
    """The command that resumes a run, for a POSIX shell: with address and key variable where they must be named."""
    words = ["evalkit", "resume", str(path)]
    with contextlib.suppress(InputError, OSError), contextlib.closing(open_to_read(path)) as connection:
        kept = kept_endpoint(path, run_info(connection)["endpoint"])
        words += _flags(path, kept)
    return shlex.join(words)


def _flags(path: Path | str, kept: Endpoint) -> list[str]:
    if kept.source == "embedded":
        return []
    try:
        trusted(path, kept)
    except InputError:
        return _naming(kept)
    return []


def _naming(kept: Endpoint) -> list[str]:
    key = ["--api-key-env", kept.key_env] if kept.key_env and _is_set(kept.key_env) else []
    return ["--base-url", kept.base_url, *key]


def _unnamed(path: Path | str, kept: Endpoint) -> RunFileError:
    key = f" with the key in {kept.key_env}" if _is_set(kept.key_env) else ""
    again = shlex.join(["evalkit", "resume", str(path), *_naming(kept)])
    return RunFileError(
        f"{path} was run against {kept.base_url}{key}, and nothing is sent there because a file says so. If you know "
        f"both the address and the variable, name them: {again}; in Python: endpoint="
    )


def _variable_of(base_url: str) -> str | None:
    """The variable that the environment pairs with the origin of an address; None: it does not name that origin."""
    for host, _, key in ENVIRONMENT:
        with contextlib.suppress(SettingsError, ValueError):
            if os.environ.get(host) and Origin.of(normalise_base_url(os.environ[host])) == Origin.of(base_url):
                return key
    return None


def _usual_variable() -> str:
    return ENVIRONMENT[-1][2]


def _is_set(name: str | None) -> bool:
    return bool(name and os.environ.get(name))


def _is_here(base_url: str) -> bool:
    """Whether an address is this machine without any name being looked up."""
    try:
        host = Origin.of(base_url).host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
