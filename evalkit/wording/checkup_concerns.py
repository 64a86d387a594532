"""What a checkup found that touches a run, a sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.wording.probe_verdicts import counts_in_words

_FAILS = "requests with it fail"
_NO_COUNTS = (
    "the tokens, costs and times per token of streamed answers are missing, and limits of tokens go by estimates"
)
_DECIDES = "the model decides whether to call"
# concern to what it is about, what follows where that has no effect, and where it is refused
_EFFECTS: dict[str, tuple[str, str, str]] = {
    "max_tokens": ("max_tokens", "answers may be longer", _FAILS),
    "max_completion_tokens": ("max_completion_tokens", "answers may be longer", _FAILS),
    "stop": ("stop", "answers go on after a stop sequence", _FAILS),
    "seed": ("seed", "repeats are not seeded, and the run cannot be repeated", _FAILS),
    "logprobs": ("logprobs", "answers have no log probabilities", _FAILS),
    "json_object": ("response_format json_object", "answers may be no JSON", _FAILS),
    "json_schema": ("response_format json_schema", "answers need not follow the schema", _FAILS),
    "system_message": ("a system message", "the system prompt has no effect on the answers", _FAILS),
    "developer_message": ("a developer message", "its instructions have no effect on the answers", _FAILS),
    "late_system_message": ("a later system message", "its instructions have no effect on the answers", _FAILS),
    "history": ("earlier turns", "the model sees only the last message of a conversation", "later turns fail"),
    "content_parts": ("content in parts", "the model does not see the parts", _FAILS),
    "functions": ("functions", "the model cannot call them", _FAILS),
    "tool_call": ("tools", "the model cannot call them", _FAILS),
    "tool_required": ("tool_choice required", _DECIDES, _DECIDES),
    "tool_named": ("tool_choice with a name", _DECIDES, _DECIDES),
    "tool_none": ("tool_choice none", "the model may call a function", _FAILS),
    "streamed_call": ("tools in streams", "the model cannot call them", _FAILS),
    "tool_result": ("results of tools", "the model does not see them", "turns with a tool round fail"),
    "after_tool_round": (
        "a turn after a tool round", "the model does not see the round",
        "tool rounds are left out of the history of later turns",
    ),
    "stream_usage": ("stream_options.include_usage", _NO_COUNTS, f"it is not sent, so {_NO_COUNTS}"),
    "stream_options": ("the parameter stream_options", _NO_COUNTS, _FAILS),
}  # fmt: skip
_FOUND = {"ignored": ("ignored", 0), "unsupported": ("refused", 1)}  # verdict to its word and its effect
_DIFFERING = {
    "temperature_0": "two different answers to one request at temperature 0: another run gives other scores",
    "usage_exact": "token counts that are estimates: so are costs and times per token",
    "stream_gradual": "streams that arrive all at once: their first-token time is that of the whole answer",
}


def sentences(checkup: Mapping[str, Any] | None) -> Iterator[str]:
    """One sentence for each concern, from ``checkup`` of ``--json`` of a run; None: it was given no checkup."""
    for concern in checkup["concerns"] if checkup is not None else ():
        name, verdict = concern["name"], concern["verdict"]
        if verdict == "differs" and name in _DIFFERING:
            yield f"the checkup found {_DIFFERING[name]}"
        elif verdict in _FOUND and name in _EFFECTS:
            what, *effects = _EFFECTS[name]
            found, effect = _FOUND[verdict]
            yield f"the checkup found {what} {found}: {effects[effect]}"


def kept(checkup: Mapping[str, Any]) -> str:
    """When the endpoint was checked, and how many probes have each verdict."""
    return f"{checkup['checked_at'][:10]}, {counts_in_words(checkup['counts'])}"
