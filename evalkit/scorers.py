"""Scores turns: picks the scorer, checks that it can be used, and makes a ``Score`` of its verdict.

An answer without anything to compare is wrong: 0, with the reason. None, with the reason, is for what a scorer cannot
decide. A turn that failed has no answer and is never scored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evalkit.conversation import ScorerSpec, Turn
from evalkit.data_scorers import expected_calls
from evalkit.errors import DatasetError, SettingsError
from evalkit.markers import without_scratch
from evalkit.record import Answer, Score, TurnRecord
from evalkit.scorer import Problem, Scorer, Verdict, find, is_number, names, register, validate
from evalkit.text_scorers import folded, text_target

__all__ = [
    "Problem",
    "Scorer",
    "Verdict",
    "default_for",
    "find",
    "folded",
    "names",
    "register",
    "score",
    "text_target",
    "turn_checker",
    "validate",
]

_NO_DEFAULT = "true and false have no scorer of their own: name one, such as json"


def turn_checker(default: ScorerSpec | str | None = None) -> Callable[[Turn], None]:
    """A check of single turns, for ``datasets.check`` and ``datasets.read``.

    Parameters
    ----------
    default : ScorerSpec or str, optional
        The run's scorer, for turns that name none.

    Returns
    -------
    callable
        Raises ``DatasetError``, with the field, for a turn that cannot be scored as it asks to be.
    """
    if isinstance(default, str):
        default = ScorerSpec(default)

    def check(turn: Turn) -> None:
        if turn.target is None and turn.scorer is None:
            return
        spec = turn.scorer or default or default_for(turn.target)
        problem = Problem("target", _NO_DEFAULT) if spec is None else _problem(spec, turn.target)
        if problem is not None:
            raise DatasetError(problem.text, field=problem.field)

    return check


def default_for(target: Any) -> ScorerSpec | None:
    """The scorer for a target whose turn and run name none.

    A number: ``number``. Text, or a list of texts: ``includes``. An object of ``name`` and ``arguments``, or a list
    of such: ``tool_call``. Any other object or list: ``json``.

    Returns
    -------
    ScorerSpec or None
        None: true and false can mean too much to guess.
    """
    if isinstance(target, bool) or target is None:
        return None
    if is_number(target):
        return ScorerSpec("number")
    if isinstance(target, str) or (isinstance(target, list) and target and all(isinstance(t, str) for t in target)):
        return ScorerSpec("includes")
    return ScorerSpec("json" if expected_calls(target) is None else "tool_call")


def score(turn: Turn, said: TurnRecord | Answer, *, default: ScorerSpec | None = None) -> Score | None:
    """Score the answer of one turn.

    Parameters
    ----------
    turn : Turn
    said : TurnRecord or Answer
        Of a record, the calls of all its tool rounds count. A refusal stands for a text that is missing, and a leading
        ``<think>…</think>`` block does not count.
    default : ScorerSpec, optional
        The run's scorer, for a turn that names none; else ``default_for`` its target.

    Returns
    -------
    Score or None
        None: the turn has no target, so there is nothing to score. Never raises: what goes wrong is the reason of a
        score without a value.
    """
    if turn.target is None:
        return None
    spec = turn.scorer or default or default_for(turn.target)
    if spec is None:
        return Score("none", None, _NO_DEFAULT)
    name = spec.name
    try:
        problem = _problem(spec, turn.target)
        if problem is not None:
            return Score(name, None, problem.text)
        verdict = find(name).judge(_answer(said), turn.target, **spec.options)
    except Exception as error:  # one odd answer must not end a run of thousands
        return Score(name, None, f"the scorer failed: {type(error).__name__}: {error}")
    value = None if verdict.value is None else float(verdict.value)
    return Score(name, value, verdict.reason, verdict.extracted)


def _problem(spec: ScorerSpec, target: Any) -> Problem | None:
    try:
        validate(spec)
    except SettingsError as error:
        return Problem("scorer", str(error))
    if target is None:
        return Problem("target", f"there is none, and the scorer {spec.name} needs one to compare with")
    scorer = find(spec.name)
    return scorer.check(target, **({**scorer.options, **spec.options} if spec.options else scorer.options))


def _answer(said: TurnRecord | Answer) -> Answer:
    """The answer as scorers see it; the one that came, when nothing is to be changed in it."""
    if isinstance(said, TurnRecord):
        answer, calls = said.answer or Answer(), said.tool_calls
    else:
        answer, calls = said, said.tool_calls
    text = without_scratch(answer.text or answer.refusal or "")
    if text is answer.text and len(calls) == len(answer.tool_calls):  # a record's calls are the answer's and earlier
        return answer
    return answer._replace(text=text, tool_calls=calls)
