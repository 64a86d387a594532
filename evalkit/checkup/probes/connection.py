"""Probes of the connection and of times: routes, HTTP, caches, and what happens when a client leaves."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from evalkit.checkup.probes.call import COUNTING, HELLO, LONG_STREAM, PLAIN, Body, Call, Replies, ask, streamed
from evalkit.checkup.probes.probe import Judgement, Probe, conforms, differs, not_judged, shown, unsupported
from evalkit.checkup.probes.reply import Reply, mapping, mappings

SUBJECT = "connection"
_WINDOWS = ("max_model_len", "context_length", "context_window", "n_ctx", "max_context_length")
_RUNNING = re.compile(
    r"^(?:vllm:num_requests_running|llamacpp:requests_processing|sglang:num_running_reqs)\S*\s+([\d.]+)", re.M
)
_CACHE_ITEMS = 200
_LEAST_SAVED_MS = 150.0  # less may be chance
_SETTLED_S = 1.0
_LEAST_CALLS = 6  # of which some must find a connection that is idle


def _long_body(replies: Replies) -> Body:
    """A long message that nobody has sent before."""
    items = " ".join(f"Item {n} is blue." for n in range(_CACHE_ITEMS))
    return streamed(ask(f"List {time.time_ns()}. {items} {HELLO}"))


def _same_body(replies: Replies) -> Body | None:
    sent = replies[FIRST].request
    return None if sent is None else streamed({"messages": sent["messages"]})


MODELS = Call("models", method="GET", route="/models", tokens=0, tokens_sent=0)
FIRST = Call("long prompt", _long_body, tokens=4, alone=True, tokens_sent=1_200)
AGAIN = Call("long prompt again", _same_body, after=(FIRST,), tokens=4, alone=True, tokens_sent=1_200)
GZIP = Call("answer that may be compressed", ask(HELLO), encoding="gzip")
GZIP_STREAM = Call("stream that may be compressed", streamed(ask(HELLO)), encoding="gzip")
LEFT = Call("stream that is left", streamed(ask(COUNTING)), tokens=256, alone=True, leave_after=3)
METRICS = Call(
    "metrics", method="GET", route="/../metrics", after=(LEFT,), tokens=0, tokens_sent=0, alone=True, pause_s=_SETTLED_S
)
SLOTS = Call("slots", method="GET", route="/../slots", after=(LEFT,), tokens=0, tokens_sent=0, alone=True)


def window_of(models: Reply) -> int | None:
    """The context window of the model in tokens, as the list of models reports it; None: it does not."""
    for entry in _entries(models):
        for holder in (mapping(entry.get("meta")), entry):
            for name in _WINDOWS:
                if type(holder.get(name)) is int and holder[name] > 0:
                    return int(holder[name])
    return None


def _entries(models: Reply) -> list[dict[str, Any]]:
    return mappings(mapping(models.json).get("data"))


def _models(reply: Reply, plain: Reply) -> Judgement:
    if reply.status != 200:
        return unsupported(reply.outcome)
    names = [entry.get("id") for entry in _entries(reply)]
    requested = mapping(plain.request).get("model")
    if not names:
        return differs(f"no list of models: {shown(mapping(reply.json) or reply.json)}")
    if requested in names:
        return conforms(f"{len(names)} listed, the requested one among them")
    return differs(f"{len(names)} listed, but not {shown(requested)}: {shown(names[0])}, …")


def _framing(replies: Sequence[Reply]) -> Judgement:
    problems = Counter(reply.lenient for reply in replies if reply.lenient)
    if not problems:
        return conforms("every answer is strict HTTP")
    (problem, count), *_ = problems.most_common(1)
    return differs(f"{count} answers break the rules of HTTP: {problem}")


def _version(replies: Sequence[Reply]) -> Judgement:
    versions = sorted({reply.http_version for reply in replies if reply.http_version})
    if versions == ["1.1"]:
        return conforms("HTTP/1.1; HTTP/2 is not tried")
    return differs(f"HTTP/{', HTTP/'.join(versions)}: no streams in chunks, no connections kept open")


def _keep_alive(replies: Sequence[Reply]) -> Judgement:
    answered = [reply for reply in replies if reply.status is not None and not reply.left]
    reused = sum(reply.reused for reply in answered)
    if not reused and len(answered) < _LEAST_CALLS:
        return not_judged(f"only {len(answered)} calls were answered")
    if not reused:
        return differs(f"none of {len(answered)} calls could use a connection again: each opens one, with TLS in full")
    return conforms(f"{reused} of {len(answered)} calls used a connection again")


def _redirect(replies: Sequence[Reply]) -> Judgement:
    moved = [reply for reply in replies if reply.redirects]
    if not moved:
        return conforms("none")
    return differs(f"{len(moved)} calls were redirected: each costs a request more")


def _compression(whole: Reply, stream: Reply) -> Judgement:
    names = [reply.header("content-encoding").lower() for reply in (whole, stream)]
    if names[1] not in ("", "identity"):
        return differs(f"a stream is compressed ({names[1]}): tokens may wait until a block is full")
    return conforms(f"whole answers: {names[0] or 'none'}, streams: none")


def _headers(reply: Reply) -> Judgement:
    stamps = reply.token_stamps
    if not stamps:
        return not_judged("no token came")
    headers, first = reply.ms(reply.headers_at), reply.ms(stamps[0])
    came = f"headers after {headers:.0f} ms, the first token after {first:.0f} ms"
    return conforms(f"{came}; the status is sent before the model answers" if headers < first / 2 else came)


def _cache(again: Reply, once: Reply) -> Judgement:
    if not again.token_stamps or not once.token_stamps:
        return not_judged("no token came")
    before, after = once.ms(once.token_stamps[0]), again.ms(again.token_stamps[0])
    times = f"first token after {before:.0f} ms, then {after:.0f} ms"
    cached = mapping(again.usage.get("prompt_tokens_details")).get("cached_tokens")
    faster = after < before / 3 and before - after > _LEAST_SAVED_MS
    if isinstance(cached, int) and cached > 0:
        return conforms(f"{cached} of {again.count('prompt_tokens')} tokens from the cache; {times}")
    if faster:
        return differs(f"used, and not reported in cached_tokens: {times}; a repeated prompt has other times")
    return not_judged(f"no sign of a cache: {times}")


def _leaving(left: Reply, metrics: Reply | None, slots: Reply | None) -> Judgement:
    if not left.left:
        return not_judged("the answer ended before the client left")
    running = _running(metrics, slots)
    if running is None:
        return not_judged("the endpoint does not show what it is doing (no /metrics, no /slots)")
    if running:
        return differs(f"{running} requests still run {_SETTLED_S:g} s after the client left")
    return conforms(f"nothing runs {_SETTLED_S:g} s after the client left")


def _running(metrics: Reply | None, slots: Reply | None) -> int | None:
    if metrics is not None and metrics.ok:
        counts = [float(count) for count in _RUNNING.findall(metrics.content.decode("utf-8", "replace"))]
        if counts:
            return int(sum(counts))
    if slots is not None and slots.ok and isinstance(slots.json, list):
        return sum(bool(mapping(slot).get("is_processing")) for slot in slots.json)
    return None


PROBES = (
    Probe("models", SUBJECT, "GET /models",
          "Programs list models to choose from, and check names before a run.", (MODELS, PLAIN), _models, True),
    Probe("http", SUBJECT, "the HTTP of all answers",
          "Strict clients refuse what lenient ones read.", (), _framing, over_all=True),
    Probe("http_version", SUBJECT, "the version of HTTP", "It decides whether connections can be kept.",
          (), _version, over_all=True),
    Probe("keep_alive", SUBJECT, "calls over one connection",
          "Each new connection adds its handshakes to the time to first token.", (), _keep_alive, over_all=True),
    Probe("redirect", SUBJECT, "redirects of the route",
          "A client that does not follow fails; one that does is slower than it seems.", (), _redirect, over_all=True),
    Probe("compression", SUBJECT, "an answer and a stream that may be compressed",
          "The official client accepts compression; a compressed stream can hold tokens back.",
          (GZIP, GZIP_STREAM), _compression),
    Probe("time_to_headers", SUBJECT, "headers and first token of a stream",
          "Time limits, and tools, that wait for headers do not see a slow model.", (LONG_STREAM,), _headers),
    Probe("prompt_cache", SUBJECT, "a long prompt twice",
          "Repeats are faster and cheaper than first requests: times of a run depend on its order.",
          (AGAIN, FIRST), _cache),
    Probe("disconnect", SUBJECT, "a client that leaves in the middle of a stream",
          "Requests that time out go on costing, and slow down the next ones.", (LEFT,), _leaving, True,
          (METRICS, SLOTS)),
)  # fmt: skip
