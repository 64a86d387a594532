"""The widget for a conversation with an endpoint, typed by hand."""

from __future__ import annotations

from typing import Any

import traitlets

from evalkit.client import request_as_code
from evalkit.endpoint import Endpoint
from evalkit.errors import EvalkitError
from evalkit.widgets import button_comm
from evalkit.widgets.chat import Chat, ChatTurn
from evalkit.widgets.widget_base import CollectableWidget, widget_script, widget_style
from evalkit.wording import run_results
from evalkit.wording.numbers import counted

MOST_CHARACTERS = 20_000  # shown of one text
MOST_ARRIVALS = 1_000  # drawn

_displayed: dict[str, Playground] = {}  # those that a page shows, by their button ids


class Playground(CollectableWidget):
    """A conversation with an endpoint: messages, arrivals, and each request as cURL and Python.

    A displayed playground is kept alive until it is closed, since its page needs answers.
    """

    _esm = widget_script("playground.js")
    _css = widget_style()
    address = traitlets.Dict().tag(sync=True)
    past: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    live: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)  # empty if no answer is streaming
    problem = traitlets.Unicode().tag(sync=True)
    button_id = traitlets.Unicode().tag(sync=True)

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(address={"model": endpoint.model, "base_url": endpoint.base_url})
        self.chat = Chat(endpoint, self._changed)
        self.button_id = button_comm.register_button(self.chat.stop)
        self.on_msg(lambda _widget, content, _buffers: self._on_message(content))

    def __repr__(self) -> str:
        turns, endpoint = self.chat.turns, self.chat.endpoint
        text = "".join(f"\nuser: {turn.user}\nassistant: {turn.answer or turn.problem or ''}" for turn in turns)
        return f"playground for {endpoint.model} at {endpoint.base_url}, {counted(len(turns), 'message')} so far{text}"

    def _repr_mimebundle_(self, **how: Any) -> Any:
        _displayed[self.button_id] = self
        return super()._repr_mimebundle_(**how)

    def close(self) -> None:
        """Stop the streaming answer and remove the widget from its page."""
        self.chat.stop()
        button_comm.unregister_button(self.button_id)
        _displayed.pop(self.button_id, None)
        super().close()

    def _on_message(self, content: dict[str, Any]) -> None:
        action = content.get("do")
        if action == "stop":
            self.chat.stop()
        elif action == "clear":
            self.chat.clear()
            self.past = self._past()
            self.problem = ""
        elif action == "send" and not self.chat.busy:
            self._send_message(str(content.get("text", "")), str(content.get("system", "")))

    def _send_message(self, text: str, system: str) -> None:
        self.chat.system = system
        self.problem = ""
        try:
            self.chat.send(text)
        except EvalkitError as error:
            self.problem = str(error)

    def _changed(self, turn: ChatTurn) -> None:
        if turn.state == "streaming":
            self.live = self._shown(turn, whole=False)
        else:
            self.past = self._past()
            self.live = {}

    def _past(self) -> list[dict[str, Any]]:
        shown = self.past[: len(self.chat.turns) - 1]
        return [*shown, *(self._shown(turn, whole=True) for turn in self.chat.turns[len(shown) :])]

    def _shown(self, turn: ChatTurn, *, whole: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "user": turn.user[:MOST_CHARACTERS],
            "state": turn.state,
            "answer": turn.answer[:MOST_CHARACTERS],
            "cut": max(len(turn.answer) - MOST_CHARACTERS, 0),
            "reasoning": turn.reasoning[:MOST_CHARACTERS],
            "problem": turn.problem,
            "ttft": turn.ttft_ms,
            "latency": turn.latency_ms,
            "tokens": [turn.prompt_tokens, turn.output_tokens],
            "reads": len(turn.arrivals),
            "note": run_results.first_token_warning(turn.flags),
            "arrivals": [round(at, 2) for at, _ in turn.arrivals[:: len(turn.arrivals) // MOST_ARRIVALS + 1]],
        }
        if whole:
            shown |= self._request_as_code(turn)
        return shown

    def _request_as_code(self, turn: ChatTurn) -> dict[str, str]:
        endpoint = self.chat.endpoint
        if sum(len(str(message["content"])) for message in turn.body["messages"]) > 5 * MOST_CHARACTERS:
            too_long = "The conversation is too long to show as a command."
            return {"curl": too_long, "python": too_long}
        key_env = endpoint.key_env if endpoint.key() else None
        reached_by = request_as_code.ReachedBy.of(endpoint)
        return {
            "curl": request_as_code.curl(endpoint.url, turn.body, key_env=key_env, reached_by=reached_by),
            "python": request_as_code.python(endpoint.base_url, turn.body, key_env=key_env, reached_by=reached_by),
        }
