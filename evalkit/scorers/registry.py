"""What a scorer is: a plain function from an answer and a target to a verdict, registered by name.

::

    @register("starts_with", check=text_target)
    def starts_with(answer: Answer, target: Any, *, case_sensitive: bool = False) -> Verdict:
        '''The answer starts with the target.'''
        text, start = folded(answer.text, case_sensitive), folded(str(target), case_sensitive)
        return Verdict(text.startswith(start), extracted=text[: len(start)])

Its keyword arguments are its options; the first line of its docstring is what the lists of scorers say of it. Whoever
changes what a scorer says of some answer raises its ``version``, which is kept with the scores.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from evalkit.conversation import ScorerSpec
from evalkit.errors import MissingExtra, SettingsError
from evalkit.inputs.suggestions import similar_names
from evalkit.scorers.json_equality import DEEP_VALUE, is_deeper

_SHOWN = 200  # characters of a value or an answer that are kept or shown


class Verdict(NamedTuple):
    """What a scorer found: a value (a bool counts as 0 or 1), why, and what it took from the answer."""

    value: float | None
    reason: str | None = None
    extracted: Any = None


class Problem(NamedTuple):
    """Why a scorer cannot be used: the field, ``scorer`` or ``target``, and what is wrong with it."""

    field: str
    text: str


Judge = Callable[..., Verdict]
Check = Callable[..., "Problem | None"]


@dataclass(frozen=True, slots=True)
class Scorer:
    """A registered scorer.

    Parameters
    ----------
    name : str
    judge : callable
        ``(answer, target, **options) -> Verdict``.
    check : callable
        ``(target, **options) -> Problem | None``: whether the scorer can use them, before anything is asked.
    options : mapping
        Name of each option to its default; an option given must be of the default's type.
    version : str
        A number; of a user's own function the beginning of a SHA-256 of its source.
    requires : str
        The package it needs from the extra ``scorers``; empty: none.
    targetless : bool
        It may do without a target: its check, which is given None then, says whether it does with these options.
    """

    name: str
    judge: Judge
    check: Check
    options: Mapping[str, Any]
    version: str = "1"
    requires: str = ""
    targetless: bool = False

    @property
    def summary(self) -> str:
        """What it does, in a sentence."""
        return (self.judge.__doc__ or "").strip().partition("\n")[0]


_SCORERS: dict[str, Scorer] = {}
_FOUND: ContextVar[Mapping[str, Scorer] | None] = ContextVar("found", default=None)
_INSTALLED: set[str] = set()


def registered(own: Mapping[str, Scorer] | None = None) -> Mapping[str, Scorer]:
    """The scorers there are now, by their names, and over them a run's own; what is registered later is not in it."""
    return MappingProxyType({**_SCORERS, **(own or {})})


@contextmanager
def found_once(known: Mapping[str, Scorer] | None) -> Iterator[None]:
    """In this block and thread a name means one of these scorers, whatever is registered meanwhile; None: any."""
    token = _FOUND.set(known)
    try:
        yield
    finally:
        _FOUND.reset(token)


def register(
    name: str, *, check: Check, version: int = 1, requires: str = "", targetless: bool = False
) -> Callable[[Judge], Judge]:
    """Make a function a scorer under this name.

    Parameters
    ----------
    name : str
        What datasets and ``--scorer`` call it.
    check : callable
        ``(target, **options) -> Problem | None``.
    version : int
        Raised whenever some answer is scored otherwise than before.
    requires : str
        The package it needs from the extra ``scorers``.
    targetless : bool
        It may do without a target: ``check`` is given None then, and says whether it does.

    Returns
    -------
    callable
        A decorator that gives the function back as it is.
    """

    def add(judge: Judge) -> Judge:
        parameters = inspect.signature(judge).parameters.values()
        options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        add_scorer(Scorer(name, judge, check, options, str(version), requires, targetless))
        return judge

    return add


def add_scorer(scorer: Scorer) -> None:
    """Make a scorer known by its name, in place of one that had it before."""
    _SCORERS[scorer.name] = scorer


def names() -> list[str]:
    """The names of all scorers, without those that are the user's own functions."""
    return sorted(name for name in _SCORERS if not is_function(name))


def is_function(name: str) -> bool:
    """Whether this is how a user's own function is called: ``module:function``."""
    return ":" in name


def find(name: str) -> Scorer:
    """The scorer of this name.

    Raises
    ------
    SettingsError
        There is none; the message lists those there are, nearest first.
    """
    known = _FOUND.get() or _SCORERS
    if name in known:
        return known[name]
    if is_function(name):
        raise SettingsError(
            f"the scorer {name!r} is a Python function, and neither a dataset nor a run file makes code run: "
            f"give the function itself in Python, scorer=…, or name it with --scorer {name}"
        )
    similar = similar_names(name, names(), most=len(_SCORERS), cutoff=0.5)
    others = [known for known in names() if known not in similar]
    raise SettingsError(f"no scorer is called {name!r}. Known, nearest first: {', '.join([*similar, *others])}")


def version_of(spec: ScorerSpec) -> str:
    """The version of a scorer, to be kept with its scores; of several, one after the other: ``1+2``.

    Raises
    ------
    SettingsError
        There is no such scorer.
    """
    return "+".join(map(version_of, spec.parts)) if spec.parts else find(spec.name).version


def validate(spec: ScorerSpec) -> None:
    """Check a scorer's name and options, or those of all its parts, and that the package it needs is there.

    Raises
    ------
    SettingsError
        Unknown name, unknown option, or an option of another type than its default.
    MissingExtra
        The package is not installed.
    """
    for part in spec.parts:
        validate(part)
    if not spec.parts:
        usable(spec)


def usable(spec: ScorerSpec) -> Scorer:
    """The scorer of a spec without parts, once ``validate`` has nothing against it."""
    scorer = find(spec.name)
    for option, value in spec.options.items():
        if option not in scorer.options:
            known = ", ".join(scorer.options) or "none"
            raise SettingsError(f"the scorer {spec.name} has no option {option!r}. Its options: {known}")
        default = scorer.options[option]
        if isinstance(default, float):
            fits = is_number(value) and math.isfinite(value) and value >= 0
        elif isinstance(default, Mapping):
            fits = isinstance(value, Mapping)
        else:
            fits = type(value) is type(default)
        if not fits:
            kinds = {float: "a number from 0 up", bool: "true or false", str: "text", MappingProxyType: "an object"}
            kind = kinds.get(type(default), type(default).__name__)
            raise SettingsError(f"the option {option} of the scorer {spec.name} is {shown(value)}: it must be {kind}")
    if scorer.requires:
        need(scorer.requires, f"the scorer {spec.name}")
    return scorer


def need(package: str, what: str) -> None:
    """See that a package of the extra ``scorers`` is there, without importing it.

    Raises
    ------
    MissingExtra
        It is not; ``what`` says who needs it.
    """
    if package not in _INSTALLED:
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(f"{what}, by {package},", "scorers")
        _INSTALLED.add(package)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def cut(text: str) -> str:
    """A text, or as much of it as is worth keeping."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def shown(value: Any) -> str:
    """A JSON value as a message shows it."""
    return DEEP_VALUE if is_deeper(value) else cut(orjson.dumps(value, default=repr).decode())
