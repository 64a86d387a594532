"""Failures of an exchange before its answer is complete: time limits, closed connections, redirects, broken HTTP.

A complete answer that is not a good one is handled in ``answer_reader``.
"""

from __future__ import annotations

from dataclasses import replace

from evalkit.client.answer_reader import KEPT_LIMIT
from evalkit.client.connection import HEAD_LIMIT
from evalkit.client.exchange import FOLLOWED, MAX_REDIRECTS, REDIRECTS, Exchange
from evalkit.client.origin import Origin, path_of, redirect_target
from evalkit.client.proxy import Proxy
from evalkit.record import Failure, sent

_TLS_ALERT = b"\x15\x03"
_ROUTE = "/chat/completions"
_LOG = "Check the endpoint's log."
_CHECK_PORT = "Check host and port of the base URL."


def network_failure(exchange: Exchange, origin: Origin, proxy: Proxy | None) -> Failure | None:
    """Why an exchange on an open connection has no good answer; None: it has one.

    Parameters
    ----------
    exchange : Exchange
        A finished exchange.
    proxy : Proxy or None
        The proxy it used.
    """
    failure = _network_failure(exchange, origin)
    if proxy is None or origin.scheme == "https" or failure is None:
        return failure
    if exchange.status == 407:
        return _own(
            "connection",
            f"No answer from {origin} through {proxy}, which answered 407: it requires user and password. "
            f"Put them into {proxy.source} as http://user:password@host:port.",
            407,
        )
    if failure.kind in ("connection", "timeout", "server"):
        return replace(failure, message=f"{failure.message} The request went through {proxy}.")
    return failure


def _network_failure(exchange: Exchange, origin: Origin) -> Failure | None:
    outcome, status = exchange.outcome, exchange.status
    if outcome == "ttft":
        limit = f"No first token within {exchange.ttft_timeout_s:g} s (ttft_timeout_s)"
        return _own("timeout", f"{limit}: {_received(exchange, origin)}. Raise the limit or lower the load.", status)
    if outcome == "total":
        limit = f"No complete answer within {exchange.timeout_s:g} s (timeout_s)"
        advice = "Raise the limit, lower the load or set max_tokens."
        return _own("timeout", f"{limit}: {_received(exchange, origin)}. {advice}", status)
    if outcome == "cancelled":
        return _own("cancelled", f"evalkit closed the connection to {origin} before the answer was complete.", status)
    if outcome == "oversized":
        return _own("protocol", f"More than {HEAD_LIMIT // 1024} KiB of headers came from {origin}. {_CHECK_PORT}")
    if status in REDIRECTS:
        return _redirected(exchange, origin)
    if outcome == "malformed":
        return _malformed(exchange, origin)
    if exchange.reader is None:
        return _unanswered(exchange, origin)
    return exchange.reader.failure


def _own(kind: str, message: str, status: int | None = None) -> Failure:
    """A failure with a message by evalkit, except for the parts marked as sent by the endpoint."""
    return Failure(kind, message, status, sent=())


def _received(exchange: Exchange, origin: Origin) -> str:
    reader = exchange.reader
    if not exchange.received:
        return f"{origin} has sent nothing"
    if reader is None or exchange.headers_at is None:
        return f"{origin} has sent {exchange.received} bytes, not even complete headers"
    headers_s = (exchange.headers_at - exchange.sent) / 1e9
    if not reader.arrivals:
        token = ", but no token" if reader.streamed else ""
        return f"{origin} sent its headers after {headers_s:.3g} s and {exchange.received} bytes in all{token}"
    answer, reads = reader.answer, len(reader.arrivals)
    characters = 0 if answer is None else len(answer.text) + len(answer.reasoning)
    last_s = (reader.arrivals[-1] - exchange.sent) / 1e9
    more = "more than " if characters >= KEPT_LIMIT else ""  # the rest was dropped
    return (
        f"{origin} sent {more}{characters} characters in {reads} read{'s' * (reads > 1)}, the last after {last_s:.3g} s"
    )


def _redirected(exchange: Exchange, origin: Origin) -> Failure:
    status = exchange.status
    what = f"The endpoint {origin} answered with a redirect (HTTP {status})"
    target = redirect_target(exchange.url, exchange.headers.get("location", ""))
    if target is None:
        return _own("protocol", f"{what} that names no address. Check the base URL.", status)
    other = Origin.of(target)
    path = path_of(target).partition("?")[0].removesuffix(_ROUTE)
    shown = sent(f"{other.scheme}://{other.authority}{path}")
    if other != origin:
        message = (
            f"{what} to {shown}, another host or port: the key is not sent there. "
            "If you trust that address, set it as base URL."
        )
    elif status in FOLLOWED:
        message = f"{what} to {shown}, the last of more than {MAX_REDIRECTS} in a row. Check the base URL."
    else:
        message = f"{what} to {shown}, which would turn the request into a GET. Set that address as base URL."
    return _own("protocol", message, status)


def _malformed(exchange: Exchange, origin: Origin) -> Failure:
    began = exchange.first_bytes
    if began.startswith(_TLS_ALERT):
        return _own("connection", f"There is TLS on {origin}: use https:// in the base URL.")
    if began and not began.startswith(b"HTTP/"):
        shown = sent(ascii(began.decode("latin-1")))
        message = f"There is no HTTP/1.1 on {origin}: its answer began with {shown}. {_CHECK_PORT}"
    else:
        kept = "" if exchange.reader is None or exchange.reader.answer is None else " The part received is kept."
        message = f"The answer of {origin} breaks the rules of HTTP ({sent(exchange.detail)}).{kept}"
    return _own("protocol", message, exchange.status)


def _unanswered(exchange: Exchange, origin: Origin) -> Failure:
    reason = f" ({exchange.detail})" if exchange.detail else ""
    if exchange.received:
        return _own("connection", f"The connection was closed by {origin} in the middle of its headers{reason}. {_LOG}")
    if exchange.lost_on_reuse:
        message = (
            f"An idle connection was closed by {origin} just as it was used again{reason}. Send the request again."
        )
        return _own("connection", message)
    advice = _LOG
    if origin.scheme == "http":
        advice += " If it requires TLS, use https:// in the base URL."
    return _own("connection", f"The connection was closed by {origin} before it answered{reason}. {advice}")
