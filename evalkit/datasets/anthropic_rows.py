"""Messages, tools and parameters in Anthropic's form and others, as the chat completions API has them.

Content blocks become content parts, tool_use blocks calls, and each tool_result block a tool message. A block that the
model should see and that has no such form, such as a document, is refused. Thinking blocks are left out: a model is not
shown those of earlier answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from evalkit.datasets.field_checks import list_in, object_in, shortened, text_in, within
from evalkit.datasets.row_format import Row, read_as
from evalkit.errors import DatasetError

_BLOCKS = ("tool_use", "tool_result", "thinking", "redacted_thinking")
_WITH_SOURCE = ("image", "document", "search_result")  # without a source, a part of another API
_UNSEEN = ("thinking", "redacted_thinking")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def is_anthropic(row: Mapping[str, Any]) -> bool:
    """Whether a row with messages has something that only Anthropic's form has."""
    messages, tools = row.get("messages"), row.get("tools")
    return (
        isinstance(row.get("system"), list)
        or "stop_sequences" in row
        or (isinstance(tools, list) and any(isinstance(tool, dict) and "input_schema" in tool for tool in tools))
        or (isinstance(messages, list) and any(map(_has_blocks, messages)))
    )


def _has_blocks(message: Any) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    return isinstance(content, list) and any(_is_block(part) for part in content)


def _is_block(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    name = part.get("type")
    return name in _BLOCKS or (name in _WITH_SOURCE and "source" in part)


def plain_request(row: Row) -> Row:
    """A row, or the parameters of a request, in Anthropic's form with the names and values of chat completions."""
    changed = dict(row)
    if isinstance(changed.get("system"), list):
        changed["system"] = "\n".join(_texts(changed["system"], "system"))
    if "stop_sequences" in changed and changed.get("stop") is None:
        changed["stop"] = changed.pop("stop_sequences")
    for key in ("tools", "functions"):
        text = changed.get(key)
        if isinstance(text, str) and text.lstrip().startswith("["):  # as Parquet files hold them
            changed[key] = _parsed(text, key)
    tools = changed.get("tools")
    if isinstance(tools, list):
        changed["tools"] = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(tools)]
    choice = changed.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") in (*_CHOICES, "tool"):
        named = {"type": "function", "function": {"name": choice.get("name")}}
        changed["tool_choice"] = _CHOICES.get(choice["type"], named)
        if choice.get("disable_parallel_tool_use"):
            changed["parallel_tool_calls"] = False
    return changed


def _parsed(text: str, field: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise DatasetError("is text that is not JSON", field=field) from None


def _tool(tool: Any, field: str) -> Any:
    """A tool in the form of chat completions; one of no known form is refused when the row is read."""
    if not isinstance(tool, dict) or "function" in tool:
        return tool
    if "name" in tool and tool.get("type", "function") in ("function", "custom"):
        function = {key: tool[key] for key in ("name", "description", "strict", "parameters") if key in tool}
        if "input_schema" in tool:
            function["parameters"] = tool["input_schema"]
        return {"type": "function", "function": function}
    if isinstance(tool.get("type"), str):
        raise DatasetError(f"is a tool of the type {shortened(tool['type'])}: only functions can be sent", field=field)
    return tool


def plain_messages(message: Mapping[str, Any]) -> list[Row]:
    """A message with content blocks as one or more messages of chat completions.

    Raises
    ------
    DatasetError
        A block cannot be sent; ``field`` is its place in the message.
    """
    if not _has_blocks(message):
        return [dict(message)]
    results: list[Row] = []
    parts: list[Row] = []
    calls: list[Row] = []
    for at, block in enumerate(message["content"]):
        field = f"content[{at}]"
        name = block.get("type") if isinstance(block, dict) else None
        if name == "tool_use":
            calls.append(_call(block, field))
        elif name == "tool_result":
            results.append(_result(block, field))
        elif name == "image" and "source" in block:
            parts.append(_image(block, field))
        elif name in _WITH_SOURCE and "source" in block:
            raise DatasetError(f"is a {name} block, which chat completions cannot send: write it as text", field=field)
        elif name not in _UNSEEN:
            parts.append(block)
    plain = {key: value for key, value in message.items() if key != "content"}
    if calls:
        return [{**plain, "content": parts or None, "tool_calls": calls}]
    rest = [{**plain, "content": parts}] if parts or not results else []
    return [*results, *rest]


def _call(block: Mapping[str, Any], field: str) -> Row:
    name = read_as(text_in, block.get("name"), f"{field}.name")
    arguments = read_as(object_in, block.get("input") or {}, f"{field}.input")
    function = {"name": name, "arguments": orjson.dumps(arguments).decode()}
    return {"id": block.get("id"), "type": "function", "function": function}


def _result(block: Mapping[str, Any], field: str) -> Row:
    content = block.get("content")
    if isinstance(content, list):
        content = "\n".join(_texts(content, f"{field}.content"))
    return {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": content or ""}


def _image(block: Mapping[str, Any], field: str) -> Row:
    source = read_as(object_in, block["source"], f"{field}.source")
    if source.get("type") == "base64":
        media, data = (read_as(text_in, source.get(key), f"{field}.source.{key}") for key in ("media_type", "data"))
        return {"type": "image_url", "image_url": {"url": f"data:{media};base64,{data}"}}
    if source.get("type") == "url":
        return {"type": "image_url", "image_url": {"url": source.get("url")}}
    raise DatasetError("can be sent only as base64 or by its url", field=f"{field}.source.type")


def _texts(blocks: Any, field: str) -> Iterator[str]:
    """The texts of blocks that can be nothing else."""
    for at, block in enumerate(read_as(list_in, blocks, field)):
        if isinstance(block, str):
            yield block
            continue
        try:
            name = object_in(block).get("type")
            if name != "text":
                raise DatasetError(f"is a {shortened(str(name))} block, and only text can be here")
            yield text_in(block.get("text"))
        except DatasetError as error:
            raise within(f"{field}[{at}]", error) from None
