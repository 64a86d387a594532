"""What the answers of a run, or its endpoint, lack or did otherwise than requested: a sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOST_REASONS = 5  # named in a sentence


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


def _answers(count: int) -> str:
    return "one answer" if count == 1 else f"{count:,} answers"


def _turns(count: int) -> str:
    return "one turn" if count == 1 else f"{count:,} turns"
