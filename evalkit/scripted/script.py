"""What a scripted server is told to do: latency law, faults, answers."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

PROFILES = ("openai", "taskingai")
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
    """When each token is due, counted from the moment the whole request had been received and had a slot.

    Token ``i`` (from 0) is due at ``ttft + i · itl``; with jitter every one of these spans is multiplied by
    ``exp(jitter · z)``, ``z`` standard normal, so that its median stays. A whole answer is due with its last token.

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
        Requests answered at once; more wait for a slot, first come, first served. None: there is no end of slots. A
        slot comes free when its answer is due to be complete, or its client leaves; what is refused takes none.
    """

    ttft_ms: float = 0.0
    itl_ms: float = 0.0
    tokens: int = 20
    jitter: float = 0.0
    seed: int = 0
    slots: int | None = None

    def offsets(self, number: int, count: int) -> Sequence[int]:
        """Due times of ``count`` tokens of request ``number``, in ns after it had a slot."""
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
    """Something that goes wrong, and in which requests.

    Parameters
    ----------
    kind : str
        A name in ``scripted_faults.FAULTS`` or, for the profile ``taskingai``, ``scripted_taskingai.FAULTS``.
    share : float
        Part of the requests it hits, drawn by ``seed`` and request number; not used when ``numbers`` is given.
    numbers : collection of int, optional
        The chat-completion requests it hits, counted from 1 since the server started.
    seed : int
        For the draw.
    options : mapping
        Keyword arguments of that kind's function.
    prompt : str
        It hits only requests whose last user message holds this.
    times : int or None
        How many requests it hits at most; None: no limit.
    name : str
        What the log calls it; empty: its kind. The draw goes by it too.
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
        """Whether request ``number`` is one of those it hits; ``times`` is for the server to count."""
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
    """A function call to answer with; ``arguments`` is JSON text."""

    name: str
    arguments: str


Answer = str | Sequence[Call]


@dataclass(frozen=True, slots=True)
class Script:
    """Everything a scripted server does.

    Parameters
    ----------
    profile : str
        ``openai``: conforms fully. ``taskingai``: the habits of that service.
    law : Law
        When tokens are due.
    answer : callable, optional
        Request body (a dict) to a text, or to the calls to answer with. With the profile ``taskingai`` it is given
        what that service hands on to its model. None: ``tok0 tok1 …``, as many as the law says.
    faults : sequence of Fault
        The first that hits a request is the one it meets.
    key : str, optional
        The API key asked for; None: ``openai`` asks for none, ``taskingai`` takes any. In no repr.
    models : tuple of str
        The model names, or model and assistant ids, that exist; empty: all do.
    system : str
        Of ``taskingai`` only: the prompt of the assistants themselves.
    """

    profile: str = "openai"
    law: Law = Law()
    answer: Callable[[dict[str, Any]], Answer] | None = None
    faults: Sequence[Fault] = ()
    key: str | None = field(default=None, repr=False)
    models: tuple[str, ...] = ()
    system: str = ""

    @property
    def model(self) -> str:
        """A model name that this script answers to."""
        return (
            self.models[0] if self.models else {"taskingai": "X5lMscriptedassistant000"}.get(self.profile, "scripted")
        )

    def answer_to(self, body: dict[str, Any]) -> Answer:
        """What is said to a request."""
        if self.answer is not None:
            return self.answer(body)
        return _counted(self.law.tokens)


@lru_cache(maxsize=1024)
def _counted(tokens: int) -> str:
    return " ".join(f"tok{i}" for i in range(tokens))


@lru_cache(maxsize=1024)
def tokens_of(text: str) -> tuple[str, ...]:
    """Cut a text into the server's tokens: words, each with the white space before it."""
    return tuple(_TOKEN.findall(text))


def prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Count the prompt as the server does: the words of all string contents and text parts."""
    return sum(len(text_of(message).split()) for message in messages)


def text_of(message: Mapping[str, Any]) -> str:
    """Text of a message, be its content a string, a list of parts or null."""
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
    """Answers "What is the sum of 12 + 23?" and the like; the same question always gets the same answer.

    Parameters
    ----------
    wrong : float
        Part of the questions answered wrongly (by one too many).
    seed : int
        Which ones.
    """

    wrong: float = 0.0
    seed: int = 0

    def __call__(self, body: dict[str, Any]) -> str:
        """Work out the last two numbers joined by an operation."""
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
    """Answers with the request's number, so that a client can tell which entry of the log is its own; then words.

    The number is right as long as the server has been asked nothing but chat completions that it answers.

    Parameters
    ----------
    tokens : int
        Length of the answer, the number included.
    """

    tokens: int = 20
    asked: int = 0

    def __call__(self, body: dict[str, Any]) -> str:
        """Count the request."""
        self.asked += 1
        return f"{self.asked} {_counted(self.tokens - 1)}"


@dataclass(frozen=True, slots=True)
class Calling:
    """Calls the tools it is offered, then answers with what they returned.

    Parameters
    ----------
    calls : int
        How many of the offered tools are called at once, in their order.
    """

    calls: int = 1

    def __call__(self, body: dict[str, Any]) -> Answer:
        """Call while the last message is the user's; arguments are read off the schema and the question."""
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
