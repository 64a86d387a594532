"""Probes of request parameters: each is found by its effect on the answer, not by the status of the call."""

from __future__ import annotations

import math
import re
from typing import Any

from evalkit.checkup.probes.call import COUNTING, LONG_STREAM, Body, Call, Replies, ask
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
from evalkit.checkup.probes.reply import Reply, first, json_or_none, mapping

SUBJECT = "parameters"
_FEW = 3  # tokens
_LONGEST_TOKEN = 16  # characters of a token of text
_LEAST_CHARACTERS = 20
_OPEN = "Invent a name for a new planet and describe it."
_COLOURS = ("mauve", "teal")
_SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": list(_COLOURS)}},
    "required": ["colour"],
    "additionalProperties": False,
}


def _stop_body(replies: Replies) -> Body | None:
    """The baseline's request, with a word from the middle of its answer as the stop sequence."""
    words = re.findall(r"\w{3,}", replies[BASELINE].text)
    later = [word for word in words[2:] if word not in words[0]]
    return {**ask(COUNTING), "temperature": 0, "stop": [later[0]]} if later else None


BASELINE = Call("counting", ask(COUNTING, temperature=0), tokens=32)
REPEATED = Call("counting again", ask(COUNTING, temperature=0), tokens=32)
CUT = Call("max_tokens 3", ask(COUNTING, max_tokens=_FEW), tokens=_FEW)
CUT_NEWER = Call("max_completion_tokens 3", ask(COUNTING, max_completion_tokens=_FEW), tokens=_FEW)
STOP = Call("stop", _stop_body, after=(BASELINE,), tokens=32)
SEEDED = Call("seed 7", ask(_OPEN, temperature=1, seed=7), tokens=24)
SEEDED_AGAIN = Call("seed 7 again", ask(_OPEN, temperature=1, seed=7), tokens=24)
OTHER_SEED = Call("seed 8", ask(_OPEN, temperature=1, seed=8), tokens=24)
TWO_CHOICES = Call("n 2", ask(COUNTING, n=2), tokens=16)
LOGPROBS = Call("logprobs", ask(COUNTING, logprobs=True, top_logprobs=2), tokens=8)
JSON_MODE = Call(
    "JSON object",
    ask("Describe the sea in a sentence, as prose and not as JSON.", response_format={"type": "json_object"}),
    tokens=48,
)
JSON_SCHEMA = Call(
    "JSON schema",
    ask(
        "Describe the sea in a sentence, as prose and not as JSON.",
        response_format={"type": "json_schema", "json_schema": {"name": "colour", "strict": True, "schema": _SCHEMA}},
    ),
    tokens=48,
)
WRONG_TYPE = Call("temperature as a word", ask(COUNTING, temperature="hot"), tokens=8)


def _limit(reply: Reply, longer: Reply) -> Judgement:
    if not reply.text and reply.count("completion_tokens") is None:
        return not_judged("no text came")
    if len(reply.text) > _FEW * _LONGEST_TOKEN or len(reply.text.split()) > 2 * _FEW:
        return ignored(f"{len(reply.text.split())} words came with a limit of {_FEW} tokens")
    if len(longer.text) <= len(reply.text):
        return not_judged("answers without the limit are as short")
    if reply.finish_reason != "length":
        return differs(f"the answer is short, but finish_reason is {shown(reply.finish_reason)}, not 'length'")
    return conforms(f"cut to {shown(reply.text)}, finish_reason 'length'")


def _usage_exact(reply: Reply) -> Judgement:
    tokens = reply.count("completion_tokens")
    if tokens is None:
        return not_judged("no count of completion tokens")
    if reply.finish_reason != "length":
        return not_judged("the answer was not cut at the limit, so its true length is not known")
    if abs(tokens - _FEW) <= 1:
        return conforms(f"{tokens} counted, {_FEW} generated")
    return differs(f"{tokens} counted for an answer cut at {_FEW} tokens: an estimate, or counted by another tokenizer")


def _stop(reply: Reply, baseline: Reply) -> Judgement:
    (sequence,) = mapping(reply.request).get("stop", [""])
    if sequence in reply.text:
        return ignored(f"the answer goes on after the stop sequence {shown(sequence)}")
    kept = baseline.text.partition(sequence)[0]
    if reply.finish_reason not in ("stop", None):
        return not_judged(f"the answer has no {shown(sequence)}, and ended otherwise")
    if reply.text.rstrip() == kept.rstrip():
        return conforms(f"cut before {shown(sequence)}")
    return not_judged(f"the answer has no {shown(sequence)}, but is another one than without stop")


def _repeatable(again: Reply, baseline: Reply) -> Judgement:
    if not baseline.text or not again.text:
        return not_judged("no text came")
    if again.text == baseline.text:
        return conforms("two answers are the same")
    return differs(f"two answers differ: {shown(baseline.text)}, {shown(again.text)}")


