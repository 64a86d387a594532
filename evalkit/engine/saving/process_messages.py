"""What the asking process and its parent send each other: messages, each a named tuple and a line of JSON.

The first message to the asking process is its task. A line is a list whose first item is the name of the message. The
same lines are the spool, which may outlive both.
"""

from __future__ import annotations

import pickle
from base64 import b64decode, b64encode
from typing import Any, NamedTuple

import orjson

# -- to the asking process


class Start(NamedTuple):
    """The task, as ``pack`` has it; before it the asking process does nothing."""

    task: str


class Committed(NamedTuple):
    """So many turns of this session are in the run file."""

    turns: int


class Stop(NamedTuple):
    """Ask nothing new, for this reason: an ``Outcome``; ``stopped``: what is in flight has a few seconds."""

    outcome: str


class FunctionResult(NamedTuple):
    """What a function gave that was called for the model."""

    number: int
    text: str


# -- from it


class SessionStarted(NamedTuple):
    """The first request is about to go: the stamp, and the wall clock (ns)."""

    mono_ns: int
    wall_ns: int


class FinishedTurns(NamedTuple):
    """Turns that have ended.

    Each has the row of its conversation if it is the first of it, whether it is the last, its row, and those of its
    attempts.
    """

    turns: list[Any]


class RetractAnswer(NamedTuple):
    """An answer that was handed over may be half, and its turn will be asked again.

    Parameters
    ----------
    position, repeat, turn : int
    later : bool
        So will be all later ones, which have seen it.
    """

    position: int
    repeat: int
    turn: int
    later: bool


class CallFunction(NamedTuple):
    """A function is to be called for the model, with arguments as the model wrote them."""

    number: int
    function: str
    arguments: str


class End(NamedTuple):
    """The last message: all is asked that will be.

    Parameters
    ----------
    mono_ns : int
    outcome : str
        An ``Outcome``.
    trust : dict
    unusable : (int, str, str) or None
        Why the endpoint was given up: number of failures, kind and message of the first.
    error : str or None
        Class in ``errors`` of what went wrong; empty: a fault in evalkit; None: nothing did.
    error_text : str
    """

    mono_ns: int
    outcome: str
    trust: dict[str, Any]
    unusable: tuple[int, str, str] | None = None
    error: str | None = None
    error_text: str = ""


Message = (
    Start | Committed | Stop | FunctionResult | SessionStarted | FinishedTurns | RetractAnswer | CallFunction | End
)
_KINDS: dict[str, Any] = {
    "start": Start, "committed": Committed, "stop": Stop, "result": FunctionResult,
    "begun": SessionStarted, "turns": FinishedTurns, "doubted": RetractAnswer, "call": CallFunction, "end": End,
}  # fmt: skip
_NAMES = {kind: name for name, kind in _KINDS.items()}


class FrameReader:
    """Cuts what was read into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that end in these bytes."""
        *lines, self._rest = (self._rest + data if self._rest else data).split(b"\n")
        return [parse(line) for line in lines]


def frame(message: Message) -> bytes:
    """One message as bytes."""
    return orjson.dumps((_NAMES[type(message)], *message), option=orjson.OPT_APPEND_NEWLINE)


def parse(line: bytes) -> Message:
    """The message of a line.

    Raises
    ------
    ValueError, LookupError, TypeError
        It is none.
    """
    name, *values = orjson.loads(line)
    message: Message = _KINDS[name](*values)
    return message


def pack(task: Any) -> str:
    """An object for the other process, which is of the same version."""
    return b64encode(pickle.dumps(task)).decode("ascii")


def unpack(packed: str) -> Any:
    """What the parent packed: nothing else comes over this line."""
    return pickle.loads(b64decode(packed))  # noqa: S301
