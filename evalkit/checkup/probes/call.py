"""A call of a probe: the request, before it is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from evalkit.checkup.probes.reply import Reply
from evalkit.client.request_head import UNCOMPRESSED

Body = Mapping[str, Any]
Replies = Mapping["Call", Reply]


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """One request; probes that name the same call share its reply.

    Parameters
    ----------
    name : str
    body : mapping or callable
        What the request holds besides the model: ``messages`` and parameters. Or a function of the earlier replies that
        returns it, or None if they leave nothing to ask.
    after : tuple of Call
        The calls whose replies that function needs.
    tokens : int
        The most tokens that the answer should have; sent as the limit unless ``body`` has one.
    method, route : str
        ``route`` is below the base URL, ``/../`` beside its version; empty: the chat-completion route.
    raw : bytes
        A body that is not JSON, in place of ``body``.
    wrong_key : bool
        Send a key that no endpoint knows.
    encoding : str
        The compression that the answer may have.
    alone : bool
        Nothing else is sent meanwhile: its times matter.
    leave_after : int or None
        Close the connection after this number of events.
    pause_s : float
        Seconds to wait before it is made.
    tokens_sent : int
        About how many tokens the messages have.
    """

    name: str
    body: Body | Callable[[Replies], Body | None] = field(default_factory=dict)
    after: tuple[Call, ...] = ()
    tokens: int = 16
    method: str = "POST"
    route: str = ""
    raw: bytes = b""
    wrong_key: bool = False
    encoding: str = UNCOMPRESSED
    alone: bool = False
    leave_after: int | None = None
    pause_s: float = 0.0
    tokens_sent: int = 30

    def body_after(self, replies: Replies) -> Body | None:
        """The body, once the calls that it needs have replies; None: they leave nothing to ask."""
        if not callable(self.body):
            return self.body
        try:
            body = self.body(replies)
            orjson.dumps(body)  # what the endpoint sent can be nested deeper than can be sent back
            return body
        except Exception:  # an endpoint can send anything, and no answer may end the check
            return None


def user(text: str) -> dict[str, Any]:
    """A message of the user."""
    return {"role": "user", "content": text}


def ask(text: str, **params: Any) -> dict[str, Any]:
    """A body with one message of the user."""
    return {"messages": [user(text)], **params}


def streamed(body: Body) -> dict[str, Any]:
    """The same body, as a stream with token counts."""
    return {**body, "stream": True, "stream_options": {"include_usage": True}}


HELLO = "Say hello in one short sentence."
PLAIN = Call("plain", ask(HELLO))
STREAM = Call("stream", streamed(ask(HELLO)))
COUNTING = "Count from one to thirty in words."
LONG_STREAM = Call("long stream", streamed(ask(COUNTING)), tokens=32, alone=True)
