"""Incomplete answers in sentences: how many there are, what they change, and whether they were sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from evalkit.wording.numbers import counted
from evalkit.wording.run_results import accuracy_with_interval

_KINDS = {
    "cut_off": ("cut-off answer", "cut-off answers"),
    "unconfirmed": ("unconfirmed answer", "unconfirmed answers"),
}


def effects(result: Mapping[str, Any]) -> Iterator[str]:
    """What incomplete answers change in the accuracy: ``incomplete`` and ``accuracy`` of ``--json``."""
    for kind, names in _KINDS.items():
        found = result["incomplete"][kind]
        if not found["answers"] or result["accuracy"]["value"] is None:
            continue
        name = f"the {names[0]}" if found["answers"] == 1 else f"the {found['answers']:,} {names[1]}"
        with_them = accuracy_with_interval(result["accuracy"])
        if found["accuracy_without"]["value"] is None:
            yield f"accuracy with {name}: {with_them}; without {_them(found)} no scored answer is left"
        else:
            without = accuracy_with_interval(found["accuracy_without"])
            yield f"accuracy with {name}: {with_them}; without {_them(found)}: {without}"


def how_to_send_again(result: Mapping[str, Any], resume: str, quoted: Callable[[str], str] = str) -> str | None:
    """The command that sends cut-off answers again; None: there are none, or the run was imported.

    ``resume``: the command that resumes the run; ``quoted`` makes it safe for the text it is put into.
    """
    count = result["incomplete"]["cut_off"]["answers"]
    if not count or result["imported"] is not None:
        return None
    command = quoted(f"{resume} --cut-off --max-tokens N")
    return f"to send {'it' if count == 1 else 'them'} again with a higher limit: {command}"


def sent_again(result: Mapping[str, Any]) -> Iterator[str]:
    """Which cut-off answers were sent again, and how: ``raised_limits`` of ``--json``."""
    for limit in result["raised_limits"]:
        before = "no limit of the request" if limit["before"] is None else f"{limit['before']:,}"
        later = limit["turns"] - limit["answers"]
        saw = f", and {counted(later, 'later turn')} that saw {_it(limit['answers'])}" if later else ""
        verb = "was" if limit["turns"] == 1 else "were"
        yield (
            f"{counted(limit['answers'], 'cut-off answer')}{saw} {verb} sent again with a limit of {limit['after']:,} "
            f"tokens (before: {before}): the new answers count"
        )


def _them(found: Mapping[str, Any]) -> str:
    return "it" if found["answers"] == 1 else "them"


def _it(count: int) -> str:
    return "it" if count == 1 else "them"
