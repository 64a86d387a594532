"""The JSON body of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson

from evalkit.conversation import FUNCTION, Message
from evalkit.errors import SettingsError
from evalkit.inputs.bounds import check_json

EMPTY: Mapping[str, str] = MappingProxyType({})
_OWN = frozenset({"model", "messages", "stream"})  # what evalkit sets itself
_NO_ARGUMENTS = ("", "null")


def request_body(
    messages: Sequence[Message],
    *,
    model: str,
    stream: bool,
    params: Mapping[str, Any] = EMPTY,
    tools: Sequence[Mapping[str, Any]] = (),
    include_usage: bool = True,
) -> bytes:
    """The JSON body of one request.

    Parameters
    ----------
    messages : sequence of Message
        The whole history; endpoints do not store it.
    model : str
        Model name or assistant id.
    stream : bool
        Always written: some endpoints reject a missing or null value.
    params : mapping
        Further request parameters; one that is None is left out, also if evalkit would set it itself.
    tools : sequence of mapping
        Function tools; they replace ``params["tools"]``.
    include_usage : bool
        Request token counts at the end of a stream.

    Raises
    ------
    SettingsError
        ``params`` would change model, messages or stream, requests several answers, or holds a value that JSON cannot
        represent.
    """
    if not _OWN.isdisjoint(params):
        name = next(name for name in params if name in _OWN)
        raise SettingsError(f"the parameter {name!r} cannot be set: evalkit sets it itself")
    if params.get("n") not in (None, 1):
        raise SettingsError("the parameter 'n' must be 1: to get several answers, use repeats")
    sent = [_sent(message) if message.tool_calls else message.to_json() for message in messages]
    body: dict[str, Any] = {"model": model, "messages": sent, "stream": stream}
    if stream and include_usage:
        body["stream_options"] = {"include_usage": True}
    body.update(params)
    if None in params.values():
        body = {name: value for name, value in body.items() if value is not None}
    if tools:
        body["tools"] = list(tools)
    try:
        packed = orjson.dumps(body, default=_plain_mapping)
    except orjson.JSONEncodeError as error:
        raise SettingsError(f"the request cannot be written as JSON: {error}") from None
    if b"null" in packed:  # orjson writes null for a number that JSON cannot represent
        check_json("of the request,", body)
    return packed


def _sent(message: Message) -> dict[str, Any]:
    """A message with calls as it is sent: empty arguments are an empty object, since servers parse them as JSON."""
    sent = message.to_json()
    for call in sent["tool_calls"]:
        function = call[FUNCTION]
        if function["arguments"].strip() in _NO_ARGUMENTS:
            function["arguments"] = "{}"
    return sent


def _plain_mapping(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")
