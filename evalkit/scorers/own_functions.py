"""Scorers that are the user's own Python functions: given in code, or named on the command line as ``module:function``.

::

    def polite(text, target=None):
        return "please" in text.lower()

    run = evaluate("data.jsonl", endpoint, scorer=polite)

A function takes the answer's text and the turn's target. A first parameter annotated ``Answer`` gets the whole answer,
with its tool calls; a second one with a default lets turns without a target be scored too. It gives true or false, a
number from 0 to 1, None when it cannot judge, or a ``Verdict`` with a reason.

Only code and command line may name one. Datasets and run files hold the name alone, and no name in them is imported.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import orjson

from evalkit.conversation import ScorerSpec
from evalkit.errors import SettingsError
from evalkit.inputs.bounds import not_json
from evalkit.inputs.suggestions import nearest_name
from evalkit.record import Answer
from evalkit.scorers.function_version import code_version
from evalkit.scorers.registry import Problem, Scorer, Verdict, add_scorer, cut

_MOST_KEPT = 10_000  # characters of what a function extracted
_NAMED = re.compile(r"\w+(?:\.\w+)*:\w+(?:\.\w+)*")


def setting_of(scorer: Any) -> Any:
    """A scorer as the settings of a run hold it: data, with functions under their names.

    Parameters
    ----------
    scorer : str, ScorerSpec, mapping, callable, or a sequence of those; or None
        In a mapping the ``name`` may be a function.

    Returns
    -------
    JSON value or None

    Raises
    ------
    SettingsError
        A function that cannot be a scorer, or two of one name.
    """
    if isinstance(scorer, ScorerSpec):
        return scorer.to_json()
    if isinstance(scorer, Sequence) and not isinstance(scorer, str):
        _refuse_namesakes([part.get("name") if isinstance(part, Mapping) else part for part in scorer])
        return [setting_of(part) for part in scorer]
    if isinstance(scorer, Mapping):
        name = scorer.get("name")
        return {**scorer, "name": adopt(name)} if callable(name) else dict(scorer)
    return adopt(scorer) if callable(scorer) else scorer


def own(scorer: Any) -> dict[str, Scorer]:
    """The scorers that are functions among those of ``setting_of``, by their names, without registering them."""
    if isinstance(scorer, Sequence) and not isinstance(scorer, str):
        return {name: found for part in scorer for name, found in own(part).items()}
    if isinstance(scorer, Mapping):
        return own(scorer.get("name"))
    return {_name_of(scorer): _scorer_of(scorer, _name_of(scorer))} if callable(scorer) else {}


def _refuse_namesakes(scorers: list[Any]) -> None:
    """Of two functions of one name, such as two made by one factory, the later would score for both."""
    named: dict[str, Any] = {}
    for function in filter(callable, scorers):
        name = _name_of(function)
        if named.setdefault(name, function) is not function:
            raise SettingsError(
                f"two different functions are both called {name}: give each its own name, by its own def"
            )


def load(name: str) -> str:
    """Import a function, ``module:function``, and make it a scorer; modules in the working folder are found too.

    Returns
    -------
    str
        What the scorer is called.

    Raises
    ------
    SettingsError
        There is no such module or function, or its import fails.
    """
    module_name, _, path = name.partition(":")
    if not _NAMED.fullmatch(name):
        raise SettingsError(
            f"--scorer {name}: write it as module:function; my_scorers:polite is the function polite of my_scorers.py"
        )
    found: Any = _imported(module_name, name)
    for part in path.split("."):
        suggestion = nearest_name(part, dir(found), cutoff=0.6)
        hint = f"; did you mean {suggestion!r}?" if suggestion else ""
        found = getattr(found, part, None)
        if found is None:
            raise SettingsError(f"--scorer {name}: {module_name} has no {path!r}{hint}")
    if not callable(found):
        raise SettingsError(f"--scorer {name}: it is no function but {type(found).__name__}")
    return adopt(found, name)


def adopt(function: Callable[..., Any], name: str | None = None) -> str:
    """Make a function a scorer of this process; return what it is called.

    Raises
    ------
    SettingsError
        It cannot be called with an answer and a target.
    """
    name = name or _name_of(function)
    add_scorer(_scorer_of(function, name))
    return name


def _scorer_of(function: Callable[..., Any], name: str) -> Scorer:
    whole, targetless = _signature(function, name)
    judge = _judge_of(function, whole)
    return Scorer(name, judge, _check_of(name, targetless), {}, code_version(function), targetless=targetless)


def _imported(module: str, name: str) -> Any:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        itself = f"{module}.".startswith(f"{error.name}.")
        missing = "is not there" if itself else f"needs {error.name!r}, which is not installed"
        raise SettingsError(f"--scorer {name}: the module {module} {missing}") from None
    except Exception as error:
        raise SettingsError(f"--scorer {name}: importing {module} failed: {type(error).__name__}: {error}") from error
    finally:
        # what the function itself imports later is found, but nothing there stands before an installed package
        sys.path.remove(here)
        if here not in sys.path:
            sys.path.append(here)


def _name_of(function: Any) -> str:
    named = getattr(function, "func", function)  # of a functools.partial
    named = named if hasattr(named, "__qualname__") else type(named)
    return f"{named.__module__}:{named.__qualname__}"


def _signature(function: Callable[..., Any], name: str) -> tuple[bool, bool]:
    """Whether a function wants the whole answer, and whether it does without a target."""
    if inspect.iscoroutinefunction(function):
        raise SettingsError(f"the scorer {name} is an async function: it must be a plain one")
    try:
        signature = inspect.signature(function)
        signature.bind("text", "target")
    except (TypeError, ValueError):
        raise SettingsError(
            f"the scorer {name} cannot be called with two arguments, the answer's text and the target: "
            "write it as def score(text, target)"
        ) from None
    parameters = list(signature.parameters.values())
    first = parameters[0].annotation
    whole = first is Answer or (isinstance(first, str) and first.rpartition(".")[2] == "Answer")
    second = parameters[min(1, len(parameters) - 1)]
    return whole, second.default is not second.empty


def _check_of(name: str, targetless: bool) -> Callable[..., Problem | None]:
    def check(target: Any) -> Problem | None:
        missing = target is None and not targetless
        return Problem("target", f"there is none, and the scorer {name} needs one") if missing else None

    return check


def _judge_of(function: Callable[..., Any], whole: bool) -> Callable[..., Verdict]:
    def judge(answer: Answer, target: Any) -> Verdict:
        return _verdict(function(answer if whole else answer.text, target))

    judge.__doc__ = inspect.getdoc(function)
    return judge


def _verdict(said: Any) -> Verdict:
    """What a function said, as a verdict; what is none of the things it may say is no value."""
    if isinstance(said, Verdict):
        inner = _verdict(said.value)
        if inner.value is None and (said.value is not None or not said.reason):
            return inner
        return Verdict(inner.value, None if said.reason is None else str(said.reason), _kept(said.extracted))
    if said is None:
        return Verdict(None, "the function gave None: it could not judge")
    value = said.item() if hasattr(said, "item") and getattr(said, "shape", None) == () else said  # a NumPy scalar
    if isinstance(value, int | float | Fraction) and math.isfinite(value) and 0 <= value <= 1:
        return Verdict(float(value))
    return Verdict(None, f"the function gave {cut(repr(said))}, which is neither true, false nor a number from 0 to 1")


def _kept(extracted: Any) -> Any:
    """What a function extracted, as a JSON value; in words where it is none."""
    if not_json(extracted):
        return cut(repr(extracted))
    try:
        packed = orjson.dumps(extracted, default=repr, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        return cut(repr(extracted))
    return orjson.loads(packed) if len(packed) <= _MOST_KEPT else cut(packed.decode())
