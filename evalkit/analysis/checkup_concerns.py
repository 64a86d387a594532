"""What a checkup found that touches a run: verdicts on what the requests of the run hold.

They are computed from the dataset before the first request, and kept in the run file with the checkup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.checkup.probes.verdicts import DIFFERS, IGNORED, UNSUPPORTED
from evalkit.conversation import INSTRUCTION_ROLES, Conversation
from evalkit.datasets import reader
from evalkit.endpoint import Endpoint
from evalkit.runfile.kept_checkup import OPTIONS, KeptCheckup
from evalkit.settings import Settings

# parameters with a probe of that name; ``n`` is none of them, since a run sends no other than 1
_SET = ("max_tokens", "max_completion_tokens", "stop", "seed", "logprobs", "functions")
_NO_EFFECT = (IGNORED, UNSUPPORTED)
# a verdict of ``differs`` on these changes what a run measures; on others it is about the form of an answer
_MATTERS = {
    **dict.fromkeys(("temperature_0", "usage_exact", "stream_gradual"), (DIFFERS,)),
    "streamed_call": (IGNORED,),  # refused too where only ``stream_options`` is, without which streams may be accepted
}
_BY_ROWS = {  # what the parameters and messages of a row may bring
    *_SET, "temperature_0", "json_object", "json_schema", "tool_required", "tool_none", "tool_named",
    "late_system_message", "history", "content_parts", "tool_call", "tool_result", "after_tool_round",
}  # fmt: skip


def with_concerns(
    kept: KeptCheckup, endpoint: Endpoint, settings: Settings, data: Path, *, whole: bool = True
) -> KeptCheckup:
    """The checkup with its ``concerns``.

    Parameters
    ----------
    kept : KeptCheckup
    endpoint : Endpoint
    settings : Settings
    data : Path
        The dataset; it is read until every verdict that may matter does.
    whole : bool
        Read all conversations of the run; otherwise only the first.

    Raises
    ------
    DatasetError
        The dataset cannot be read.
    """
    matters = list(_that_matter(kept))
    touched = {*_of_params(endpoint.params, settings), *_of_stream_options(kept, endpoint.params, settings)}
    waiting = set(matters) & _by_rows(settings) - touched
    if waiting:
        limit = settings.limit if whole else 1
        for conversation in reader.read(data, limit=limit, columns=settings.columns, unique=False):
            touched |= set(_of_conversation(conversation, endpoint.params, settings))
            if waiting <= touched:
                break
    return replace(kept, concerns=tuple(name for name in matters if name in touched))


def _that_matter(kept: KeptCheckup) -> Iterator[str]:
    """The concerns of a run that requests everything."""
    for name, found in kept.probes.items():
        if found.verdict in _MATTERS.get(name, _NO_EFFECT):
            yield name
    if kept.refuses_options:
        yield OPTIONS


def _by_rows(settings: Settings) -> set[str]:
    """The probes of what a row can bring, where the settings of the run do not decide it."""
    instructions = set() if settings.system is not None else {f"{role}_message" for role in INSTRUCTION_ROLES}
    return _BY_ROWS | instructions | ({"streamed_call"} if settings.stream else set())


def _of_params(params: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    """The probes of what each request with these parameters holds."""
    yield from (name for name in _SET if _is_set(params.get(name)))
    yield "usage_exact"
    if settings.seed is not None:
        yield "seed"
    if settings.system:
        yield "system_message"
    if settings.stream:
        yield "stream_gradual"
    if params.get("temperature") == 0 and not isinstance(params["temperature"], bool):
        yield "temperature_0"
    form, choice = params.get("response_format"), params.get("tool_choice")
    if isinstance(form, Mapping) and form.get("type") in ("json_object", "json_schema"):
        yield form["type"]
    if choice in ("required", "none"):
        yield f"tool_{choice}"
    elif isinstance(choice, Mapping):
        yield "tool_named"


def _is_set(value: Any) -> bool:
    return value is not False and value not in (None, "", [], ())


def _of_stream_options(kept: KeptCheckup, params: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    """The concern about ``stream_options``: as a parameter of the run it is sent even if it was refused.

    No row can set it.
    """
    options = params.get(OPTIONS)
    if options is not None and kept.refuses_options:
        yield OPTIONS
    elif settings.stream and (OPTIONS not in params or (isinstance(options, Mapping) and options.get("include_usage"))):
        yield "stream_usage"


def _of_conversation(conversation: Conversation, params: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    """The probes of what the requests of a conversation hold."""
    if conversation.params:
        yield from _of_params({**params, **conversation.params}, settings)
    if conversation.system and settings.system is None:
        yield "system_message"
    roles = [message.role for message in conversation.context]
    opening = next((n for n, role in enumerate(roles) if role not in INSTRUCTION_ROLES), len(roles))
    if settings.system is None:
        yield from (f"{role}_message" for role in roles[:opening])
    if any(role in INSTRUCTION_ROLES for role in roles[opening:]):
        yield "late_system_message"
    if len(conversation.turns) > 1 or "user" in roles or "assistant" in roles:
        yield "history"
    if conversation.has_parts:
        yield "content_parts"
    if conversation.tools or params.get("tools"):
        yield "tool_call"
        if settings.stream:
            yield "streamed_call"
        if conversation.tool_results or settings.functions:
            yield "tool_result"
            if len(conversation.turns) > 1:
                yield "after_tool_round"
