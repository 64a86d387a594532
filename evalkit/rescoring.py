"""Scores without any call: a run file again, whose old scores stay with their scorers' versions, or one answer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from evalkit.conversation import ScorerSpec, ToolCall, Turn
from evalkit.errors import DatasetError, EvalkitError, RunFileError, SettingsError
from evalkit.process.gc_freeze import gc_frozen
from evalkit.record import Answer, Score, TurnKey
from evalkit.runfile import corrected_targets, schema, scorings
from evalkit.runfile.finished_turn import stored_answer, stored_turn
from evalkit.runfile.scorings import Scored
from evalkit.runfile.store import RunFile
from evalkit.scorers import own_functions, scoring
from evalkit.settings import Settings

GROUP = 10_000  # scores committed together

_NEWEST = "(SELECT max(id) FROM scoring)"  # the one that is being made
_ANSWERED = f"""
    SELECT t.conversation, t.repeat, t.turn, {schema.ROW}, {schema.has_target(_NEWEST)} AS aimed, t.answer, t.refusal,
      t.tool_calls, t.finish_reason, t.reasoning
    FROM turn t JOIN conversation c ON c.position = t.conversation {schema.join_corrected(_NEWEST)}
    WHERE (t.conversation, t.repeat, t.turn) > (?, ?, ?) AND t.status = 'answered' AND (aimed OR ?)
    ORDER BY t.conversation, t.repeat, t.turn LIMIT ?"""  # noqa: S608 - SQL of our own


def rescore(path: Path | str, scorer: Any = None, targets: Path | str | None = None) -> int:
    """Re-score every answered turn that has a target, or whose scorer needs none.

    Parameters
    ----------
    path : path-like
        A run file that no process is writing.
    scorer : str, ScorerSpec, mapping, callable or a sequence of those, optional
        Scores all of these turns, whatever scorer they name. None: each turn's own scorer, else the run's, else the
        default for the target's type.
    targets : path-like, optional
        A corrected dataset with the same questions, whose targets and scorers are used in place of the dataset's. A
        turn without a target there is not scored.

    Returns
    -------
    int
        The number of the new scoring, which is used from now on.

    Raises
    ------
    DatasetError
        ``targets`` cannot be read, lacks a conversation of the run, or asks something else; the first conversation and
        turn that differ are named, and nothing is written.
    RunFileError
        The file cannot be used or written, or is being written by another process.
    SettingsError
        There is no such scorer, or the run used a Python function and none is given.
    """
    scorer = own_functions.setting_of(scorer)
    given = Settings(scorer=scorer).default_scorer
    with RunFile.open(Path(path)) as runfile, gc_frozen():
        default = None if given else Settings(scorer=runfile.info()["settings"].get("scorer")).default_scorer
        check_turn = None if given else scoring.turn_checker(default)
        corrected = None if targets is None else corrected_targets.read(runfile, targets, check_turn)
        return scorings.add(
            runfile, scorer, _groups(runfile, given, default), corrected=corrected,
            versions=scorings.versions_of, scores_all=scoring.scores_all(given or default),
        )  # fmt: skip


def use_scoring(path: Path | str, number: int) -> int:
    """Use an earlier scoring again; 0 is the run's own. Returns its number.

    Raises
    ------
    RunFileError
        There is no such scoring, or the file cannot be used or written.
    """
    with RunFile.open(Path(path)) as runfile:
        scorings.make_current(runfile, number)
    return number


def score(answer: str | Mapping[str, Any], target: Any, scorer: Any = None, *, question: str = "") -> Score:
    r"""Score one answer, without a request and without a run.

    Parameters
    ----------
    answer : str or mapping
        The text of an answer, or an assistant's message in the form of the API: ``content`` and ``tool_calls``.
    target : any JSON value
        What the answer is compared with; None for scorers that need no target.
    scorer : str, ScorerSpec, mapping, callable or a sequence of those, optional
        None: the default for the target's type.
    question : str, optional
        What was asked, for the scorers that read it: ``choice`` finds the options in it, and ``number`` the numbers
        that it brought, the unit and the language. Without it, an answer in the words of an option is not read.

    Returns
    -------
    Score
        ``value`` (0 to 1; None if the scorer cannot decide), ``reason`` and ``extracted``.

    Raises
    ------
    SettingsError
        There is no such scorer, it cannot compare with this target, the message has another form than the API's, or the
        question is not text.

    Examples
    --------
    >>> score("12 + 23 is 35.", 35).value
    1.0
    >>> score("Rome", "B", question="Italy's capital?\nA) Oslo\nB) Rome").value
    1.0
    >>> call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 12, "b": 23}'}}
    >>> score({"role": "assistant", "tool_calls": [call]}, {"name": "add", "arguments": {"a": 12, "b": 23}}).value
    1.0
    """
    if not isinstance(question, str):
        raise SettingsError(f"question is {_named(question)}: it must be the text of what was asked")
    turn = Turn(question, target=target, scorer=Settings(scorer=own_functions.setting_of(scorer)).default_scorer)
    try:
        scoring.turn_checker()(turn)
    except DatasetError as error:
        raise SettingsError(str(error)) from None
    scored = scoring.score(turn, _answer(answer))
    if scored is None:
        raise SettingsError("the target is missing: there is nothing to compare the answer with")
    return scored


def _answer(answer: Any) -> Answer:
    if isinstance(answer, str):
        return Answer(answer)
    message = _object("the answer", answer, "text or an assistant's message as a dict")
    role = message.get("role", "assistant")
    if role != "assistant":
        raise SettingsError(f"the answer is a message of the role {role!r}: only an assistant's message can be scored")
    if not _OF_A_MESSAGE & message.keys():
        raise SettingsError(
            f"the answer has neither content nor tool_calls, but {', '.join(map(str, message)) or 'no keys'}: "
            "give the assistant's message, which is choices[0].message of a response"
        )
    listed = message.get("tool_calls")
    if not isinstance(listed, list | tuple | None):
        raise SettingsError(f"tool_calls is {_named(listed)}: it must be a list of calls")
    calls = [_call(f"tool_calls[{number}]", call) for number, call in enumerate(listed or ())]
    if message.get("function_call") is not None:  # the form before tool_calls
        calls.append(_function("function_call", message["function_call"]))
    return Answer(_text("content", message), refusal=_text("refusal", message) or None, tool_calls=tuple(calls))


_OF_A_MESSAGE = frozenset({"content", "refusal", "tool_calls", "function_call"})


def _call(place: str, call: Any) -> ToolCall:
    fields = _object(place, call)
    function = _function(f"{place}.function", fields.get("function"))
    return function._replace(id=_text(f"{place}.id", fields, "id") or None)


def _function(place: str, value: Any) -> ToolCall:
    function = _object(place, value)
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str):
        raise SettingsError(f"{place}.name is {_named(name)}: it must be the name of the function that is called")
    if not isinstance(arguments, str | None):  # some endpoints send the arguments as an object
        try:
            arguments = orjson.dumps(arguments).decode()
        except orjson.JSONEncodeError as error:
            raise SettingsError(f"{place}.arguments cannot be written as JSON: {error}") from None
    return ToolCall(name, arguments or "")


def _object(place: str, value: Any, expected: str = "an object") -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    hint = ", as its model_dump() returns it" if hasattr(value, "model_dump") else ""
    raise SettingsError(f"{place} is {_named(value)}: it must be {expected}{hint}")


def _text(place: str, fields: Mapping[str, Any], key: str | None = None) -> str:
    value = fields.get(key or place)
    if not isinstance(value, str | None):
        raise SettingsError(f"{place} is {_named(value)}: it must be text or null")
    return value or ""


def _named(value: Any) -> str:
    kind = type(value).__name__
    return "missing" if value is None else f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


def _groups(runfile: RunFile, given: ScorerSpec | None, default: ScorerSpec | None) -> Iterator[list[Scored]]:
    after: TurnKey | None = (-1, 0, 0)
    while after is not None:
        scores, after = _scored(runfile, after, given, default)
        yield scores


def _scored(
    runfile: RunFile, after: TurnKey, given: ScorerSpec | None, default: ScorerSpec | None
) -> tuple[list[Scored], TurnKey | None]:
    """Scores of the next turns, and the key of the last one; None: there are no more.

    Turns are read one at a time, so that only their scores are in memory; each conversation is parsed once.
    """
    scores: list[Scored] = []
    last = None
    try:
        for position, repeat, turn, row, has_target, *answer in runfile.connection.execute(
            _ANSWERED, (*after, given is not None, GROUP)
        ):
            last = position, repeat, turn
            scored_turn, _, tools = stored_turn(row, turn)
            scored_turn = scored_turn._replace(scorer=given) if given else scored_turn
            score = scoring.score(scored_turn, stored_answer(*answer), default=default, tools=tools)
            if score is None and has_target and given:
                score = Score(given.name, None, f"there is no target, and the scorer {given.name} needs one")
            if score is not None:
                scores.append((position, repeat, turn, score))
    except (sqlite3.DatabaseError, EvalkitError, ValueError, LookupError, TypeError) as error:
        where = f"near conversation number {(last or after)[0] + 1}"
        raise RunFileError(
            f"{runfile.path} is damaged {where} ({error}): restore it from a backup or run again"
        ) from None
    return scores, last
