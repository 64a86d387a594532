"""Requests whose texts a shell, a terminal or a JSON reader could misread, made from a seed."""

import json
import random

import orjson

from evalkit.client.request_as_code import ReachedBy
from evalkit.replaying.chat_request import ChatRequest

PIECES = (
    "it's", '"q"', "`id`", "$(touch owned)", "$HOME", "${PATH}", "\\", "\\n", "\n", "\r\n", "\r", "\t", "\0", "!", "!!",
    "%s", "%%", "%", "\\045", "\\x41", "🙂", "é", "שלום", "中", "\u2028", "\u2029", "\u202e", "\u200b", "\x7f", "\x9b",
    "\x81", "\x88", "\xa0", "\ufeff", "\U000e0041", "END", "EOF\n", "'\\''", "';", "&& rm", "| sh", "> x", "#", "~",
    "*", "{a,b}", "[1-3]", "<<", "a b", " ", "", "-", "@file", "=", "&", "$'\\n'", "\x1b[31m", "</script>", "^", "^\n",
    "`\n", "\\\n", "\\ \n", "“", "”", "$", "$$", "$1", "x" * 300,
)  # fmt: skip
SURROGATES = ("\ud800", "\udfff", "\udc80")


def hostile_text(chance: random.Random) -> str:
    """A text of several pieces, in any order."""
    return "".join(chance.choice(PIECES) for _ in range(chance.randrange(1, 12)))


def hostile_request(url: str, seed: int) -> ChatRequest:
    """A request; every tenth is too long for an argument, every fifth has halves of surrogate pairs as JSON escapes."""
    chance = random.Random(seed)
    text = hostile_text(chance) * (1 if seed % 10 else 130_000)
    text = text[:140_000]
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": hostile_text(chance)}]
    body = {"model": "m", "messages": [*messages, {"role": "user", "content": hostile_text(chance)}]}
    if chance.random() < 0.5:
        body["stream"] = chance.random() < 0.5
    if seed % 5 == 0:
        body["stop"] = [chance.choice(SURROGATES)]
        packed = json.dumps(body).encode()
    else:
        packed = (
            orjson.dumps(body) if chance.random() < 0.7 else json.dumps(body, indent=1, ensure_ascii=False).encode()
        )
    headers = {"X-Note": 'it\'s $(id) `id` "q" \\ %s !'} if chance.random() < 0.3 else {}
    key_env = "THE_KEY" if chance.random() < 0.5 else None
    return ChatRequest(url, packed, key_env, ReachedBy(headers))
