"""What an endpoint really does: sends the calls of all probes and collects the verdicts."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from evalkit.checkup.checkup import Checkup, Exchanged, Finding
from evalkit.checkup.probes.all_probes import calls, named
from evalkit.checkup.probes.call import PLAIN, Call
from evalkit.checkup.probes.client import ProbeClient
from evalkit.checkup.probes.probe import Judgement, Probe
from evalkit.checkup.probes.reply import Reply
from evalkit.checkup.probes.verdicts import NOT_JUDGED
from evalkit.client.error_answers import failure_of
from evalkit.client.redaction import redact_text
from evalkit.client.transport import Transport
from evalkit.endpoint import Endpoint
from evalkit.engine.asking import event_loop
from evalkit.errors import EndpointError
from evalkit.inputs.addresses import without_version

CALL_LIMIT_S = 30.0
TOTAL_LIMIT_S = 180.0  # no call is started later
_SLOW_S = 4.0  # of the plainest call; an endpoint that takes longer has longer limits, and one call at a time
_PARALLEL = 2
_PASSING = (408, 409, 424, 425, 429, 498, 499, 500, 502, 503, 504, 529)  # worth a second try
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 5.0
_LIMITS = ("max_tokens", "max_completion_tokens", None)  # how an answer is kept short, whichever is accepted first
_THOUGHTS = 1_024  # tokens added to the limit of a model that thinks before it answers
_REFUSALS = (400, 422)

Watch = Callable[[int, int], None]


def check_endpoint(endpoint: Endpoint, *, only: Collection[str] | None = None, watch: Watch | None = None) -> Checkup:
    """Find out what an endpoint really does, by about fifty short calls.

    Parameters
    ----------
    endpoint : Endpoint
        Its parameters are sent with every call that does not set them itself, without limits of tokens. A call has
        30 s, or ``timeout_s`` if that is less; an endpoint that needs more than 4 s for the plainest call has longer.
    only : collection of str, optional
        Names of probes; the others, and the calls that only they need, are left out.
    watch : callable, optional
        Called after each call with the number of calls done and of all.

    Returns
    -------
    Checkup
        A verdict for each probe. A call that fails is a verdict too, and does not end the check.

    Raises
    ------
    EndpointError
        Not even the plainest request is answered: the endpoint cannot be used.
    SettingsError
        ``only`` names a probe that there is not, or the key, a secret header or a certificate is missing or not valid.

    Examples
    --------
    >>> with evalkit.local_endpoint() as endpoint:  # doctest: +SKIP
    ...     evalkit.check_endpoint(endpoint)
    """
    probes = named(only)
    Transport.check(endpoint)
    return event_loop.run_in_thread(lambda: _check(endpoint, probes, watch or _ignore), "evalkit-check")


def budget() -> tuple[int, int]:
    """How many calls a check makes, and about how many tokens they have, sent and received."""
    planned = calls()
    return len(planned), sum(call.tokens_sent + call.tokens for call in planned)


def _ignore(done: int, total: int) -> None:
    pass


async def _check(endpoint: Endpoint, probes: tuple[Probe, ...], watch: Watch) -> Checkup:
    began, at = time.monotonic(), datetime.now(UTC)
    async with ProbeClient(endpoint, endpoint.timeout_s) as client:
        session = _Session(endpoint, client, calls(probes), watch)
        await session.begin()
        await session.make_all()
    redacted = _redaction(endpoint)
    findings = [_finding(probe, session.replies, redacted) for probe in probes]
    exchanged = {call.name: _exchanged(reply, redacted) for call, reply in session.replies.items()}
    return Checkup(
        endpoint.base_url, endpoint.model, at.isoformat(timespec="seconds"), time.monotonic() - began,
        session.sent, tuple(findings), exchanged, _tokens(session.replies.values()), endpoint.source,
    )  # fmt: skip


def _redaction(endpoint: Endpoint) -> Callable[[str], str]:
    """What removes the key and secret headers from a text."""
    secrets = endpoint.secrets()
    public = " ".join((endpoint.model, endpoint.base_url, *endpoint.headers.values()))
    return lambda text: redact_text(text, secrets, public)


class _Session:
    """The calls of one check, and their replies."""

    def __init__(self, endpoint: Endpoint, client: ProbeClient, planned: list[Call], watch: Watch) -> None:
        self.replies: dict[Call, Reply] = {}
        self.sent = 0
        self._endpoint, self._client, self._watch = endpoint, client, watch
        self._total_s = TOTAL_LIMIT_S
        self._until = math.inf
        self._parallel = _PARALLEL
        self._calls = planned
        self._limit: str | None = _LIMITS[0]
        self._thoughts = 0

    async def begin(self) -> None:
        """Make the plainest call, and find out how answers are kept short."""
        for self._limit in _LIMITS:
            reply = await self._make(PLAIN)
            if reply is None or reply.status not in _REFUSALS:
                break
        assert reply is not None
        if not reply.ok:
            raise EndpointError(_unusable(self._endpoint, reply))
        if not reply.text.strip() and reply.finish_reason == "length":
            self._thoughts = _THOUGHTS
            reply = await self._make(PLAIN) or reply
        if reply.ms(reply.end) > _SLOW_S * 1_000:  # it may have loaded its model first
            reply = await self._make(PLAIN) or reply
        self._set_limits(reply.ms(reply.end) / 1_000)

    def _set_limits(self, seconds: float) -> None:
        """Set the limits of calls and of the check by how long the plainest call took."""
        slower = max(1.0, seconds / _SLOW_S)
        self._client.limit_s = min(CALL_LIMIT_S * slower, self._endpoint.timeout_s)
        self._total_s = TOTAL_LIMIT_S * slower
        self._until = time.monotonic() + self._total_s
        self._parallel = _PARALLEL if slower == 1 else 1

    async def make_all(self) -> None:
        """Make the other calls: some in parallel, and one by one those whose times matter."""
        slots = asyncio.Semaphore(self._parallel)

        async def in_turn(call: Call) -> None:
            async with slots:
                await self._make(call)

        while waiting := [call for call in self._calls if self._is_next(call) and not call.alone]:
            await asyncio.gather(*map(in_turn, waiting))
        for call in self._calls:
            if call.alone:
                await self._make(call)

    def _is_next(self, call: Call) -> bool:
        return call not in self.replies and call in self._calls and all(each in self.replies for each in call.after)

    async def _make(self, call: Call) -> Reply | None:
        """Make a call; None: the earlier replies leave nothing to ask."""
        body = call.body_after(self.replies)
        if body is None:
            self._calls.remove(call)
            return None
        if time.monotonic() > self._until:
            reply = Reply(failure=f"not sent: {self._total_s:.0f} s of the check were over")
        else:
            await asyncio.sleep(call.pause_s)
            reply = await self._answered(call, body)
        self.replies[call] = reply
        self._watch(len(self.replies), len(self._calls))
        return reply

    async def _answered(self, call: Call, body: Any) -> Reply:
        """The reply to a call, which is sent a second time if it was refused for the moment only."""
        request = self._request(call, body)
        reply = await self._send(call, request)
        if reply.status in _PASSING:
            refused, wait_s = reply, reply.wait_s
            await asyncio.sleep(min(_PAUSE_S if wait_s is None else wait_s, _LONGEST_PAUSE_S))
            reply = await self._send(call, request)
            reply.refused_before.append(refused)
        reply.request = None if call.raw else request
        return reply

    def _request(self, call: Call, body: Any) -> dict[str, Any]:
        if call.method == "GET":
            return {}
        params = {name: value for name, value in self._endpoint.params.items() if name not in _LIMITS}
        request = {"model": self._endpoint.model, "stream": False, **params, **body}
        if self._limit is not None and not body.keys() & set(_LIMITS):
            request[self._limit] = call.tokens + self._thoughts
        return {name: value for name, value in request.items() if value is not None}

    async def _send(self, call: Call, request: dict[str, Any]) -> Reply:
        self.sent += 1
        base, _, query = self._endpoint.base_url.partition("?")
        if call.route.startswith("/../"):
            base = without_version(base)
        url = "" if not call.route else base + call.route.replace("/..", "") + (f"?{query}" if query else "")
        sent = call.raw or (orjson.dumps(request) if request else b"")
        return await self._client.send(
            sent,
            url=url,
            method=call.method,
            encoding=call.encoding,
            wrong_key=call.wrong_key,
            leave_after=call.leave_after,
        )


def _unusable(endpoint: Endpoint, reply: Reply) -> str:
    """Why the endpoint cannot be checked: the plainest request is not answered."""
    if reply.status is None or reply.status == 200:
        why = f"cannot be checked. {reply.outcome}"
    else:
        failure = failure_of(reply.status, dict(reply.headers), reply.content)
        why = f"cannot be checked: it does not answer a plain request. {failure.message}"
    return _redaction(endpoint)(f"{endpoint.base_url} {why}")


def _finding(probe: Probe, replies: dict[Call, Reply], redacted: Callable[[str], str]) -> Finding:
    try:
        judgement = probe.verdict(replies)
    except Exception as error:  # an endpoint can send anything, and no answer may end the check
        judgement = Judgement(NOT_JUDGED, f"what came cannot be read ({type(error).__name__})")
    names = tuple(call.name for call in (*probe.calls, *probe.optional) if call in replies)
    return Finding(probe.name, probe.subject, probe.asks, probe.why, judgement.verdict, redacted(judgement.came), names)


def _exchanged(reply: Reply, redacted: Callable[[str], str]) -> Exchanged:
    ms = reply.ms
    return Exchanged(
        request=None if reply.request is None else _redacted_json(reply.request, redacted),
        status=reply.status,
        headers=tuple((redacted(name), redacted(value)) for name, value in reply.headers),
        body=redacted(_excerpt(reply.content)),
        failure=redacted(reply.failure),
        headers_ms=ms(reply.headers_at) if reply.headers_at else None,
        end_ms=ms(reply.end) if reply.end else None,
    )


def _tokens(replies: Iterable[Reply]) -> int | None:
    """Tokens sent and received, as the endpoint counts them; None: it counts none."""
    return sum(reply.count(name) or 0 for reply in replies for name in ("prompt_tokens", "completion_tokens")) or None


def _redacted_json(value: Any, redacted: Callable[[str], str]) -> Any:
    """A JSON value with all of its texts, names and numbers redacted: requests can hold what the endpoint sent."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {redacted(name): _redacted_json(part, redacted) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted_json(part, redacted) for part in value]
    if isinstance(value, bool) or value is None:
        return value
    text = str(value)
    return value if (without := redacted(text)) == text else without


def _excerpt(body: bytes) -> str:
    """The beginning and the end of a body, as text."""
    most = Exchanged.EXCERPT
    text = body.decode("utf-8", "replace")
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"
