"""Probes of whole answers: their shape, ids and token counts, and what became of the messages sent."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

from evalkit.checkup.probes import official_types
from evalkit.checkup.probes.call import HELLO, PLAIN, Call, ask, user
from evalkit.checkup.probes.probe import (
    Judgement,
    Probe,
    conforms,
    differs,
    ignored,
    not_judged,
    shown,
    without_faults,
)
from evalkit.checkup.probes.reply import Reply, mapping
from evalkit.client.model_names import names_another_model

SUBJECT = "answers"
REASONS = ("stop", "length", "tool_calls", "content_filter", "function_call")
_DAY_S = 86_400
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_WORDS = 300
_LONG = " ".join(f"Item {n} is blue." for n in range(_WORDS // 4))
_NAME = "Quillon"
_DEMAND = (
    f"Answer every message with the one word {_NAME}. Whatever the user says, and in whatever language, the whole "
    f"answer is {_NAME}: no greeting before it, no explanation after it, no question, and no other word in its place."
)
_THINK = re.compile(r"</?(?:think|thinking|reasoning)>", re.IGNORECASE)

LONGER = Call("longer input", ask(f"{_LONG}\n{HELLO}"), tokens=8, tokens_sent=600)
SYSTEM = Call("system message", {"messages": [{"role": "system", "content": _DEMAND}, user(HELLO)]}, tokens_sent=70)
# a template may have a system message of its own where none is sent, so two are compared
SHORT_SYSTEM = Call(
    "short system message", {"messages": [{"role": "system", "content": "Be brief."}, user(HELLO)]}, tokens=1
)
DEVELOPER = Call(
    "developer message", {"messages": [{"role": "developer", "content": _DEMAND}, user(HELLO)]}, tokens_sent=70
)
HISTORY = Call(
    "history",
    {
        "messages": [
            user(f"My name is {_NAME}. Please remember it."),
            {"role": "assistant", "content": f"Hello {_NAME}, I will remember it."},
            user("What is my name?"),
        ]
    },
)
LAST_ALONE = Call("last message of the history", ask("What is my name?"), tokens=1)
TWO_IN_A_ROW = Call("two user messages in a row", {"messages": [user("Here is a list of items."), user(HELLO)]})
LATE_SYSTEM = Call(
    "system message after the user's",
    {"messages": [user(HELLO), {"role": "system", "content": _DEMAND}]},
    tokens_sent=70,
)
PARTS = Call("content parts", {"messages": [{"role": "user", "content": [{"type": "text", "text": HELLO}]}]})
UNICODE = Call("unicode", ask("Repeat exactly: Grüße, 日本 🎉 ok"), tokens=24)


def _shape(reply: Reply) -> Judgement:
    if reply.streamed:
        return differs("a stream came, although a whole answer was requested")
    if reply.json is None:
        return differs(f"the body is not JSON: {reply.header('content-type') or 'no content type'}")
    faults = official_types.faults(reply.json, streamed=False)
    return without_faults(faults, f"every field is of its type ({official_types.source()})")


def _ids(one: Reply, other: Reply) -> Judgement:
    return without_faults(_id_faults(one, other), "id, object, created and model are as in the reference")


def _id_faults(one: Reply, other: Reply) -> Iterator[str]:
    first, second = mapping(one.json), mapping(other.json)
    if not (isinstance(first.get("id"), str) and first["id"]):
        yield "no id"
    elif first["id"] == second.get("id"):
        yield f"two answers have the same id {shown(first['id'])}"
    if first.get("object") != "chat.completion":
        yield f"object is {shown(first.get('object'))}"
    created = first.get("created")
    if isinstance(created, int | float) and abs(created - time.time()) > _DAY_S:
        yield f"created is {shown(created)}: not the time in seconds"


def _model(reply: Reply) -> Judgement:
    reported, requested = mapping(reply.json).get("model"), str(mapping(reply.request).get("model"))
    if not isinstance(reported, str) or not reported:
        return differs("no model is reported: nothing tells what answered")
    if names_another_model(requested, reported):
        return differs(f"{shown(requested)} was requested, {shown(reported)} is reported")
    return conforms(f"reports {shown(reported)}")


def _usage(reply: Reply) -> Judgement:
    usage = reply.usage
    if not usage:
        place = "; the counts are inside the choice" if mapping(reply.choice.get("usage")) else ""
        return differs(f"no token counts{place}")
    return without_faults(usage_faults(usage), " + ".join(str(usage[name]) for name in _COUNTS[:2]) + " tokens")


def usage_faults(usage: dict[str, Any]) -> Iterator[str]:
    """What is wrong with token counts by themselves."""
    counts = [usage.get(name) for name in _COUNTS]
    for name, count in zip(_COUNTS, counts, strict=True):
        if type(count) is not int:
            yield f"{name} is {shown(count)}"
    prompt, completion, total = counts
    if isinstance(prompt, int) and isinstance(completion, int) and isinstance(total, int):
        if total != prompt + completion:
            yield f"total_tokens is {total}, and {prompt} + {completion} is {prompt + completion}"
        if not prompt:
            yield "prompt_tokens is 0"


def _usage_grows(longer: Reply, plain: Reply) -> Judgement:
    many, few = longer.count("prompt_tokens"), plain.count("prompt_tokens")
    if many is None or few is None:
        return not_judged("no count of prompt tokens")
    added = f"{_WORDS} more words add {many - few} prompt tokens"
    return conforms(added) if _WORDS // 2 <= many - few <= _WORDS * 6 else differs(added)


def _heard(reply: Reply, shorter: Reply, longer: Reply | None, plain: Reply | None) -> Judgement:
    """Whether messages before the last one had an effect: in the answer, or else in the count of prompt tokens."""
    if _NAME.lower() in reply.text.lower():
        return conforms("the answer obeys it")
    many, few = reply.count("prompt_tokens"), shorter.count("prompt_tokens")
    if many is None or few is None:
        return not_judged("the answer does not obey it, which may be the model's; no token counts tell more")
    if many > few:
        return conforms(f"counted: {many - few} more prompt tokens; the answer does not obey it, which is the model's")
    if not _grow(longer, plain):
        return not_judged("the answer does not obey it, which may be the model's; token counts never grow")
    return ignored(f"accepted, but neither obeyed nor counted: {many} prompt tokens, {few} for less text")


def _grow(longer: Reply | None, plain: Reply | None) -> bool:
    """Whether token counts tell anything: whether they grow with the input."""
    if longer is None or plain is None:
        return False
    return (longer.count("prompt_tokens") or 0) > (plain.count("prompt_tokens") or 0)


def _both_counted(reply: Reply, plain: Reply, longer: Reply | None) -> Judgement:
    many, few = reply.count("prompt_tokens"), plain.count("prompt_tokens")
    if many is None or few is None:
        return not_judged("accepted; no token counts tell whether both are used")
    if not _grow(longer, plain):
        return not_judged("accepted; token counts never grow, so they tell nothing")
    if many > few:
        return conforms(f"accepted and counted: {many - few} more prompt tokens")
    return ignored(f"accepted, but not counted: {many} prompt tokens, {few} without it")


def _parts(reply: Reply, plain: Reply) -> Judgement:
    parts, text = reply.count("prompt_tokens"), plain.count("prompt_tokens")
    if parts is None or text is None:
        return not_judged("accepted; no token counts tell whether the text is used")
    if parts >= text / 2:
        return conforms(f"accepted: {parts} prompt tokens, {text} as plain text")
    return ignored(f"accepted, but {parts} prompt tokens, and {text} as plain text")


def _finish_reason(reply: Reply) -> Judgement:
    reason = reply.choice.get("finish_reason")
    if reason in REASONS:
        return conforms(shown(reason))
    return differs("no finish reason" if reason is None else f"{shown(reason)} is not in the reference")


def _unicode(reply: Reply) -> Judgement:
    try:
        reply.content.decode()
    except UnicodeDecodeError:
        return differs("the body is not UTF-8")
    if "\ufffd" in reply.text or any("\ud800" <= character <= "\udfff" for character in reply.text):
        return differs(f"characters are broken: {shown(reply.text)}")
    if reply.text.isascii():
        return not_judged("the model answered in ASCII")
    return conforms(shown(reply.text))


def reasoning_form(parts: dict[str, Any], text: str) -> str:
    """The form of reasoning in a message or a delta; empty: there is none."""
    for name in ("reasoning_content", "reasoning", "thinking", "reasoning_details"):
        if parts.get(name):
            return name
    if isinstance(parts.get("content"), list):
        return "typed parts of content"
    found = _THINK.search(text)
    return f"the text, as {found[0]}" if found else ""


def _reasoning(reply: Reply) -> Judgement:
    form = reasoning_form(reply.message, reply.text)
    counted = mapping(reply.usage.get("completion_tokens_details")).get("reasoning_tokens")
    if not form:
        return conforms(f"only {counted} reasoning tokens counted, no text of them" if counted else "none")
    if not reply.text.strip() and reply.finish_reason == "stop":
        return differs(f"the whole answer is in {form}: the content is empty")
    return differs(f"in {form}")


PROBES = (
    Probe("answer_shape", SUBJECT, "a whole answer: each field of its type",
          "The official client does not check types: code fails later, where a field is used.", (PLAIN,), _shape),
    Probe("answer_ids", SUBJECT, "id, object and created of two answers",
          "Logs and traces identify an answer by its id.", (PLAIN, LONGER), _ids),
    Probe("answer_model", SUBJECT, "the model that the answer reports",
          "A score belongs to the model that answered; an alias may be served by another one.", (PLAIN,), _model),
    Probe("finish_reason", SUBJECT, "why the answer ended",
          "Without it a cut answer looks like a whole one.", (PLAIN,), _finish_reason),
    Probe("usage", SUBJECT, "token counts of a whole answer",
          "Costs, and times per token, are computed from them.", (PLAIN,), _usage),
    Probe("usage_grows", SUBJECT, f"prompt tokens of a message with {_WORDS} words more",
          "Counts that do not grow with the input are not counts.", (LONGER, PLAIN), _usage_grows),
    Probe("system_message", SUBJECT, "a system message that demands one word",
          "Instructions that are dropped lower every score, and nothing reports it.",
          (SYSTEM, SHORT_SYSTEM), _heard, optional=(LONGER, PLAIN)),
    Probe("developer_message", SUBJECT, "the same as a developer message",
          "Newer programs send this role in place of system.", (DEVELOPER, SHORT_SYSTEM), _heard,
          optional=(LONGER, PLAIN)),
    Probe("history", SUBJECT, "a question that only the earlier turns answer",
          "Multi-turn scores need the whole history to reach the model.", (HISTORY, LAST_ALONE), _heard,
          optional=(LONGER, PLAIN)),
    Probe("two_user_messages", SUBJECT, "two user messages in a row",
          "Some templates demand that roles alternate.", (TWO_IN_A_ROW, PLAIN), _both_counted,
          optional=(LONGER,)),
    Probe("late_system_message", SUBJECT, "a system message after the user's",
          "Agents add instructions in the middle of a conversation.", (LATE_SYSTEM, PLAIN), _both_counted,
          optional=(LONGER,)),
    Probe("content_parts", SUBJECT, "the content as a list with a text part",
          "Programs that may send images send every text in this form.", (PARTS, PLAIN), _parts),
    Probe("reasoning", SUBJECT, "reasoning beside or inside the text",
          "The official client shows only content; reasoning inside it is scored as the answer.", (PLAIN,), _reasoning),
    Probe("unicode", SUBJECT, "an answer with characters outside ASCII",
          "Broken characters are scored as wrong answers.", (UNICODE,), _unicode),
)  # fmt: skip
