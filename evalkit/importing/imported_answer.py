"""What every reader of a form gives: a source of answers, with what the other tool says about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evalkit.conversation import Message
from evalkit.errors import Failure
from evalkit.record import Answer, Score, Usage


class ImportedAnswer(NamedTuple):
    """One answer.

    Parameters
    ----------
    id : str
        Of its conversation.
    row : mapping or None
        The conversation as a native row; None: it is in the dataset that is imported with the answers.
    answer : Answer or None
        None: the request failed.
    failure : Failure or None
    repeat, turn : int
        Counted from 1.
    exchange : tuple of Message
        Calls and results of tools before the answer.
    usage : Usage or None
    score : Score or None
        The other tool's. None: it did not score this answer.
    http_status : int or None
    line : int or None
        Its line in the file.
    place : str or None
        Its place in a file without lines, for errors.
    """

    id: str
    row: Mapping[str, Any] | None
    answer: Answer | None
    failure: Failure | None = None
    repeat: int = 1
    turn: int = 1
    exchange: tuple[Message, ...] = ()
    usage: Usage | None = None
    score: Score | None = None
    http_status: int | None = None
    line: int | None = None
    place: str | None = None


@dataclass(slots=True)
class Source:
    """A file of answers.

    Parameters
    ----------
    form : str
        ``answers``, ``inspect``, ``lm-eval`` or ``openai-batch``.
    answers : callable
        Yields the answers; errors are ``DatasetError`` with line and field, without the path.
    model : str or None
    base_url : str or None
    params : mapping
        Request parameters.
    about : dict
        What the file says about itself: task, date, version. Complete when the answers have been read.
    scorer : str or None
        The other tool's scorer whose scores are taken.
    scorers : Counter
        The scorers found, with the number of answers that each has scored.
    notes : Counter
        What of the file is not in the run, with how often; complete when the answers have been read.
    """

    form: str
    answers: Callable[[], Iterator[ImportedAnswer]]
    model: str | None = None
    base_url: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    scorer: str | None = None
    scorers: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def scores_itself(self) -> bool:
        """Whether the scores are the other tool's; else evalkit scores the answers that have a target and no score."""
        return self.form in ("inspect", "lm-eval")


def score_of(scorer: str, value: Any, extracted: Any = None, reason: str | None = None) -> Score:
    """A score of another tool; without a value, and with the reason, if it is not a number from 0 to 1."""
    if isinstance(value, bool):
        value = float(value)
    if not isinstance(value, int | float):
        return Score(scorer, None, f"its value is not a number: {str(value)[:200]}", extracted)
    if value != value:
        return Score(scorer, None, reason or "it has no value", extracted)
    if not 0 <= value <= 1:
        return Score(scorer, None, f"its value is {str(value)[:40]}, and a score is from 0 to 1", extracted)
    return Score(scorer, float(value), reason, extracted)
