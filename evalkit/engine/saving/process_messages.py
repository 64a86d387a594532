"""Messages between the asking process and its parent: each is a named tuple, sent as a line of JSON.

The first message to the asking process is its task. A line is a list whose first item is the name of the message. The
spool holds the same lines, and may be read by a later version: names and fields of ``SessionStarted`` and
``FinishedTurns`` stay as they are.
"""

from __future__ import annotations

import pickle
from base64 import b64decode, b64encode
from typing import Any, NamedTuple

import orjson

# -- to the asking process


class Start(NamedTuple):
    """The task, made by ``pack``; the asking process does nothing before it."""

    task: str


class Committed(NamedTuple):
    """How many turns of this session are in the run file."""

    turns: int


class Stop(NamedTuple):
    """Send nothing new, for this ``SessionOutcome``; ``stopped``: requests in flight have a few seconds."""

    outcome: str


class Conversations(NamedTuple):
    """Conversations to send, for an asking process that does not read the dataset itself.

    Each is a list: position; its row; repeat; the records of its answered turns, made by ``pack``, or None; when it is
    due, in ns on the clock of the run file's machine, or None: in its turn.
    """

    items: list[Any]


class NoMore(NamedTuple):
    """There are no further conversations: end once those received have been sent."""


class Share(NamedTuple):
    """The share that one asking process has of the run's limits, from now on.

    Parameters
    ----------
    slots : int
        Conversations in parallel, at least 1.
    rpm, tpm : float or None
    spent_tokens, spent_cost : float
        What the other asking processes have spent so far.
    """

    slots: int
    rpm: float | None = None
    tpm: float | None = None
    spent_tokens: float = 0.0
    spent_cost: float = 0.0


class FunctionResult(NamedTuple):
    """The result of a function that was called for the model."""

    number: int
    text: str


# -- from the asking process


class SessionStarted(NamedTuple):
    """The first request is about to be sent: monotonic clock and wall clock (ns)."""

    mono_ns: int
    wall_ns: int


class FinishedTurns(NamedTuple):
    """Turns that have ended.

    Each is a list: the row of its conversation if it is the first of it, else None; whether it is the last of it; the
    row of the turn; the rows of its attempts.
    """

    turns: list[Any]


class RetractAnswer(NamedTuple):
    """An answer sent before may be incomplete, and its turn will be sent again.

    Parameters
    ----------
    position, repeat, turn : int
    later : bool
        So will all later turns, which saw it.
    """

    position: int
    repeat: int
    turn: int
    later: bool


class Spent(NamedTuple):
    """What the asking process has spent so far, where the run has a cap and several processes share it."""

    tokens: float
    cost: float


class CallFunction(NamedTuple):
    """Call a function for the model, with the arguments as the model wrote them."""

    number: int
    function: str
    arguments: str


class End(NamedTuple):
    """The last message: nothing more will be sent.

    Parameters
    ----------
    mono_ns : int
    outcome : str
        A ``SessionOutcome``.
    trust : dict
    unusable : (int, str, str) or None
        Why the session gave up on the endpoint: number of failures, kind and message of the first.
    error : str or None
        Name of the error's class in ``errors``; empty: a bug in evalkit; None: no error.
    error_text : str
    """

    mono_ns: int
    outcome: str
    trust: dict[str, Any]
    unusable: tuple[int, str, str] | None = None
    error: str | None = None
    error_text: str = ""


Message = (
    Start | Committed | Stop | Conversations | NoMore | Share | FunctionResult
    | SessionStarted | FinishedTurns | RetractAnswer | Spent | CallFunction | End
)  # fmt: skip
_KINDS: dict[str, Any] = {
    "start": Start, "committed": Committed, "stop": Stop, "result": FunctionResult,
    "conversations": Conversations, "no_more": NoMore, "share": Share,
    "begun": SessionStarted, "turns": FinishedTurns, "retract": RetractAnswer, "spent": Spent, "call": CallFunction,
    "end": End,
}  # fmt: skip
_NAMES = {kind: name for name, kind in _KINDS.items()}


class FrameReader:
    """Splits received bytes into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages completed by these bytes."""
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
        The line is not a message.
    """
    name, *values = orjson.loads(line)
    message: Message = _KINDS[name](*values)
    return message


def pack(task: Any) -> str:
    """Encode an object for the other process, which runs the same version."""
    return b64encode(pickle.dumps(task)).decode("ascii")


def unpack(packed: str) -> Any:
    """Decode what the parent packed; this connection carries nothing else."""
    return pickle.loads(b64decode(packed))  # noqa: S301
