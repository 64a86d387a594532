"""Failures of an exchange before its answer is complete: time limits, closed connections, redirects, broken HTTP.

A complete answer that is not a good one is handled in ``answer_reader``.
"""

from __future__ import annotations

import re
from dataclasses import replace

from evalkit.client.answer_reader import KEPT_LIMIT
from evalkit.client.connection import HEAD_LIMIT
from evalkit.client.exchange import FOLLOWED, MAX_REDIRECTS, REDIRECTS, Exchange
from evalkit.client.origin import Origin, path_of, redirect_target
from evalkit.client.proxy import Proxy
from evalkit.client.tls_failures import CERTIFICATE_HINT, HTTP_2_ONLY, client_certificate_failure
from evalkit.errors import Failure, sent
from evalkit.inputs.addresses import hidden_secrets, versioned

_TLS_ALERT = b"\x15\x03"
_HTTP_2_FRAME = re.compile(rb"\x00[\x00-\x40].[\x04\x07].\x00\x00\x00\x00", re.DOTALL)  # SETTINGS or GOAWAY
_ROUTE = "/chat/completions"
_LOG = "Check the endpoint's log."
_CLOUDFLARE_ACCESS = (
    "Give a service token: export CF_ACCESS_SECRET=…, then --header CF-Access-Client-Id=ID "
    "--header-env CF-Access-Client-Secret=CF_ACCESS_SECRET."
)
_CHECK_PORT = "Check host and port of the base URL."


def network_failure(
    exchange: Exchange, origin: Origin, proxy: Proxy | None, *, url: str, client_cert_env: str | None = None
) -> Failure | None:
    """Why an exchange on an open connection has no good answer; None: it has one.

    Parameters
    ----------
    exchange : Exchange
        A finished exchange.
    proxy : Proxy or None
        The proxy it used.
    url : str
        The address of the endpoint's route, which the exchange has left if it follows a redirect.
    client_cert_env : str or None
        The variable that names the client certificate's file.
    """
    failure = _network_failure(exchange, origin, client_cert_env)
    if failure is not None and failure.http_status in (404, 405) and _is_about_the_address(failure):
        failure = _with_address(failure, exchange.url, sent_by_endpoint=exchange.url != url)
    if proxy is None or origin.scheme == "https" or failure is None:
        return failure
    if exchange.status == 407:
        message = f"No answer from {origin} through {proxy}, which answered 407. {proxy.credentials_advice}"
        return replace(_own("connection", message, 407), code="proxy_credentials")
    if failure.kind in ("connection", "timeout", "server"):
        return replace(failure, message=f"{failure.message} The request went through {proxy}.")
    return failure


def _network_failure(exchange: Exchange, origin: Origin, client_cert_env: str | None) -> Failure | None:
    outcome, status = exchange.outcome, exchange.status
    if outcome == "complete" and exchange.reader is not None and status not in REDIRECTS:  # nearly always
        return exchange.reader.failure
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
        return _unanswered(exchange, origin, client_cert_env)
    return exchange.reader.failure


def _own(kind: str, message: str, status: int | None = None) -> Failure:
    """A failure with a message by evalkit, except for the parts marked as sent by the endpoint."""
    return Failure(kind, message, status, sent=())


def _is_about_the_address(failure: Failure) -> bool:
    """Whether something was not found, and the endpoint does not say that it was the model."""
    code = (failure.code or "").lower()
    return failure.kind == "not_found" and "model" not in code and code != "object_not_found"


def _with_address(failure: Failure, url: str, *, sent_by_endpoint: bool) -> Failure:
    """The failure with the address that was asked, and where the route may be instead."""
    begin = f"{failure.message} The address asked is "
    asked = hidden_secrets(url)
    other = versioned(url.replace(_ROUTE, "", 1)) if url.count(_ROUTE) == 1 else None
    advice = f"; if the API is below /v1, set {hidden_secrets(other)} as base URL" if other else ""
    spans = failure.sent
    if spans is not None and sent_by_endpoint:
        spans = (*spans, (len(begin), len(begin) + len(asked)))
    return replace(failure, message=f"{begin}{asked}{advice}.", sent=spans)


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
    if other.host.endswith(".cloudflareaccess.com"):
        return _own("auth", f"{what} to the login page of Cloudflare Access. {_CLOUDFLARE_ACCESS}", status)
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
        message = f"There is TLS on {origin}: use https:// in the base URL."
        return replace(_own("connection", message), code="wrong_protocol")
    if _HTTP_2_FRAME.match(began):
        message = f"The server at {origin} speaks HTTP/2 only. {HTTP_2_ONLY}"
        return replace(_own("connection", message), code="wrong_protocol")
    if began and not began.startswith(b"HTTP/"):
        shown = sent(ascii(began.decode("latin-1")))
        message = f"There is no HTTP/1.1 on {origin}: its answer began with {shown}. {_CHECK_PORT}"
    else:
        kept = "" if exchange.reader is None or exchange.reader.answer is None else " The part received is kept."
        message = f"The answer of {origin} breaks the rules of HTTP ({sent(exchange.detail)}).{kept}"
    return _own("protocol", message, exchange.status)


def _unanswered(exchange: Exchange, origin: Origin, client_cert_env: str | None) -> Failure:
    # in TLS 1.3 the alert comes when the handshake is complete for the client
    refused = client_certificate_failure(exchange.detail, str(origin), client_cert_env)
    if refused is not None:
        return replace(_own("connection", refused), code="certificate")
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
    elif client_cert_env is None and exchange.opened:
        advice += f" {CERTIFICATE_HINT[0].upper()}{CERTIFICATE_HINT[1:]}."
    return _own("connection", f"The connection was closed by {origin} before it answered{reason}. {advice}")
