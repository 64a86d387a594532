"""A request as a cURL command and as a Python program; safe to copy: it does nothing more than it shows."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

# parameters that the official client accepts by name; others go into ``extra_body``
_NAMED = (
    "model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens", "max_completion_tokens",
    "stop", "seed", "tools", "tool_choice", "response_format", "presence_penalty", "frequency_penalty",
)  # fmt: skip
# the key variable in reports: the run file, which names one, may come from a stranger, and so may its address
KEY_VARIABLE = "API_KEY"
_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def curl(url: str, body: Mapping[str, Any], *, key_env: str | None = None) -> str:
    """A request as a command for a POSIX shell.

    Parameters
    ----------
    url : str
        Address of the chat-completion route.
    body : mapping
        The request's JSON.
    key_env : str, optional
        NAME of the environment variable that holds the key; the command contains this name.
    """
    lines = [
        f"curl {'-N ' if body.get('stream') else ''}{shlex.quote(_encoded(url))}",
        "-H 'Content-Type: application/json'",
    ]
    if key_env is not None:
        # a shell expands the variable in double quotes; printenv reads names that are not valid in a shell
        named = f"${key_env}" if _SHELL_NAME.fullmatch(key_env) else f"$(printenv {shlex.quote(key_env)})"
        lines.append(f'-H "Authorization: Bearer {named}"')
    lines.append(f"--data-raw {_single_quoted(_visible(json.dumps(body, ensure_ascii=False, indent=1)))}")
    return " \\\n  ".join(lines)


def python(base_url: str, body: Mapping[str, Any], *, key_env: str | None = None) -> str:
    """A request as a Python program that uses the official client and prints the answer.

    Parameters
    ----------
    base_url : str
    body : mapping
        The request's JSON.
    key_env : str, optional
        NAME of the environment variable that holds the key.
    """
    key = "'no-key'" if key_env is None else f"os.environ[{key_env!r}]"
    lines = ["import os", ""] if key_env is not None else []
    lines += ["from openai import OpenAI", "", f"client = OpenAI(base_url={_encoded(base_url)!r}, api_key={key})"]
    lines.append("answer = client.chat.completions.create(")
    lines += [f"    {name}={_literal(body[name])}," for name in _NAMED if name in body]
    others = {name: value for name, value in body.items() if name not in _NAMED}
    if others:
        lines.append(f"    extra_body={_literal(others)},")
    lines.append(")")
    if body.get("stream"):
        lines += ["for chunk in answer:", "    if chunk.choices:"]
        lines.append("        print(chunk.choices[0].delta.content or '', end='', flush=True)")
    else:
        lines.append("print(answer.choices[0].message.content)")
    return "\n".join(lines)


def _literal(value: Any) -> str:
    """A Python literal, a list with one item per line; ``repr`` escapes invisible characters."""
    if isinstance(value, list) and value:
        return "[\n" + "".join(f"        {item!r},\n" for item in value) + "    ]"
    return repr(value)


def _visible(text: str) -> str:
    """JSON with invisible characters escaped, such as marks that change the direction of text.

    ``curl_command.js`` writes the same command by the same rule.
    """
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _encoded(url: str) -> str:
    """An address with invisible characters, including line breaks, percent-encoded."""
    return "".join(c if c.isprintable() else quote(c, errors="replace") for c in url)


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"


def _single_quoted(text: str) -> str:
    """Text in single quotes, where a POSIX shell interprets nothing but the single quote."""
    return "'" + text.replace("'", "'\\''") + "'"
