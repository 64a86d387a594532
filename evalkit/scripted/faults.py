"""The faults of the scripted server by name, and a script's faults bound to their functions.

A fault is a function that accepts the planned reply, the request and its own options, and returns the reply to send
instead. It returns None when it does not apply to the request, for example a fault of streams when a whole answer was
requested; the next fault is then tried. ``after`` is the number of tokens that are still sent; of a whole answer half
the body is sent. The functions are in ``transport_faults`` and ``answer_faults``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence

from evalkit.errors import SettingsError
from evalkit.scripted.answer_faults import (
    aborted,
    blank_chunks,
    broken_json,
    cumulative_usage,
    cut_utf8,
    early_role,
    empty,
    error_event,
    group_tokens,
    html_error,
    huge,
    json_for_stream,
    no_done,
    nothing_to_say,
    rate_limited,
    reasoning,
    redirect,
    reject_stream_options,
    server_error,
    wrong_type,
)
from evalkit.scripted.http_messages import Reply, Request
from evalkit.scripted.script import Fault
from evalkit.scripted.transport_faults import (
    batch_writes,
    buffered,
    close_after,
    close_on_reuse,
    comments_only,
    endless,
    eof_midway,
    left_open,
    refuse,
    reset_after_headers,
    reset_before_headers,
    reset_midway,
    silence,
    slow_headers,
    split_writes,
)

BoundFault = Callable[[Reply, Request], Reply | None]

FAULTS: dict[str, Callable[..., Reply | None]] = {
    fault.__name__: fault
    for fault in (
        reset_before_headers, reset_after_headers, reset_midway, eof_midway, close_after, close_on_reuse, refuse,
        rate_limited, server_error, html_error, redirect, reject_stream_options, wrong_type, json_for_stream, huge,
        empty, nothing_to_say, broken_json, cut_utf8, error_event, no_done, early_role, blank_chunks, reasoning,
        cumulative_usage, group_tokens, silence, comments_only, endless, slow_headers, buffered, batch_writes,
        split_writes, aborted, left_open,
    )
}  # fmt: skip


def bind(faults: Sequence[Fault], own: Mapping[str, Callable[..., Reply | None]]) -> list[tuple[Fault, BoundFault]]:
    """Pair each fault with its function and bind its options.

    Parameters
    ----------
    faults : sequence of Fault
    own : mapping
        Faults that only the profile in use has.

    Raises
    ------
    SettingsError
        A kind is not known, or the fault does not have an option.
    """
    known = {**FAULTS, **own}
    return [(fault, _bound(fault, known)) for fault in faults]


def _bound(fault: Fault, known: Mapping[str, Callable[..., Reply | None]]) -> BoundFault:
    function = known.get(fault.kind) if isinstance(fault.kind, str) else None
    if function is None:
        raise SettingsError(f"the fault {fault.kind!r} is not known: use one of {', '.join(sorted(known))}")
    names = list(inspect.signature(function).parameters)[2:]
    if unknown := fault.options.keys() - set(names):
        has = f"it has {', '.join(names)}" if names else "it has none"
        raise SettingsError(f"the fault {fault.kind!r} has no option {', '.join(sorted(unknown))}: {has}")
    return lambda reply, request: function(reply, request, **fault.options)
