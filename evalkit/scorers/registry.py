"""What a scorer is: a plain function from an answer and a target to a verdict, registered by name.

::

    @register("starts_with", check=text_target)
    def starts_with(answer: Answer, target: Any, *, case_sensitive: bool = False) -> Verdict:
        '''The answer starts with the target.'''
        text, start = folded(answer.text, case_sensitive), folded(str(target), case_sensitive)
        return Verdict(text.startswith(start), extracted=text[: len(start)])

Its keyword arguments are its options; a third parameter ``question`` is passed what was asked, ``tools`` the functions
that the model could call. The first line of its docstring is its description in lists of scorers. If you change the
verdict on any answer, raise the scorer's ``version``, which is stored with the scores.
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

_SHOWN = 200  # characters of a value or an answer that are stored or shown


class Verdict(NamedTuple):
    """A scorer's result: the value (a bool counts as 0 or 1), the reason, and what it extracted from the answer."""

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
        ``(target, **options) -> Problem | None``: why the scorer cannot use them, checked before a request is sent.
    options : mapping
        Name of each option to its default; an option must be of the default's type.
    version : str
        A number; for a user's own function the first digits of a SHA-256 of its source.
    requires : str
        The package it needs from the extra ``scorers``; empty for none.
    targetless : bool
        It can work without a target: its check, called with None then, decides with these options.
    reads_question : bool
        Its third argument is what was asked, as text.
    reads_tools : bool
        Its third argument is the conversation's tools.
    """

    name: str
    judge: Judge
    check: Check
    options: Mapping[str, Any]
    version: str = "1"
    requires: str = ""
    targetless: bool = False
    reads_question: bool = False
    reads_tools: bool = False

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (self.judge.__doc__ or "").strip().partition("\n")[0]


_SCORERS: dict[str, Scorer] = {}
_FOUND: ContextVar[Mapping[str, Scorer] | None] = ContextVar("found", default=None)
_INSTALLED: set[str] = set()


def registered(own: Mapping[str, Scorer] | None = None) -> Mapping[str, Scorer]:
    """A copy of the registered scorers, by their names, with a run's own scorers in front of them."""
    return MappingProxyType({**_SCORERS, **(own or {})})


@contextmanager
def found_once(known: Mapping[str, Scorer] | None) -> Iterator[None]:
    """In this block and thread look names up among these scorers, whatever is registered meanwhile; None: among all."""
    token = _FOUND.set(known)
    try:
        yield
    finally:
        _FOUND.reset(token)


def register(
    name: str, *, check: Check, version: int = 1, requires: str = "", targetless: bool = False
) -> Callable[[Judge], Judge]:
    """Register a function as a scorer.

    Parameters
    ----------
    name : str
        The scorer's name in datasets and for ``--scorer``.
    check : callable
        ``(target, **options) -> Problem | None``.
    version : int
        To be raised whenever some answer is scored differently than before.
    requires : str
        The package it needs from the extra ``scorers``.
    targetless : bool
        It can work without a target: ``check`` is called with None then, and decides.

    Returns
    -------
    callable
        A decorator that returns the function unchanged.
    """

    def add(judge: Judge) -> Judge:
        parameters = inspect.signature(judge).parameters
        options = {p.name: p.default for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
        reads = ("question" in parameters, "tools" in parameters)
        add_scorer(Scorer(name, judge, check, options, str(version), requires, targetless, *reads))
        return judge

    return add


def add_scorer(scorer: Scorer) -> None:
    """Register a scorer by its name, in place of an earlier one of that name."""
    _SCORERS[scorer.name] = scorer


def names() -> list[str]:
    """The names of all scorers but the user's own functions."""
    return sorted(name for name in _SCORERS if not is_function(name))


def is_function(name: str) -> bool:
    """Whether this is the name of a user's own function, ``module:function``."""
    return ":" in name


def find(name: str) -> Scorer:
    """The scorer of this name.

    Raises
    ------
    SettingsError
        There is no such scorer; the message lists the known ones, most similar first.
    """
    known = _FOUND.get() or _SCORERS
    if name in known:
        return known[name]
    if is_function(name):
        raise SettingsError(
            f"the scorer {name!r} is a Python function, and datasets and run files cannot run code: "
            f"pass the function itself in Python, scorer=…, or name it with --scorer {name}"
        )
    similar = similar_names(name, names(), most=len(_SCORERS), cutoff=0.5)
    others = [known for known in names() if known not in similar]
    raise SettingsError(f"no scorer is called {name!r}. Known, most similar first: {', '.join([*similar, *others])}")


def version_of(spec: ScorerSpec) -> str:
    """The version of a scorer, stored with its scores; for several joined by +: ``1+2``.

    Raises
    ------
    SettingsError
        There is no such scorer.
    """
    return "+".join(map(version_of, spec.parts)) if spec.parts else find(spec.name).version


def validate(spec: ScorerSpec) -> None:
    """Check a scorer's name and options, or those of all its parts, and that the package it needs is installed.

    Raises
    ------
    SettingsError
        The name or an option is unknown, or an option has another type than its default.
    MissingExtra
        The package is not installed.
    """
    for part in spec.parts:
        validate(part)
    if not spec.parts:
        usable(spec)


def usable(spec: ScorerSpec) -> Scorer:
    """The scorer of a spec without parts, checked as in ``validate``."""
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
            kinds = {float: "a number, 0 or more", bool: "true or false", str: "text", MappingProxyType: "an object"}
            kind = kinds.get(type(default), type(default).__name__)
            raise SettingsError(f"the option {option} of the scorer {spec.name} is {shown(value)}: it must be {kind}")
    if scorer.requires:
        need(scorer.requires, f"the scorer {spec.name}")
    return scorer


def need(package: str, what: str) -> None:
    """Check that a package of the extra ``scorers`` is installed, without importing it.

    Raises
    ------
    MissingExtra
        It is not; ``what`` names what needs it.
    """
    if package not in _INSTALLED:
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(f"{what}, by {package},", "scorers")
        _INSTALLED.add(package)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def cut(text: str) -> str:
    """A text, cut to 200 characters."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def shown(value: Any) -> str:
    """A JSON value as a message shows it."""
    return DEEP_VALUE if is_deeper(value) else cut(orjson.dumps(value, default=repr).decode())
