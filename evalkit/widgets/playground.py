"""The widget in which a conversation with an endpoint is typed by hand."""

from __future__ import annotations

from typing import Any

import traitlets

from evalkit.client import request_as_code
from evalkit.endpoint import Endpoint
from evalkit.errors import EvalkitError
from evalkit.widgets import button_comm
from evalkit.widgets.chat import Chat, Said
from evalkit.widgets.static_files import Droppable, script, style
from evalkit.wording import run_results

MOST_CHARACTERS = 20_000  # of one text that are shown
MOST_ARRIVALS = 1_000  # that are drawn


_answering: dict[str, Playground] = {}  # by their doors, those that a page shows


class Playground(Droppable):
    """A conversation with an endpoint: what is said, its arrivals, its cURL and Python.

    One that was shown is held until it is closed: its page wants answers.
    """

    _esm = script("playground.js")
    _css = style()
    address = traitlets.Dict().tag(sync=True)
    past: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    live: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)  # empty: nothing is on its way
    problem = traitlets.Unicode().tag(sync=True)
    door = traitlets.Unicode().tag(sync=True)

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(address={"model": endpoint.model, "base_url": endpoint.base_url})
        self.chat = Chat(endpoint, self._changed)
        self.door = button_comm.open_door(self.chat.stop)
        self.on_msg(lambda _widget, content, _buffers: self._heard(content))

    def __repr__(self) -> str:
        said, endpoint = self.chat.said, self.chat.endpoint
        spoken = "".join(f"\nuser: {one.user}\nassistant: {one.answer or one.problem or ''}" for one in said)
        return f"playground for {endpoint.model} at {endpoint.base_url}, {len(said)} messages so far{spoken}"

    def _repr_mimebundle_(self, **how: Any) -> Any:
        _answering[self.door] = self
        return super()._repr_mimebundle_(**how)

    def close(self) -> None:
        """End what is on its way, and let go of the page's side."""
        self.chat.stop()
        button_comm.close_door(self.door)
        _answering.pop(self.door, None)
        super().close()

    def _heard(self, content: dict[str, Any]) -> None:
        what = content.get("do")
        if what == "stop":
            self.chat.stop()
        elif what == "forget":
            self.chat.forget()
            self.past = self._past()
            self.problem = ""
        elif what == "send" and not self.chat.busy:
            self._ask(str(content.get("text", "")), str(content.get("system", "")))

    def _ask(self, text: str, system: str) -> None:
        self.chat.system = system
        self.problem = ""
        try:
            self.chat.send(text)
        except EvalkitError as error:
            self.problem = str(error)

    def _changed(self, said: Said) -> None:
        if said.state == "streaming":
            self.live = self._shown(said, whole=False)
        else:
            self.past = self._past()
            self.live = {}

    def _past(self) -> list[dict[str, Any]]:
        known = self.past[: len(self.chat.said) - 1]
        return [*known, *(self._shown(said, whole=True) for said in self.chat.said[len(known) :])]

    def _shown(self, said: Said, *, whole: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "user": said.user[:MOST_CHARACTERS],
            "state": said.state,
            "answer": said.answer[:MOST_CHARACTERS],
            "cut": max(len(said.answer) - MOST_CHARACTERS, 0),
            "reasoning": said.reasoning[:MOST_CHARACTERS],
            "problem": said.problem,
            "ttft": said.ttft_ms,
            "latency": said.latency_ms,
            "tokens": [said.prompt_tokens, said.output_tokens],
            "reads": len(said.arrivals),
            "note": run_results.stream(said.flags),
            "arrivals": [round(at, 2) for at, _ in said.arrivals[:: len(said.arrivals) // MOST_ARRIVALS + 1]],
        }
        if whole:
            shown |= self._snippets(said)
        return shown

    def _snippets(self, said: Said) -> dict[str, str]:
        endpoint = self.chat.endpoint
        if sum(len(str(message["content"])) for message in said.body["messages"]) > 5 * MOST_CHARACTERS:
            too_long = "The conversation is too long to be shown as a command."
            return {"curl": too_long, "python": too_long}
        key_env = endpoint.key_env if endpoint.key() else None
        return {
            "curl": request_as_code.curl(endpoint.url, said.body, key_env=key_env),
            "python": request_as_code.python(endpoint.base_url, said.body, key_env=key_env),
        }
