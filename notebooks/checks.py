"""Checks the exercises of the course and keeps your progress.

    from checks import check, progress
    check("01.1", answer_text)      # "Right.", or a hint
    progress()                      # what you have solved so far

The exercises themselves are in ``exercises/``, one file for each notebook. A check never raises: whatever a value is,
the result is a verdict in words.
"""

import copy
import hashlib
import json
import math
import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
PROGRESS = FOLDER / ".progress.json"  # on your machine only; delete it to start over


@dataclass(frozen=True)
class Verdict:
    """``Right.``, or ``Not yet:`` and a hint."""

    hint: str | None

    @property
    def right(self) -> bool:
        return self.hint is None

    def __repr__(self) -> str:
        return "Right." if self.hint is None else f"Not yet: {self.hint}"


@dataclass(frozen=True)
class Value:
    """One value, known only by its salted hash.

    ``digits`` rounds a number before it is compared; ``hints`` maps the hash of a likely mistake to what to say of it.
    """

    kind: type
    digest: str
    otherwise: str
    hints: Mapping[str, str] = field(default_factory=dict)
    digits: int = 6

    def hint(self, number: str, value: Any) -> str | None:
        problem = _wrong_type(value, self.kind)
        if problem is not None:
            return problem
        found = digest(number, value, self.digits)
        return None if found == self.digest else self.hints.get(found, self.otherwise)


@dataclass(frozen=True)
class Function:
    """A function, called with each case: its arguments, what it must return, and a hint for when it does not."""

    cases: Sequence[tuple[tuple[Any, ...], Any, str]]

    def hint(self, number: str, value: Any) -> str | None:
        if not callable(value):
            return f"a function is expected, and this is {_named(value)}: give its name, without brackets."
        returns = False  # whether it has returned anything: then a `return` is there
        for arguments, expected, hint in self.cases:
            given = ", ".join(_short(argument) for argument in arguments)
            try:
                returned = value(*copy.deepcopy(arguments))
            except (Exception, SystemExit) as error:
                return f"your function raised {type(error).__name__} ({error}) when called with {given}: {hint}"
            if returned is None and expected is not None:
                why = hint if returns else "is a `return` missing?"
                return f"your function returned None when called with {given}: {why}"
            if not _same(returned, expected):
                return _other_kind(returned, expected) or hint
            returns = returns or returned is not None
        return None


@dataclass(frozen=True)
class Rule:
    """A value of one kind that a function looks at: it returns a hint, or None where the value is right."""

    kind: type
    find: Callable[..., str | None]

    def hint(self, number: str, value: Any, **context: Any) -> str | None:
        return _wrong_type(value, self.kind) or self.find(value, **context)


def check(number: str, value: Any, **context: Any) -> Verdict:
    """Check an exercise, such as ``"01.2"``, and remember it when it is right."""
    try:
        exercise = exercises(number[:2])[number]
    except (ImportError, KeyError, TypeError):
        return Verdict(f"there is no exercise {number!r}.")
    try:
        verdict = Verdict(exercise.hint(number, value, **context))
    except (Exception, SystemExit) as error:
        verdict = Verdict(f"the value could not be checked ({type(error).__name__}: {error}). Is it of the right kind?")
    if verdict.right and Path.cwd() == FOLDER:  # not where the solutions are run
        _remember(number)
    return verdict


def exercises(notebook: str) -> Mapping[str, Value | Function | Rule]:
    """The exercises of a notebook, such as ``"01"``, by number."""
    return import_module(f"exercises.nb{notebook}").EXERCISES


def digest(number: str, value: Any, digits: int = 6) -> str:
    """The salted hash of a value; numbers are rounded, text is compared without its case and outer blanks."""
    text = json.dumps(_plain(value, digits), sort_keys=True)
    return hashlib.sha256(f"evalkit course {number} {text}".encode()).hexdigest()[:16]


class Progress:
    """How many exercises of each notebook are solved."""

    def __init__(self) -> None:
        solved = _solved()
        names = sorted(path.stem for path in FOLDER.glob("[0-9][0-9]-*.ipynb"))
        self.rows = []
        for name in names:
            try:
                known = exercises(name[:2])
            except ImportError:
                continue
            self.rows.append((name, sum(number in solved for number in known), len(known)))

    def __repr__(self) -> str:
        lines = [f"{name:32} {'●' * done + '○' * (of - done):6} {done} of {of}" for name, done, of in self.rows]
        done, of = (sum(row[at] for row in self.rows) for at in (1, 2))
        return "\n".join([*lines, f"{done} of {of} exercises solved"])


def progress() -> Progress:
    """What you have solved so far, over all notebooks."""
    return Progress()


def _solved() -> set[str]:
    try:
        return {number for number in json.loads(PROGRESS.read_text(encoding="utf-8")) if isinstance(number, str)}
    except (OSError, ValueError, TypeError):
        return set()


def _remember(number: str) -> None:
    solved = _solved()
    if number in solved:
        return
    try:
        written = PROGRESS.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps(sorted({*solved, number})), encoding="utf-8")
        written.replace(PROGRESS)
    except OSError:  # a folder that cannot be written: the verdict still counts
        pass


def _wrong_type(value: Any, kind: type) -> str | None:
    if value is None:
        return "the value is still None. If a function made it, is a `return` missing?"
    if kind in (int, float):
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not is_number or math.isnan(value):
            return f"a number is expected, and this is {_named(value)}."
        return None
    if not isinstance(value, kind):
        return f"{_A[kind]} is expected, and this is {_named(value)}." if kind in _A else f"this is {_named(value)}."
    return None


_A = {str: "a text", bool: "True or False", list: "a list", tuple: "a pair", dict: "a dict", set: "a set"}


def _named(value: Any) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _other_kind(returned: Any, expected: Any) -> str | None:
    """What to say of a returned value whose kind is wrong, where its kind alone may be."""
    if type(expected) is int and isinstance(returned, float) and returned == expected:
        return f"your function returned {returned!r}, {_named(returned)}: a whole number is expected, an int."
    if isinstance(expected, list) and not isinstance(returned, list):
        return f"your function returned {_named(returned)}: a list is expected."
    return None


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, numbers.Real):
        return math.isclose(found, expected, rel_tol=1e-6)
    if type(expected) is int and isinstance(found, numbers.Integral):  # also the whole numbers of numpy
        return found == expected and not isinstance(found, bool)
    return type(found) is type(expected) and bool(found == expected)


def _plain(value: Any, digits: int) -> Any:
    if isinstance(value, str):
        return value.strip().casefold()
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return round(float(value), digits)
    if isinstance(value, Mapping):
        return {str(name): _plain(part, digits) for name, part in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(part, digits) for part in value), key=str)
    return [_plain(part, digits) for part in value] if isinstance(value, (list, tuple)) else value
