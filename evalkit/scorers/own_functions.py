"""The user's own Python functions as scorers: passed in code, or named on the command line as ``module:function``.

::

    def polite(text, target=None):
        return "please" in text.lower()

    run = evaluate("data.jsonl", endpoint, scorer=polite)

A function accepts the answer's text and the turn's target. If its first parameter is annotated ``Answer``, it gets the
whole answer with its tool calls; if its second has a default, turns without a target are scored too. It returns true or
false, a number from 0 to 1, None if it cannot judge, or a ``Verdict`` with a reason.

Only code and the command line can name a function. Datasets and run files contain names only, which are not imported.
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

_MOST_EXTRACTED = 10_000  # characters
_NAMED = re.compile(r"\w+(?:\.\w+)*:\w+(?:\.\w+)*")


def setting_of(scorer: Any) -> Any:
    """A scorer as the settings of a run store it: data, with functions by their names.

    Parameters
    ----------
    scorer : str, ScorerSpec, mapping, callable, a sequence of these, or None
        In a mapping the ``name`` may be a function.

    Returns
    -------
    JSON value or None

    Raises
    ------
    SettingsError
        A function cannot be a scorer, or two functions have the same name.
    """
    if isinstance(scorer, ScorerSpec):
        return scorer.to_json()
    if isinstance(scorer, Sequence) and not isinstance(scorer, str):
        _refuse_same_names([part.get("name") if isinstance(part, Mapping) else part for part in scorer])
        return [setting_of(part) for part in scorer]
    if isinstance(scorer, Mapping):
        name = scorer.get("name")
        return {**scorer, "name": adopt(name)} if callable(name) else dict(scorer)
    return adopt(scorer) if callable(scorer) else scorer


def own(scorer: Any) -> dict[str, Scorer]:
    """The functions among the scorers of ``setting_of``, by their names, without registering them."""
    if isinstance(scorer, Sequence) and not isinstance(scorer, str):
        return {name: function for part in scorer for name, function in own(part).items()}
    if isinstance(scorer, Mapping):
        return own(scorer.get("name"))
    return {_name_of(scorer): _scorer_of(scorer, _name_of(scorer))} if callable(scorer) else {}


def _refuse_same_names(scorers: list[Any]) -> None:
    """Refuse two functions of one name, such as two from one factory: the later would score for both."""
    by_name: dict[str, Any] = {}
    for function in filter(callable, scorers):
        name = _name_of(function)
        if by_name.setdefault(name, function) is not function:
            raise SettingsError(f"two different functions are both called {name}: define each with its own name")


def load(name: str) -> str:
    """Import a function, ``module:function``, and register it as a scorer; the working folder is searched too.

    Returns
    -------
    str
        The scorer's name.

    Raises
    ------
    SettingsError
        There is no such module or function, or the import fails.
    """
    module_name, _, path = name.partition(":")
    if not _NAMED.fullmatch(name):
        raise SettingsError(
            f"--scorer {name}: write it as module:function, such as my_scorers:polite for polite in my_scorers.py"
        )
    found: Any = _imported(module_name, name)
    for part in path.split("."):
        suggestion = nearest_name(part, dir(found), cutoff=0.6)
        hint = f"; did you mean {suggestion!r}?" if suggestion else ""
        found = getattr(found, part, None)
        if found is None:
            raise SettingsError(f"--scorer {name}: {module_name} has no {path!r}{hint}")
    if not callable(found):
        raise SettingsError(f"--scorer {name}: it is not a function but {type(found).__name__}")
    return adopt(found, name)


def adopt(function: Callable[..., Any], name: str | None = None) -> str:
    """Register a function as a scorer of this process, and return its name.

    Raises
    ------
    SettingsError
        The function cannot be called with an answer and a target.
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
        missing = "does not exist" if itself else f"needs {error.name!r}, which is not installed"
        raise SettingsError(f"--scorer {name}: the module {module} {missing}") from None
    except Exception as error:
        raise SettingsError(f"--scorer {name}: importing {module} failed: {type(error).__name__}: {error}") from error
    finally:
        # later imports of the function are found here too, but installed packages come first
        sys.path.remove(here)
        if here not in sys.path:
            sys.path.append(here)


def _name_of(function: Any) -> str:
    named = getattr(function, "func", function)  # of a functools.partial
    named = named if hasattr(named, "__qualname__") else type(named)
    return f"{named.__module__}:{named.__qualname__}"


def _signature(function: Callable[..., Any], name: str) -> tuple[bool, bool]:
    """Whether a function gets the whole answer, and whether it works without a target."""
    if inspect.iscoroutinefunction(function):
        raise SettingsError(f"the scorer {name} is an async function: define it with a plain def")
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
        return Problem("target", f"the target is missing: the scorer {name} needs one") if missing else None

    return check


def _judge_of(function: Callable[..., Any], whole: bool) -> Callable[..., Verdict]:
    def judge(answer: Answer, target: Any) -> Verdict:
        return _verdict(function(answer if whole else answer.text, target))

    judge.__doc__ = inspect.getdoc(function)
    return judge


def _verdict(result: Any) -> Verdict:
    """The result of a function as a verdict, without a value if the result is of no allowed kind."""
    if isinstance(result, Verdict):
        inner = _verdict(result.value)
        if inner.value is None and (result.value is not None or not result.reason):
            return inner
        return Verdict(inner.value, None if result.reason is None else str(result.reason), _as_json(result.extracted))
    if result is None:
        return Verdict(None, "the function returned None: it could not judge")
    is_numpy_scalar = hasattr(result, "item") and getattr(result, "shape", None) == ()
    value = result.item() if is_numpy_scalar else result
    if isinstance(value, int | float | Fraction) and math.isfinite(value) and 0 <= value <= 1:
        return Verdict(float(value))
    return Verdict(
        None, f"the function returned {cut(repr(result))}, which is neither true, false nor a number from 0 to 1"
    )


def _as_json(extracted: Any) -> Any:
    """The extracted value as a JSON value, or its ``repr`` if JSON cannot hold it."""
    if not_json(extracted):
        return cut(repr(extracted))
    try:
        packed = orjson.dumps(extracted, default=repr, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        return cut(repr(extracted))
    return orjson.loads(packed) if len(packed) <= _MOST_EXTRACTED else cut(packed.decode())
