"""Probes of streams: framing, events, token counts, and how the pieces arrive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from evalkit.checkup.probes import official_types
from evalkit.checkup.probes.answers import REASONS, reasoning_form, usage_faults
from evalkit.checkup.probes.call import COUNTING, LONG_STREAM, STREAM, Body, Call, Replies, ask, streamed
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
from evalkit.checkup.probes.reply import DONE, Reply, first, mapping

SUBJECT = "streams"
_LEAST_TOKENS = 4
_LEAST_MS = 50.0  # of an answer whose pieces can be told apart
_BUFFERED = 0.05  # share of the time to the last token within which all tokens of a buffered stream arrive
_MOST_TOKENS = 1.5  # per event
_MOST_CHECKED = 1_000  # events whose types are checked


def _looks_buffered(reply: Reply) -> bool:
    stamps = reply.token_stamps
    if len(stamps) < _LEAST_TOKENS or reply.ms(stamps[-1]) < _LEAST_MS:
        return False
    return (stamps[-1] - stamps[0]) / 1e6 < _BUFFERED * reply.ms(stamps[-1])


def _confirming_body(replies: Replies) -> Body | None:
    """The longer stream again, if the first looks buffered: a machine that is busy can have held it back."""
    return streamed(ask(COUNTING)) if _looks_buffered(replies[LONG_STREAM]) else None


CONFIRMING = Call("long stream again", _confirming_body, after=(LONG_STREAM,), tokens=32, alone=True)
UNICODE_STREAM = Call("unicode stream", streamed(ask("Repeat exactly: Grüße, 日本 🎉 ok")), tokens=24)


def _framing(reply: Reply) -> Judgement:
    return without_faults(_framing_faults(reply), f"{len(reply.events)} events, [DONE] at the end")


def _framing_faults(reply: Reply) -> Iterator[str]:
    if not reply.streamed:
        yield "a whole answer came, although a stream was requested"
        return
    kind = reply.header("content-type")
    if "text/event-stream" not in kind.lower():
        yield f"the content type is {shown(kind)}"
    lines = reply.content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n")
    named = (b"data:", b":", b"event:", b"id:", b"retry:")
    if unnamed := next((line for line in lines if line and not line.startswith(named)), None):
        yield f"a line is not that of an event: {shown(unnamed[:40].decode('utf-8', 'replace'))}"
    if len(reply.chunks) < sum(data != DONE for _, data in reply.events):
        yield "an event is not a JSON object"
    if reply.content.count(b"\n\n") + reply.content.count(b"\r\n\r\n") < len(reply.events) - 1:
        yield "events are not separated by a blank line"
    if not any(data == DONE for _, data in reply.events):
        yield "no [DONE]"
    if reply.left_open:
        yield "the connection stays open after the end"
    if any("error" in chunk or "choices" not in chunk for _, chunk in reply.chunks):
        strange = next(chunk for _, chunk in reply.chunks if "error" in chunk or "choices" not in chunk)
        yield f"an event without choices: {shown(strange)}"


def _chunk_shape(reply: Reply) -> Judgement:
    if not reply.chunks:
        return not_judged("no events")
    checked = [chunk for _, chunk in reply.chunks[:_MOST_CHECKED]]
    found = (fault for chunk in checked for fault in official_types.faults(chunk, streamed=True))
    return without_faults(found, f"every field of {len(checked):,} events is of its type")


def _role(reply: Reply) -> Judgement:
    roles = [delta.get("role") for _, delta in reply.deltas]
    if not roles:
        return not_judged("no deltas")
    if roles[0] != "assistant":
        return differs("the first delta has no role")
    if len(roles) > 2 and sum(role is not None for role in roles) > 1:
        return differs(f"the role is in {sum(role is not None for role in roles)} of {len(roles)} deltas")
    return conforms("in the first delta only")


def _finish(reply: Reply) -> Judgement:
    reasons = [choice.get("finish_reason") for _, choice in reply.stream_choices]
    given = [reason for reason in reasons if reason]
    if not given:
        return differs("no event has one: a cut answer looks like a whole one")
    if len(given) > 1 or reasons[-1] != given[0]:
        return differs(f"{shown(given[0])}, in {len(given)} of {len(reasons)} events")
    if given[0] not in REASONS:
        return differs(f"{shown(given[0])} is not in the reference")
    return conforms(f"{shown(given[0])}, in the last event")


def _usage(reply: Reply) -> Judgement:
    with_usage = [chunk for _, chunk in reply.chunks if mapping(chunk.get("usage"))]
    if not with_usage:
        inside = any(mapping(choice.get("usage")) for _, choice in reply.stream_choices)
        return differs("inside the choice, not beside it") if inside else ignored("requested, and no event has them")
    if len(with_usage) > 1:
        return differs(
            f"in {len(with_usage)} of {len(reply.chunks)} events: only the last counts, adding them is wrong"
        )
    if with_usage[0].get("choices"):
        return differs("beside a choice: the reference sends them in an event without choices")
    return without_faults(usage_faults(with_usage[0]["usage"]), "in the last event, without choices")


def _index(reply: Reply) -> Judgement:
    indexes = [choice.get("index") for _, choice in reply.stream_choices]
    if not indexes:
        return not_judged("no choices")
    if all(index == 0 for index in indexes):
        return conforms("0 in every event")
    if indexes == list(range(len(indexes))):
        return differs("the index counts the events: the official client's stream helper makes a choice of each")
    return differs(f"indexes are {shown(indexes[:6])}, … of one choice")


def _stream_ids(reply: Reply) -> Judgement:
    if not reply.chunks:
        return not_judged("no events")
    return without_faults(_id_faults(reply), "the same id and model in every event")


def _id_faults(reply: Reply) -> Iterator[str]:
    for name in ("id", "model"):
        values = Counter(shown(chunk.get(name)) for _, chunk in reply.chunks)
        if len(values) > 1:
            yield f"{len(values)} values of {name} in one stream"
        elif "None" in values:
            yield f"no {name}"
    if kinds := {shown(chunk.get("object")) for _, chunk in reply.chunks} - {"'chat.completion.chunk'"}:
        yield f"object is {min(kinds)}"


def _deltas(reply: Reply) -> Judgement:
    if any(mapping(first(chunk.get("choices")).get("message")) for _, chunk in reply.chunks):
        return differs("events have message in place of, or beside, delta")
    parts = [delta for _, delta in reply.deltas if isinstance(delta.get("content"), list)]
    if parts:
        return differs("content is a list of typed parts, not a text")
    if not reply.text and not reply.token_stamps:
        return differs("no text came")
    return conforms(f"{sum(bool(delta.get('content')) for _, delta in reply.deltas)} pieces of text")


def _reasoning(reply: Reply) -> Judgement:
    forms = [form for _, delta in reply.deltas if (form := reasoning_form(delta, ""))]
    form = forms[0] if forms else reasoning_form({}, reply.text)
    if not form:
        return conforms("none")
    if not reply.text.strip() and reply.finish_reason == "stop":
        return differs(f"the whole answer is in {form}: the content is empty")
    return differs(f"in {form}")


def _tokens_per_event(reply: Reply) -> Judgement:
    tokens, events = reply.count("completion_tokens"), len(reply.token_stamps)
    if tokens is None or events < _LEAST_TOKENS:
        return not_judged("no token counts to compare with" if tokens is None else f"only {events} events with text")
    each = tokens / events
    if each > _MOST_TOKENS:
        return differs(f"{each:.1f} tokens per event: times between events are not times between tokens")
    return conforms(f"{each:.1f} tokens per event")


def _gradual(reply: Reply, again: Reply | None) -> Judgement:
    stamps = reply.token_stamps
    if len(stamps) < _LEAST_TOKENS:
        return not_judged(f"only {len(stamps)} events with text")
    total, spread = reply.ms(stamps[-1]), (stamps[-1] - stamps[0]) / 1e6
    if total < _LEAST_MS:
        return not_judged(f"the whole answer took {total:.0f} ms: too fast to tell")
    came = f"{len(stamps)} events over {spread:.0f} ms, the first after {reply.ms(stamps[0]):.0f} ms"
    if _looks_buffered(reply) and again is not None and not _looks_buffered(again):
        return conforms(f"{came}, and not together the second time")
    if _looks_buffered(reply):
        return differs(f"buffered: {came}; the time to first token is that of the whole answer")
    return conforms(came)


def _unicode(reply: Reply) -> Judgement:
    if not reply.streamed:
        return not_judged("no stream came")
    for _, data in reply.events:
        try:
            data.decode()
        except UnicodeDecodeError:
            return differs("a character is divided between two events")
    if "\ufffd" in reply.text or any("\ud800" <= character <= "\udfff" for character in reply.text):
        return differs(f"characters are broken at the ends of pieces: {shown(reply.text)}")
    return not_judged("the model answered in ASCII") if reply.text.isascii() else conforms(shown(reply.text))


PROBES = (
    Probe("stream_framing", SUBJECT, "a stream as server-sent events, ended by [DONE]",
          "Clients that parse strictly fail or wait until their time limit.", (STREAM,), _framing),
    Probe("stream_shape", SUBJECT, "each event of a stream: each field of its type",
          "The official client does not check types: code fails later, where a field is used.",
          (STREAM,), _chunk_shape),
    Probe("stream_deltas", SUBJECT, "where the text of a stream is",
          "The official client reads choices[0].delta.content and nothing else.", (STREAM,), _deltas),
    Probe("stream_role", SUBJECT, "the role, in the first delta",
          "Code that adds up deltas repeats a role that comes with each.", (STREAM,), _role),
    Probe("stream_finish_reason", SUBJECT, "why the stream ended, in its last choice",
          "Without it a cut answer is scored as if it were whole.", (STREAM,), _finish),
    Probe("stream_usage", SUBJECT, "stream_options.include_usage",
          "Without token counts of streams there is no exact time per token, and no cost.", (STREAM,), _usage),
    Probe("stream_index", SUBJECT, "the index of the one choice",
          "Helpers put pieces together by their index.", (STREAM,), _index),
    Probe("stream_ids", SUBJECT, "id and model of all events",
          "Helpers and traces take the first event's for the whole stream.", (STREAM,), _stream_ids),
    Probe("stream_reasoning", SUBJECT, "reasoning in the deltas of a stream",
          "It decides what counts as the first token.", (STREAM,), _reasoning),
    Probe("tokens_per_event", SUBJECT, "token counts beside the number of events",
          "Tools that count events report other rates than tokens.", (LONG_STREAM,), _tokens_per_event),
    Probe("stream_gradual", SUBJECT, "when the pieces of a longer stream arrive",
          "A buffered stream has no time to first token that a user sees.", (LONG_STREAM,), _gradual,
          optional=(CONFIRMING,)),
    Probe("stream_unicode", SUBJECT, "a stream with characters outside ASCII",
          "Characters divided between events are lost.", (UNICODE_STREAM,), _unicode),
)  # fmt: skip
