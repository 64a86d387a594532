"""The script of a scripted server: its latency law, its faults and its answers."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from evalkit.errors import SettingsError

PROFILES = ("openai", "taskingai")
_LONGEST_MS = 366 * 86_400_000  # a year: times are nanoseconds, and a longer wait is none
_TOKEN = re.compile(r"\s*\S+|\s+")
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_INFIX = re.compile(rf"{_NUMBER}\s*([+*/×÷−-]|plus|minus|times|divided by)\s*{_NUMBER}")
_NAMED = re.compile(rf"(sum|difference|product|quotient)\s+(?:of|between)\s+{_NUMBER}\s+and\s+{_NUMBER}")
_OPERATION = {
    "+": "sum", "plus": "sum", "-": "difference", "−": "difference", "minus": "difference",
    "*": "product", "×": "product", "times": "product", "/": "quotient", "÷": "quotient", "divided by": "quotient",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Law:
    """The latency law: when each token is due, from the time the whole request is received and has a slot.

    Token ``i`` (from 0) is due at ``ttft + i · itl``; with jitter each of these spans is multiplied by
    ``exp(jitter · z)``, ``z`` standard normal, which keeps its median. A whole answer is due with its last token.

    Parameters
    ----------
    ttft_ms, itl_ms : float
        Time to the first token, and between tokens, in ms.
    tokens : int
        Length of the default answer.
    jitter : float
        Standard deviation of the logarithm of a span; 0: none.
    seed : int
        The same seed and request number give the same times.
    slots : int or None
        Requests answered in parallel; others wait for a slot in the order of arrival. None: no limit. A slot is free
        again when its answer is due to be complete or its client leaves; refused requests use none.
    """

    ttft_ms: float = 0.0
    itl_ms: float = 0.0
    tokens: int = 20
    jitter: float = 0.0
    seed: int = 0
    slots: int | None = None

    def check(self) -> None:
        """Check that a server can answer by this law.

        Raises
        ------
        SettingsError
            A time, a length or the number of slots is not valid; the message names it.
        """
        for name, most in (("ttft_ms", _LONGEST_MS), ("itl_ms", _LONGEST_MS), ("jitter", 100)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise SettingsError(f"{name} is {value!r}: it must be a number from 0 to {most:,}")
        if type(self.tokens) is not int or self.tokens < 1:
            raise SettingsError(f"tokens is {self.tokens!r}: it must be a whole number, 1 or more")
        if self.slots is not None and type(self.slots) is not int:
            raise SettingsError(f"slots is {self.slots!r}: it must be a whole number, 1 or more, or None for no limit")
        if self.slots is not None and self.slots < 1:
            raise SettingsError(f"a server with {self.slots} slots would never answer: give it 1 or more")

    def offsets(self, number: int, count: int) -> Sequence[int]:
        """Due times of ``count`` tokens of request ``number``, in ns after it got a slot."""
        first, step = self.ttft_ms * 1e6, self.itl_ms * 1e6
        if not self.jitter:
            return _even(first, step, count)
        draw = random.Random(f"law {self.seed} {number}")  # noqa: S311  a schedule, not a secret
        due, times = 0.0, []
        for i in range(count):
            due += (step if i else first) * math.exp(self.jitter * draw.gauss(0.0, 1.0))
            times.append(round(due))
        return times


@lru_cache(maxsize=1024)
def _even(first: float, step: float, count: int) -> Sequence[int]:
    return tuple(round(first + i * step) for i in range(count))


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and the requests it applies to.

    Parameters
    ----------
    kind : str
        A name in ``faults.FAULTS`` or, for the profile ``taskingai``, in ``taskingai_faults.FAULTS``.
    share : float
        Share of the requests it hits, drawn from ``seed`` and request number; ignored when ``numbers`` is given.
    numbers : collection of int, optional
        The chat-completion requests it hits, counted from 1 since the server started.
    seed : int
        Seed of the draw.
    options : mapping
        Keyword arguments of the fault's function.
    prompt : str
        It hits only requests whose last user message contains this text.
    times : int or None
        The maximal number of requests it hits; None: no limit.
    name : str
        Its name in the log, which also enters the draw; empty: its kind.
    """

    kind: str
    share: float = 1.0
    numbers: Collection[int] | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = ""
    times: int | None = None
    name: str = ""

    def hits(self, number: int, prompt: str = "") -> bool:
        """Whether it hits request ``number``; the server itself counts ``times``."""
        if self.prompt not in prompt:
            return False
        if self.numbers is not None:
            return number in self.numbers
        if self.share >= 1:
            return True
        draw = random.Random(f"fault {self.seed} {self.name or self.kind} {number}")  # noqa: S311
        return draw.random() < self.share


@dataclass(frozen=True, slots=True)
class Call:
    """A function call as an answer; ``arguments`` is JSON text."""

    name: str
    arguments: str


ScriptedAnswer = str | Sequence[Call]