def _seed(again: Reply, seeded: Reply, other: Reply) -> Judgement:
    if len(seeded.text) < _LEAST_CHARACTERS:
        return not_judged("the answers are too short to vary")
    if again.text != seeded.text:
        return ignored("two answers with one seed differ, at temperature 1")
    if other.text == seeded.text:
        return not_judged("answers do not vary, also with another seed")
    return conforms("one seed, one answer; another seed, another answer")


def _choices(reply: Reply) -> Judgement:
    indexes = [choice.get("index") for choice in reply.choices]
    if not indexes:
        return not_judged("no choices came")
    if len(indexes) == 1:
        return ignored("one choice came")
    return conforms("two choices") if indexes == [0, 1] else differs(f"choices with the indexes {shown(indexes)}")


def _logprobs(reply: Reply) -> Judgement:
    entries = mapping(reply.choice.get("logprobs")).get("content")
    if not reply.choice.get("logprobs"):
        return ignored("requested, and the choice has none")
    if not isinstance(entries, list) or not entries:
        return differs("logprobs have no list of content: an older form")
    entry = first(entries)
    return without_faults(
        _logprob_faults(entry),
        f"of {len(entries)} tokens, each with {len(entry['top_logprobs'])} alternatives"
        if isinstance(entry.get("top_logprobs"), list)
        else "",
    )


def _logprob_faults(entry: dict[str, Any]) -> list[str]:
    faults = []
    if not isinstance(entry.get("token"), str):
        faults.append(f"token is {shown(entry.get('token'))}")
    value = entry.get("logprob")
    if not isinstance(value, int | float) or not math.isfinite(value) or value > 1e-6:
        faults.append(f"logprob is {shown(value)}")
    if not isinstance(entry.get("top_logprobs"), list) or not entry["top_logprobs"]:
        faults.append("top_logprobs was requested and is empty")
    return faults


def _json_object(reply: Reply) -> Judgement:
    value = json_or_none(reply.text)
    if isinstance(value, dict):
        return conforms(f"a JSON object, though the message asks for prose: {shown(reply.text)}")
    return _not_json(reply)


def _json_schema(reply: Reply) -> Judgement:
    value = json_or_none(reply.text)
    if isinstance(value, dict) and value.keys() == {"colour"} and value["colour"] in _COLOURS:
        return conforms(f"obeys the schema: {shown(reply.text)}")
    if isinstance(value, dict):
        return differs(f"a JSON object, but not of the schema: {shown(reply.text)}")
    return _not_json(reply)


def _not_json(reply: Reply) -> Judgement:
    text = reply.text.strip()
    if not text:
        return not_judged("no text came")
    if text.startswith(("{", "```")) and reply.finish_reason == "length":
        return not_judged(f"begins as JSON, and was cut at the limit: {shown(text)}")
    return ignored(f"accepted, and prose came: {shown(text)}")


def _wrong_type(reply: Reply) -> Judgement:
    if reply.status == 200:
        return ignored("a temperature of 'hot' is accepted: values are not checked, or not read")
    if reply.status in (400, 422):
        return conforms(f"refused with HTTP {reply.status}")
    return differs(reply.outcome)


PROBES = (
    Probe("max_tokens", SUBJECT, f"max_tokens {_FEW} for a long answer",
          "Where it is ignored, answers cost and take what they like, and limits of a run do not hold.",
          (CUT, LONG_STREAM), _limit),
    Probe("max_completion_tokens", SUBJECT, f"max_completion_tokens {_FEW} for a long answer",
          "The newer name; the official client's documentation has only this one.", (CUT_NEWER, LONG_STREAM), _limit),
    Probe("usage_exact", SUBJECT, "completion tokens of an answer cut at a known length",
          "Estimated counts make costs and times per token estimates too.", (CUT,), _usage_exact),
    Probe("stop", SUBJECT, "a stop sequence that the answer has without it",
          "Few-shot prompts rely on it: without it the answer runs into made-up questions.", (STOP, BASELINE), _stop),
    Probe("temperature_0", SUBJECT, "one request twice, at temperature 0",
          "If answers vary, so do scores: plan repeats.", (REPEATED, BASELINE), _repeatable),
    Probe("seed", SUBJECT, "one seed twice and another once, at temperature 1",
          "Without it a run cannot be repeated.", (SEEDED_AGAIN, SEEDED, OTHER_SEED), _seed),
    Probe("n", SUBJECT, "two choices in one call",
          "Code that reads choices[1] fails where n is ignored.", (TWO_CHOICES,), _choices),
    Probe("logprobs", SUBJECT, "log probabilities with two alternatives",
          "Scores by probability, and perplexities, need them.", (LOGPROBS,), _logprobs),
    Probe("json_object", SUBJECT, "response_format json_object, with a message that asks for prose",
          "Where it is ignored, answers must be parsed leniently or are scored as wrong.", (JSON_MODE,), _json_object),
    Probe("json_schema", SUBJECT, "response_format json_schema, with a message that asks for prose",
          "Structured outputs of the official client rely on it.", (JSON_SCHEMA,), _json_schema),
    Probe("wrong_type", SUBJECT, "a temperature that is a word",
          "A misspelled setting goes unnoticed where values are not checked.", (WRONG_TYPE,), _wrong_type, True),
)  # fmt: skip
