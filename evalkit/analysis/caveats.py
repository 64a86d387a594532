"""Warnings about the answers of a run: unconfirmed, requested again when in doubt, or requested in another way."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from evalkit.record import (
    CALL_NOT_DEMANDED,
    IN_DOUBT,
    KEYS_LEFT_OUT,
    LEFT_OPEN,
    LENIENT_HTTP,
    NO_TOOL_ROUNDS,
    OUTPUT_CORRECTED,
    UNCONFIRMED,
    UNKNOWN_FINISH_REASON,
)
from evalkit.runfile.reasoning_only import reasoning_only

_TURNS = f"""
    SELECT total(status = 'answered'), total(status = 'answered' AND instr(flags, '{UNCONFIRMED}')),
      total(instr(flags, '{CALL_NOT_DEMANDED}') > 0), total(instr(flags, '{NO_TOOL_ROUNDS}') > 0),
      total(instr(flags, '{KEYS_LEFT_OUT}') > 0), total(instr(flags, '{UNCONFIRMED}') > 0),
      total(status = 'answered' AND instr(flags, '{LEFT_OPEN}')),
      total(status = 'answered' AND instr(flags, '{LENIENT_HTTP}')),
      total(status = 'answered' AND instr(flags, '{UNKNOWN_FINISH_REASON}')),
      total(instr(flags, '{OUTPUT_CORRECTED}') > 0) FROM turn"""  # noqa: S608 - SQL of our own
_DOUBTED = f"SELECT total(instr(flags, '{IN_DOUBT}') > 0) FROM attempt"  # noqa: S608
_UNKNOWN_REASONS = f"""
    SELECT finish_reason, count(*) FROM turn
    WHERE status = 'answered' AND instr(flags, '{UNKNOWN_FINISH_REASON}') GROUP BY 1 ORDER BY 2 DESC, 1"""  # noqa: S608
_MOST_REASONS = 5  # named in a sentence


class Caveats(NamedTuple):
    """Number of answers and turns with a warning.

    Parameters
    ----------
    answers : int
        Answered turns.
    unconfirmed : int
        Those without a finish reason: the endpoint does not confirm that they are complete.
    in_doubt : int
        Answers that were requested again, or will be: unconfirmed, and they ended close to a failure of another
        request.
    call_not_demanded : int
        Turns whose required call the endpoint refused, so that the model decided whether to call.
    no_tool_rounds : int
        Turns whose history was sent without earlier tool rounds, which the endpoint does not accept.
    keys_left_out : int
        Turns whose tool rounds were sent without keys that the endpoint does not accept.
    left_open : int
        Answers with a finish reason after which the endpoint ended neither the stream nor the connection.
    lenient_http : int
        Answers whose HTTP breaks the rules, but could be read.
    unknown_finish_reasons : mapping of str to int
        Finish reasons of answers that evalkit does not know, with the number of answers.
    reasoning_only : int
        Answers that are all reasoning, without text, refusal or call; none of them is scored.
    reasoning_cut_off : int
        Those of them that were cut off at a token limit.
    output_tokens_corrected : int
        Turns whose number of output tokens, as reported, left out the reasoning tokens, which were added.
    """

    answers: int
    unconfirmed: int
    in_doubt: int
    call_not_demanded: int
    no_tool_rounds: int
    keys_left_out: int = 0
    left_open: int = 0
    lenient_http: int = 0
    unknown_finish_reasons: Mapping[str, int] = {}
    reasoning_only: int = 0
    reasoning_cut_off: int = 0
    output_tokens_corrected: int = 0


NO_CAVEATS = Caveats(0, 0, 0, 0, 0)


def caveats(connection: sqlite3.Connection) -> Caveats:
    """Count the warnings in a run file."""
    counts = map(int, connection.execute(_TURNS).fetchone())
    answers, unconfirmed, not_demanded, no_rounds, left_out, unconfirmed_turns, *more = counts
    left_open, lenient, unknown, corrected = more
    # an answer in doubt is unconfirmed, and then most answers of its endpoint are
    doubted = int(connection.execute(_DOUBTED).fetchone()[0]) if unconfirmed_turns else 0
    return Caveats(
        answers,
        unconfirmed,
        doubted,
        not_demanded,
        no_rounds,
        left_out,
        left_open,
        lenient,
        dict(connection.execute(_UNKNOWN_REASONS)) if unknown else {},
        *reasoning_only(connection),
        corrected,
    )


def sentences(counts: Mapping[str, Any]) -> list[str]:
    """One sentence for each kind of warning, from the ``caveats`` of ``--json``."""
    lines = []
    if counts["unconfirmed"]:
        lines.append(
            f"{counts['unconfirmed']:,} of {counts['answers']:,} answers ended without a finish reason: "
            "the endpoint does not confirm that they are complete"
        )
    if counts["in_doubt"]:
        answers, they = ("answer", "it") if counts["in_doubt"] == 1 else ("answers", "they")
        lines.append(
            f"{counts['in_doubt']:,} such {answers} ended within a second of a failure of another request: "
            f"{they} may be incomplete, and {'is' if they == 'it' else 'are'} requested again"
        )
    if counts["call_not_demanded"]:
        lines.append(
            f"the endpoint refuses a required call (tool_choice): in {_turns(counts['call_not_demanded'])} the model "
            "decided whether to call (auto)"
        )
    if counts["no_tool_rounds"]:
        lines.append(
            "the endpoint does not accept the tool rounds of earlier turns: "
            f"{_turns(counts['no_tool_rounds'])} had only their final answers in the history"
        )
    if counts.get("keys_left_out"):
        lines.append(
            f"the endpoint refuses further keys in messages: {_turns(counts['keys_left_out'])} had tool rounds without "
            "them (signatures and reasoning of calls, names of results)"
        )
    if reasons := counts["unknown_finish_reasons"]:
        named = ", ".join(f"{reason!r} ({count:,})" for reason, count in list(reasons.items())[:_MOST_REASONS])
        more = f" and {len(reasons) - _MOST_REASONS} others" if len(reasons) > _MOST_REASONS else ""
        lines.append(
            f"{_answers(sum(reasons.values()))} ended with a finish reason that evalkit does not know, and may be "
            f"incomplete: {named}{more}"
        )
    if counts["left_open"]:
        lines.append(
            f"after {_answers(counts['left_open'])} with a finish reason the endpoint left the stream open: "
            "evalkit ended each after 2 s, which are in no time of an answer"
        )
    if counts["lenient_http"]:
        lines.append(
            f"the HTTP of {_answers(counts['lenient_http'])} breaks the rules (a proxy may have changed it): they were "
            "read, and each connection was closed after its answer"
        )
    if counts["reasoning_only"]:
        lines.append(_reasoning_only(counts["reasoning_only"], counts["reasoning_cut_off"], counts["answers"]))
    if counts["output_tokens_corrected"]:
        lines.append(
            f"the output tokens reported for {_turns(counts['output_tokens_corrected'])} leave out the reasoning: "
            "its tokens were added"
        )
    return lines


def _reasoning_only(count: int, cut_off: int, answers: int) -> str:
    """How many answers are all reasoning, and what to do about it."""
    verb, they = ("is", "it has") if count == 1 else ("are", "they have")
    text = (
        f"{count:,} of {answers:,} answer{'s' * (answers != 1)} {verb} all reasoning and no text, so {they} no score: "
    )
    limit = "raise the token limit (max_tokens)"
    parser = "check the endpoint's reasoning parser, which may take the answer for reasoning, and its chat template"
    if not cut_off:
        return text + parser
    if cut_off == count:
        return f"{text}{'it was' if count == 1 else 'they were'} cut off while the model was thinking, {limit}"
    return f"{text}for {cut_off:,} cut off while the model was thinking, {limit}; for the others, {parser}"


def answer_note(flags: Collection[str]) -> str | None:
    """The warning about one answer, from the flags of its attempt; None: there is none."""
    if UNKNOWN_FINISH_REASON in flags:
        return "a finish reason that evalkit does not know: the answer may be incomplete"
    return "no finish reason: the endpoint does not confirm that it is complete" if UNCONFIRMED in flags else None


def _answers(count: int) -> str:
    return "one answer" if count == 1 else f"{count:,} answers"


def _turns(count: int) -> str:
    return "one turn" if count == 1 else f"{count:,} turns"
