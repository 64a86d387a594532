"""Scoring a turn: pick the scorer, check that it can be used, and make a ``Score`` from its verdict.

An answer without anything to compare is wrong: 0, with the reason. None, with the reason, means that the scorer cannot
decide. A failed turn has no answer and is never scored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evalkit.conversation import ScorerSpec, Turn
from evalkit.errors import DatasetError, InputError, SettingsError
from evalkit.record import Answer, Score, TurnRecord
from evalkit.scorers import choice, date, json_value, length_language, number, similarity  # noqa: F401 - registered on import
from evalkit.scorers.json_equality import is_deeper
from evalkit.scorers.reading.numbers import read_number
from evalkit.scorers.reading.think_block import without_think_block
from evalkit.scorers.registry import (
    Problem,
    Scorer,
    Verdict,
    find,
    found_once,
    is_number,
    names,
    register,
    registered,
    usable,
    validate,
    version_of,
)
from evalkit.scorers.text import folded, text_target
from evalkit.scorers.tool_calls import expected_calls

__all__ = [
    "Problem",
    "Scorer",
    "Verdict",
    "default_for",
    "find",
    "folded",
    "found_once",
    "names",
    "register",
    "registered",
    "score",
    "scorer_of",
    "scores_all",
    "text_target",
    "turn_checker",
    "validate",
    "version_of",
]

_MARKS, _LONGEST_NUMBER = frozenset("$€£¥₹%,/"), 40
_NO_DEFAULT = "true and false have no default scorer: name one, such as json"
_ALL_REASONING = {
    True: "the answer is all reasoning and no text: it was cut off at the token limit, so raise max_tokens",
    False: "the answer is all reasoning and no text: check the endpoint's reasoning parser",
}
_NUMBER, _CHOICE, _INCLUDES, _TOOL_CALL, _JSON = map(ScorerSpec, ("number", "choice", "includes", "tool_call", "json"))


def turn_checker(default: ScorerSpec | str | None = None) -> Callable[[Turn], None]:
    """A check of single turns, for ``reader.check`` and ``reader.read``.

    Parameters
    ----------
    default : ScorerSpec or str, optional
        The run's scorer, for turns that name none.

    Returns
    -------
    callable
        Raises ``DatasetError``, with the field, for a turn that its scorer cannot score, and ``MissingExtra`` for a
        scorer whose package is not installed.
    """
    if isinstance(default, str):
        default = ScorerSpec(default)

    def check(turn: Turn) -> None:
        if turn.target is None and turn.scorer is None:
            return
        spec = turn.scorer or default or default_for(turn.target)
        if spec is None:
            raise DatasetError(_NO_DEFAULT, field="target")
        for at, part in enumerate(spec.parts or (spec,)):
            problem = _problem(part, turn.target)
            if problem is not None:
                place = f"[{at}]" if spec.parts and turn.scorer and problem.field == "scorer" else ""
                raise DatasetError(problem.text, field=problem.field + place)

    return check


def default_for(target: Any) -> ScorerSpec | None:
    """The scorer for a target if neither turn nor run names one.

    A number, or a text such as ``1,234``, ``50 %``, ``$5`` and ``3/4``: ``number``. One letter: ``choice``. Other text,
    or a list of texts: ``includes``. An object with ``name`` and ``arguments``, or a list of these: ``tool_call``. Any
    other object or list: ``json``.

    Returns
    -------
    ScorerSpec or None
        None for true and false, which can mean too many things.
    """
    if isinstance(target, str):
        if len(target) == 1 and target.isascii() and target.isalpha():
            return _CHOICE
        return _NUMBER if _written_number(target) else _INCLUDES
    if isinstance(target, bool) or target is None:
        return None
    if is_number(target):
        return _NUMBER
    if isinstance(target, list) and target and all(isinstance(t, str) for t in target):
        return _INCLUDES
    return _TOOL_CALL if expected_calls(target) else _JSON


def _written_number(target: str) -> bool:
    """Whether a text is a number in a form that JSON numbers lack, as cells of a CSV file are."""
    return len(target) < _LONGEST_NUMBER and not _MARKS.isdisjoint(target) and read_number(target) is not None


def scorer_of(turn: Turn, default: ScorerSpec | None = None) -> ScorerSpec | None:
    """The scorer of a turn: its own, the run's, or the default for its target.

    Returns
    -------
    ScorerSpec or None
        None if the turn is not scored: the scorer needs a target and it has none, or its target has no default.
    """
    spec = turn.scorer or default or default_for(turn.target)
    if spec is None or turn.target is not None:
        return spec
    return spec if all(map(_does_without_target, spec.parts or (spec,))) else None


def scores_all(default: ScorerSpec | None) -> bool:
    """Whether a run's scorer scores turns without a target too."""
    return scorer_of(Turn(""), default) is not None


