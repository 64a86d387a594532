"""The sentences on one run, in order: a terminal, a report and a pull request show all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from evalkit.wording import caveats, checkup_concerns, incomplete_answers, run_results
from evalkit.wording.imported import imported
from evalkit.wording.times_trust import times_trust
from evalkit.wording.unfinished import unfinished


class Sentence(NamedTuple):
    """A sentence that begins in lower case and has no full stop, and whether it is a warning."""

    text: str
    warning: bool


def notes(result: Mapping[str, Any]) -> Iterator[str]:
    """What the table by turn does not hold: ``result`` is the object of ``--json``."""
    if result["answered"] and result["imported"] is None:
        yield run_results.turn_time(result)
    yield run_results.accuracy_all(result)
    if result["arrivals"] is not None:
        yield run_results.arrivals(result["arrivals"])
    if result["interrupted"]:
        yield run_results.cancelled_turns(result["interrupted"])
    conversations = result["conversations"]
    if len(result["by_turn"]) > 1 and conversations["n"] + conversations["incomplete"]:
        yield run_results.conversations(conversations)
    if result["repeats"] is not None:
        yield run_results.repeats(result["repeats"])


def reliability(
    result: Mapping[str, Any],
    info: Mapping[str, Any],
    *,
    resume: str,
    quoted: Callable[[str], str] = str,
) -> Iterator[Sentence]:
    """How far the numbers can be trusted, each sentence once.

    Parameters
    ----------
    result : mapping
        The object of ``--json``.
    info : mapping
        ``dataset`` and ``settings`` of the run.
    resume : str
        The command that resumes it.
    quoted : callable
        Makes an untrusted name safe for the text it is put into.
    """
    settings, turns = info["settings"], info["dataset"].get("turns")
    repeats = int(settings.get("repeats", 1))
    if result["until"] is None and (precision := run_results.precision(result)) is not None:
        yield Sentence(precision, False)
    if result["doubt"] is not None:
        yield Sentence(f"the interval of the accuracy may be too short. {result['doubt']}", True)
    if (imported_from := imported(result["imported"], quoted)) is not None:
        yield Sentence(imported_from, True)
    elif result["answered"]:
        yield from (Sentence(*each) for each in times_trust(result["trust"], settings["concurrency"]))
    parameters = result["ignored_parameters"]
    for line in (
        *run_results.answering_models(result["answering_models"], repeats, quoted),
        *run_results.ignored_parameters(parameters),
        *run_results.cut_off(parameters),
        *checkup_concerns.sentences(result["checkup"]),
    ):
        yield Sentence(line, True)
    again = incomplete_answers.how_to_send_again(result, resume, quoted)
    for line in (
        *incomplete_answers.effects(result),
        *([] if again is None else [again]),
        *incomplete_answers.sent_again(result),
        *caveats.sentences(result["caveats"]),
    ):
        yield Sentence(line, False)
    yield from (Sentence(*each) for each in unfinished(result, None if turns is None else int(turns) * repeats))
