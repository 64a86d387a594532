"""Waits before the first request until an endpoint is ready: a server that starts, or loads its model."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from evalkit.client.transport import Transport
from evalkit.endpoint import Endpoint
from evalkit.engine.asking import event_loop
from evalkit.errors import LASTING_CODES, LOADING, EndpointError, Failure, shown_wait
from evalkit.inputs.bounds import LONGEST_S, check_above_0

_ROUTE = "/chat/completions"
_UNAVAILABLE = (502, 503, 504)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 5.0
_PROBE_S = 10.0  # a probe that takes longer counts as not ready


def wait_until_ready(endpoint: Endpoint, seconds: float | None, report: Callable[[str], None] | None = None) -> None:
    """Wait until an endpoint is ready, at most so long; None: do not wait.

    It is asked for its list of models (``GET …/models``), which costs no tokens, and a server at the root of its host
    also for ``/health``. It is not ready while it cannot be reached, answers 502, 503 or 504, or says that it is
    loading its model. Any other answer, also 401 or 404, means that it is ready.

    Parameters
    ----------
    endpoint : Endpoint
    seconds : float or None
    report : callable, optional
        Accepts a line of text for people; default: printed on standard error.

    Raises
    ------
    SettingsError
        The number of seconds cannot be used.
    EndpointError
        It was not ready in time, or never will be, such as with a refused certificate; the message says why.
    """
    check_above_0("wait_ready", seconds, LONGEST_S)
    if seconds is None:
        return
    event_loop.run_in_thread(lambda: _wait(endpoint, seconds, report or _print), "evalkit-wait-ready")


async def _wait(endpoint: Endpoint, seconds: float, report: Callable[[str], None]) -> None:
    began, pause, reported = time.monotonic(), _FIRST_PAUSE_S, ""
    while True:
        left = seconds - (time.monotonic() - began)
        problem = await _problem(endpoint, max(0.1, min(_PROBE_S, left)))
        waited = time.monotonic() - began
        if isinstance(problem, Failure):
            raise EndpointError(f"{endpoint.base_url} cannot become ready (wait_ready). {problem.message}")
        if problem is None:
            if reported:
                report(f"the endpoint is ready after {shown_wait(waited)}")
            return
        if waited >= seconds:
            raise EndpointError(
                f"{endpoint.base_url} was not ready within {shown_wait(seconds)} (wait_ready). {problem} "
                "Check the endpoint's log, or wait longer."
            )
        if problem != reported:
            report(f"waiting up to {shown_wait(seconds)} for {endpoint.base_url}: {problem}")
            reported = problem
        await asyncio.sleep(min(pause, seconds - waited))
        pause = min(1.5 * pause, _LONGEST_PAUSE_S)


async def _problem(endpoint: Endpoint, seconds: float) -> str | Failure | None:
    """Why an endpoint is not ready; a failure: it never will be; None: it is."""
    limited = replace(endpoint, timeout_s=seconds, connect_timeout_s=seconds, ttft_timeout_s=None)
    async with Transport(limited) as transport:
        for url in _addresses(endpoint.url):
            attempt = await transport.get(url)
            status, failure = attempt.http_status, attempt.failure
            if failure is not None and failure.code in LASTING_CODES and failure.kind == "connection":
                return failure
            if status is None:
                return "It has not answered." if failure is None else failure.message
            if failure is not None and failure.pending == LOADING:
                return f"Its model is still loading (HTTP {status})."
            if status in _UNAVAILABLE:
                return f"It is not available yet (HTTP {status})."
    return None


def _addresses(url: str) -> list[str]:
    """The addresses to ask; some servers list their model while they load it, and say so only under ``/health``."""
    path, mark, query = url.partition("?")
    base = path.removesuffix(_ROUTE)
    parts = urlsplit(base)
    addresses = [f"{base}/models{mark}{query}"]
    if parts.path in ("", "/", "/v1"):
        addresses.append(f"{parts.scheme}://{parts.netloc}/health")
    return addresses


def _print(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # standard error may be closed
        print(text, file=sys.stderr, flush=True)
