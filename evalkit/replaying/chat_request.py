"""One chat-completion request: as cURL, as Python, and as an endpoint with a conversation."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from evalkit.client import request_as_code
from evalkit.client.request_as_code import ReachedBy
from evalkit.conversation import Conversation
from evalkit.datasets import reader
from evalkit.endpoint import Endpoint
from evalkit.errors import DatasetError, SettingsError
from evalkit.inputs.addresses import normalise_base_url

_OWN = ("model", "messages", "stream", "tools")  # keys of a body that are no parameters of an endpoint
_USER = "user"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request as it is sent; secrets are in it only by the names of their variables.

    Parameters
    ----------
    url : str
        Address of the chat-completion route.
    body : bytes
        JSON in UTF-8: an object with ``messages``.
    key_env : str or None
        NAME of the environment variable that holds the API key; None: no key is sent.
    reached_by : ReachedBy
        Further headers, and certificates.
    host_env : str or None
        NAME of the variable that holds scheme and host, for code to be run elsewhere; None: those of ``url``.
    limits : mapping
        ``timeout_s`` and ``connect_timeout_s``, if they are not the usual ones.
    sends : tuple of str
        Of a pasted command: the files and variables of this machine whose contents the request sends, in words.
    """

    url: str
    body: bytes
    key_env: str | None = None
    reached_by: ReachedBy = field(default_factory=ReachedBy)
    host_env: str | None = None
    limits: dict[str, float] = field(default_factory=dict)
    sends: tuple[str, ...] = field(default=(), compare=False)

    @property
    def json(self) -> dict[str, Any]:
        """The body as a JSON value."""
        value: dict[str, Any] = json.loads(self.body)
        return value

    @property
    def stream(self) -> bool:
        """Whether it requests a stream."""
        return self.json.get("stream") is True

    def curl(self) -> str:
        """The request as a command for a POSIX shell, which sends the same bytes."""
        return request_as_code.exact_curl(
            self.url,
            self.body,
            stream=self.stream,
            key_env=self.key_env,
            reached_by=self.reached_by,
            host_env=self.host_env,
        )

    def python(self) -> str:
        """The request as a Python program that uses the official client and prints the answer."""
        return request_as_code.python(
            normalise_base_url(self.url),
            self.json,
            key_env=self.key_env,
            reached_by=self.reached_by,
            host_env=self.host_env,
        )

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint, with the parameters of the request.

        Raises
        ------
        SettingsError
            The address, a header or a parameter cannot be used, or no model is named.
        """
        body = self.json
        params = {name: value for name, value in body.items() if name not in _OWN}
        if self.stream:
            params.setdefault("stream_options", None)  # evalkit would request token counts
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise SettingsError("the request names no model: add the key 'model' to its body")
        settings: dict[str, Any] = {**self.reached_by.certificates, **self.limits}
        headers, headers_env = dict(self.reached_by.headers), dict(self.reached_by.headers_env)
        return Endpoint(
            self.url, model, self.key_env, params, source="curl", headers=headers, headers_env=headers_env, **settings
        )

    @property
    def conversation(self) -> Conversation:
        """A conversation of one turn that asks what the request asks; ``to_json()`` is its row of a dataset.

        The system prompt is its system prompt, the messages before the last one are its context.

        Raises
        ------
        SettingsError
            The last message is not one of the user, or a message has a form that datasets do not have.
        """
        body = self.json
        *earlier, last = body["messages"]
        if not isinstance(last, dict) or last.get("role") != _USER:
            raise SettingsError("the last message of the request is not one of the user, and a turn begins with one")
        row: dict[str, Any] = {"id": "curl"}
        first = earlier[0] if earlier else None
        if isinstance(first, dict) and first == {"role": "system", "content": str(first.get("content"))}:
            row["system"], earlier = first["content"], earlier[1:]
        if earlier:
            row["context"] = earlier
        if body.get("tools"):
            row["tools"] = body["tools"]
        others = ", ".join(last.keys() - {"role", "content"})
        if others:
            raise SettingsError(f"the last message of the request has keys that a turn cannot have: {others}")
        try:
            return reader.parse_row({**row, "turns": [{"user": last.get("content")}]})
        except DatasetError as error:
            raise SettingsError(f"the messages of the request cannot be a conversation: {error}") from None