def score(
    turn: Turn,
    answered: TurnRecord | Answer,
    *,
    default: ScorerSpec | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> Score | None:
    """Score the answer of one turn.

    Parameters
    ----------
    turn : Turn
    answered : TurnRecord or Answer
        In a record, the calls of all tool rounds count. A refusal replaces a missing text, and reasoning in the text,
        such as a ``<think>…</think>`` block, is left out. An answer that is all reasoning gets no value.
    default : ScorerSpec, optional
        The run's scorer, for a turn that names none; without it, ``default_for`` the turn's target.
    tools : sequence of mapping
        The conversation's tools: their schemas say which arguments may be left out.

    Returns
    -------
    Score or None
        None if the turn has no target and its scorer needs one. Never raises: an error becomes the reason of a score
        without a value.
    """
    target = turn.target
    spec = scorer_of(turn, default)
    if spec is None:
        return None if target is None else Score("none", None, _NO_DEFAULT)
    if spec.parts:
        return _mean_of(spec, [_score(part, turn, answered, tools) for part in spec.parts])
    return _score(spec, turn, answered, tools)


def _score(spec: ScorerSpec, turn: Turn, answered: TurnRecord | Answer, tools: Sequence[Mapping[str, Any]]) -> Score:
    name, options, target = spec.name, spec.options, turn.target
    try:
        scorer = usable(spec)
        problem = _target_problem(scorer, options, target)
        if problem is not None:
            return Score(name, None, problem.text)
        answer = _answer(answered)
        if not answer.text.strip() and _is_all_reasoning(answered):
            return Score(name, None, _ALL_REASONING[answer.finish_reason == "length"])
        if scorer.reads_question:
            value, reason, extracted = scorer.judge(answer, target, turn.user, **options)
        elif scorer.reads_tools:
            value, reason, extracted = scorer.judge(answer, target, tools, **options)
        else:
            value, reason, extracted = scorer.judge(answer, target, **options)
        if value is not None:
            value = float(value)
            if not 0 <= value <= 1:
                return Score(name, None, f"the scorer returned {value:g}: a score must be from 0 to 1")
        if is_deeper(extracted):  # it could be neither stored nor read again
            extracted = None
    except InputError as error:  # the scorer cannot be used: unknown name or option, or a package is missing
        return Score(name, None, str(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # neither an odd answer nor a function's sys.exit may end the run
        return Score(name, None, f"the scorer failed: {type(error).__name__}: {error}")
    return Score(name, value, reason, extracted)


def _mean_of(spec: ScorerSpec, scores: list[Score]) -> Score:
    """The weighted mean of several scores; without a value if one of them has none."""
    parts = [
        {
            "scorer": score.scorer,
            "weight": part.weight,
            "value": score.value,
            "reason": score.reason,
            "extracted": score.extracted,
        }
        for part, score in zip(spec.parts, scores, strict=True)
    ]
    with_reason = [score for score in scores if score.value is None] or [score for score in scores if score.reason]
    reason = "; ".join(f"{score.scorer}: {score.reason}" for score in with_reason) or None
    value, weights = 0.0, sum(part.weight for part in spec.parts)
    for part, score in zip(spec.parts, scores, strict=True):
        if score.value is None:
            return Score(spec.name, None, reason, parts=parts)
        value += part.weight * score.value / weights
    return Score(spec.name, 1.0 if all(score.value == 1 for score in scores) else value, reason, parts=parts)


def _problem(spec: ScorerSpec, target: Any) -> Problem | None:
    try:
        scorer = usable(spec)
    except SettingsError as error:
        return Problem("scorer", str(error))
    return _target_problem(scorer, spec.options, target)


def _target_problem(scorer: Scorer, options: Any, target: Any) -> Problem | None:
    if target is None and not scorer.targetless:
        return Problem("target", f"the target is missing: the scorer {scorer.name} needs one to compare with")
    return scorer.check(target, **({**scorer.options, **options} if options else scorer.options))


def _is_all_reasoning(answered: TurnRecord | Answer) -> bool:
    """Whether an answer without text holds reasoning instead: whether the model was right is not known."""
    answer = (answered.answer or Answer()) if isinstance(answered, TurnRecord) else answered
    return bool((answer.reasoning or answer.text).strip()) and not answered.tool_calls


def _does_without_target(spec: ScorerSpec) -> bool:
    try:
        return find(spec.name).targetless and _problem(spec, None) is None
    except SettingsError:
        return False
    except Exception:  # a package is missing, or the check failed: the score gives the reason
        return True


def _answer(answered: TurnRecord | Answer) -> Answer:
    """The answer as scorers see it; the same object if nothing in it changes."""
    answer = (answered.answer or Answer()) if isinstance(answered, TurnRecord) else answered
    calls = answered.tool_calls
    text = without_think_block(answer.text or answer.refusal or "")
    if text is answer.text and len(calls) == len(answer.tool_calls):  # a record's calls include those of earlier rounds
        return answer
    return answer._replace(text=text, tool_calls=calls)
