"""Chat messages of other tools as a native row, an answer and the tool rounds before it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.conversation import Message, ToolCall
from evalkit.datasets.field_checks import list_in, object_in, text_in, within
from evalkit.datasets.native_rows import read_message
from evalkit.errors import DatasetError
from evalkit.record import Answer

REASONING = ("reasoning_content", "reasoning")


def row_of(name: str, messages: Sequence[Mapping[str, Any]], target: Any = None) -> dict[str, Any]:
    """A native row of one turn, the last user message; what is before it becomes system prompt and context.

    Raises
    ------
    DatasetError
        There is no user message.
    """
    last = _last_question(messages)
    if last is None:
        raise DatasetError("hold no user message: there is no question")
    context = [dict(message) for message in messages[:last]]
    turn: dict[str, Any] = {"user": messages[last].get("content")}
    if target is not None:
        turn["target"] = target
    row: dict[str, Any] = {"id": name}
    if context and context[0].get("role") == "system" and isinstance(context[0].get("content"), str):
        row["system"] = context.pop(0)["content"]
    if context:
        row["context"] = context
    return {**row, "turns": [turn]}


def exchange_of(messages: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """The messages of tool rounds: all after the last user message but the last answer."""
    last = _last_question(messages)
    after = [] if last is None else list(messages[last + 1 :])
    if after and after[-1].get("role") == "assistant":
        after.pop()
    return tuple(map(read_message, after))


def _last_question(messages: Sequence[Mapping[str, Any]]) -> int | None:
    """The place of the last user message."""
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].get("role") == "user":
            return at
    return None


def answer_of(message: Mapping[str, Any], finish_reason: str | None) -> Answer:
    """The answer in an assistant message of a chat completion.

    Raises
    ------
    DatasetError
        A wrong type; ``field`` says where.
    """
    text, reasoning = text_and_reasoning(message.get("content"))
    calls = tuple(_call(call) for call in list_in(message.get("tool_calls") or []))
    named = next((message[name] for name in REASONING if isinstance(message.get(name), str)), "")
    refusal = message.get("refusal")
    return Answer(text, reasoning or named, refusal if isinstance(refusal, str) else None, calls, finish_reason)


def text_and_reasoning(content: Any, left_out: Counter[str] | None = None) -> tuple[str, str]:
    """The text of a message's content, with a note for each part that is no text, and its reasoning."""
    if content is None or isinstance(content, str):
        return content or "", ""
    texts, reasoning = [], []
    for number, part in enumerate(list_in(content, "text or a list of parts")):
        if isinstance(part, str):
            texts.append(part)
            continue
        try:
            kind = text_in(object_in(part).get("type"))
            if kind in ("text", "output_text", "input_text"):
                texts.append(text_in(part.get("text")))
            elif kind in ("reasoning", "thinking"):
                reasoning.append(text_in(part.get("reasoning") or part.get("thinking") or ""))
            else:
                texts.append(f"[{kind}]")
                if left_out is not None:
                    left_out[f"content parts of the kind {kind[:40]} are only noted"] += 1
        except DatasetError as error:
            raise within(f"content[{number}]", error) from None
    return "\n".join(texts), "\n".join(reasoning)


def call_of(name: str, arguments: Any, identity: Any) -> dict[str, Any]:
    """A call as an assistant message holds it; arguments may be an object or JSON text."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {
        "id": identity if isinstance(identity, str) else None,
        "type": "function",
        "function": {"name": name, "arguments": text},
    }


def _call(call: Any) -> ToolCall:
    function = object_in(object_in(call).get("function"))
    name, arguments = text_in(function.get("name")), function.get("arguments", "")
    return ToolCall.from_json(call_of(name, arguments, call.get("id")))
