"""The ids under which other tools know a turn: that of its conversation, with turn and repeat where there are several.

``sum-012`` is the only turn of a conversation in its first repeat, ``sum-012/turn-2/repeat-3`` the second of several in
its third.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_NUMBERED = r"(?s)(.*)/{}-([1-9]\d{{0,6}})"
_TURN, _REPEAT = (re.compile(_NUMBERED.format(name)) for name in ("turn", "repeat"))


def request_id(conversation: str, turn: int, turns: int, repeat: int = 1) -> str:
    """The id of a turn; ``turns``: how many its conversation has."""
    of_turn = f"/turn-{turn}" if turns > 1 else ""
    return f"{conversation}{of_turn}" + (f"/repeat-{repeat}" if repeat > 1 else "")


def places_of(name: str) -> Iterator[tuple[str, int | None, int]]:
    """What an id may stand for: conversation, turn, repeat. A turn of None is the only one of its conversation."""
    yield name, None, 1
    repeat = 1
    if found := _REPEAT.fullmatch(name):
        name, repeat = found[1], int(found[2])
        yield name, None, repeat
    if found := _TURN.fullmatch(name):
        yield found[1], int(found[2]), repeat