@dataclass(frozen=True, slots=True)
class Script:
    """Everything a scripted server does.

    Parameters
    ----------
    profile : str
        ``openai``: conforms to the reference. ``taskingai``: behaves as that service does.
    law : Law
        When tokens are due.
    answer : callable, optional
        Accepts a request body (a dict) and returns a text, or the calls to answer with. With the profile ``taskingai``
        it receives the body that the service sends to its model. None: ``tok0 tok1 …``, ``law.tokens`` of them.
    faults : sequence of Fault
        The first that hits a request is applied.
    key : str, optional
        The API key required; None: ``openai`` requires none, ``taskingai`` accepts any. Not in the repr.
    models : tuple of str
        The model names, or model and assistant ids, that exist; empty: all do.
    system : str
        The assistants' own prompt; for ``taskingai`` only.
    """

    profile: str = "openai"
    law: Law = Law()
    answer: Callable[[dict[str, Any]], ScriptedAnswer] | None = None
    faults: Sequence[Fault] = ()
    key: str | None = field(default=None, repr=False)
    models: tuple[str, ...] = ()
    system: str = ""

    @property
    def model(self) -> str:
        """A model name that exists in this script."""
        return (
            self.models[0] if self.models else {"taskingai": "X5lMscriptedassistant000"}.get(self.profile, "scripted")
        )

    def answer_to(self, body: dict[str, Any]) -> ScriptedAnswer:
        """The answer to a request."""
        if self.answer is not None:
            return self.answer(body)
        return _counted(self.law.tokens)


@lru_cache(maxsize=1024)
def _counted(tokens: int) -> str:
    return " ".join(f"tok{i}" for i in range(tokens))


@lru_cache(maxsize=1024)
def tokens_of(text: str) -> tuple[str, ...]:
    """Split a text into the server's tokens: words, each with the white space before it."""
    return tuple(_TOKEN.findall(text))


def prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """The server's count of prompt tokens: the words of all string contents and text parts."""
    return sum(len(text_of(message).split()) for message in messages)


def text_of(message: Mapping[str, Any]) -> str:
    """Text of a message whose content is a string, a list of parts or null."""
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def last_user_text(body: Mapping[str, Any]) -> str:
    """Text of the last user message; empty when there is none."""
    return next((text_of(m) for m in reversed(body["messages"]) if m.get("role") == "user"), "")


def echo(body: dict[str, Any]) -> str:
    """Answer with the last user message."""
    return last_user_text(body)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Answers questions such as "What is the sum of 12 + 23?"; the same question always gets the same answer.

    Parameters
    ----------
    wrong : float
        Share of the questions answered wrongly (the result is one too large).
    seed : int
        Selects these questions.
    """

    wrong: float = 0.0
    seed: int = 0

    def __call__(self, body: dict[str, Any]) -> str:
        """Calculate with the last two numbers that an operation joins."""
        question = last_user_text(body)
        name, left, right = self._read(question)
        if name is None:
            return "I see no sum to work out here."
        value = {
            "sum": lambda: left + right,
            "difference": lambda: left - right,
            "product": lambda: left * right,
            "quotient": lambda: left / right if right else math.nan,
        }[name]()
        if random.Random(f"wrong {self.seed} {question}").random() < self.wrong:  # noqa: S311
            value += 1
        return f"The {name} of {left:g} and {right:g} is {value:.10g}."

    @staticmethod
    def _read(question: str) -> tuple[str | None, float, float]:
        if found := _NAMED.findall(question):
            name, left, right = found[-1]
            return name, float(left), float(right)
        if found := _INFIX.findall(question):
            left, sign, right = found[-1]
            return _OPERATION[sign], float(left), float(right)
        return None, 0.0, 0.0


@dataclass(slots=True)
class Numbered:
    """Answers with the request's number, so that a client can find its own entry in the log, and then words.

    The number is right as long as the server receives only chat-completion requests that it answers.

    Parameters
    ----------
    tokens : int
        Length of the answer, the number included.
    """

    tokens: int = 20
    count: int = 0

    def __call__(self, body: dict[str, Any]) -> str:
        """Count the request."""
        self.count += 1
        return f"{self.count} {_counted(self.tokens - 1)}"


@dataclass(frozen=True, slots=True)
class Calling:
    """Calls the tools offered in the request, then answers with their results.

    Parameters
    ----------
    calls : int
        How many of the offered tools are called in parallel, in their order.
    """

    calls: int = 1

    def __call__(self, body: dict[str, Any]) -> ScriptedAnswer:
        """Call tools while the last message is the user's; arguments come from the schema and the question."""
        last = body["messages"][-1]
        offered = [tool["function"] for tool in body.get("tools") or ()] or body.get("functions") or ()
        if last.get("role") in ("tool", "function"):
            return f"The tool says: {text_of(last)}"
        if not offered:
            return "There is no tool to call."
        question = last_user_text(body)
        return [
            Call(tool["name"], _arguments(tool.get("parameters") or {}, question)) for tool in offered[: self.calls]
        ]


def _arguments(schema: Mapping[str, Any], question: str) -> str:
    """An argument for every property: first enum value, number in the question, or last capitalised word of it."""
    words = re.findall(r"\b[A-Z]\w*", question) or ["x"]
    number = float(next(iter(re.findall(_NUMBER, question)), 1))
    example = {"number": number, "integer": int(number), "boolean": True, "array": [], "object": {}}
    return orjson.dumps(
        {
            name: (rule.get("enum") or [example.get(rule.get("type"), words[-1])])[0]
            for name, rule in schema.get("properties", {}).items()
        }
    ).decode()
