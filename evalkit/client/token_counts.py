"""The token counts of an answer, wherever an endpoint puts them and whatever it calls them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from evalkit.record import Usage

_MOST_TOKENS = 2**53  # no endpoint counts further

_PROMPT = ("prompt_tokens", "promptTokens", "promptTokenCount", "prompt_token_count", "prompt_eval_count")
_INPUT = ("input_tokens", "inputTokens", "inputTokenCount", "input_token_count")  # Anthropic's exclude what is cached
_OUTPUT = (
    *("completion_tokens", "output_tokens", "completionTokens", "outputTokens", "outputTokenCount"),
    *("completion_token_count", "output_token_count", "generated_tokens", "eval_count"),
)
_TOOL_USE = ("toolUsePromptTokenCount", "tool_use_prompt_token_count")  # beside those of the prompt
_CANDIDATES = ("candidatesTokenCount", "candidates_token_count")  # exclude the thoughts
_TOTAL = ("total_tokens", "totalTokens", "totalTokenCount", "total_token_count")
_REASONING = ("reasoning_tokens", "reasoningTokens", "thoughtsTokenCount", "thoughts_token_count", "thinking_tokens")
_CACHE_READ = (*("cache_read_input_tokens", "cacheReadInputTokens", "cacheReadInputTokenCount", "cache_read_tokens"),)
_CACHED = (
    *("cached_tokens", "cachedTokens", "prompt_cache_hit_tokens", "cached_prompt_tokens", "cachedInputTokens"),
    *("cachedContentTokenCount", "cached_content_token_count"),
)
_WRITTEN = (
    *("cache_creation_input_tokens", "cacheWriteInputTokens", "cacheCreationInputTokens", "cache_write_tokens"),
    *("cache_creation_tokens", "cacheWriteInputTokenCount"),
)
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "inputTokensDetails", "input_token_details")
_OUTPUT_DETAILS = (
    "completion_tokens_details", "output_tokens_details", "outputTokensDetails", "output_token_details",
)  # fmt: skip

_KNOWN = frozenset(
    (*_PROMPT, *_INPUT, *_OUTPUT, *_TOOL_USE, *_CANDIDATES, *_TOTAL, *_REASONING, *_CACHE_READ, *_CACHED, *_WRITTEN)
)
_NAMES_TOKENS = re.compile(r"tokens|token_?count", re.IGNORECASE)

# places beside ``usage``; the first ones hold counts, in others there is an object with them
_OBJECTS = (
    *("usageMetadata", "usage_metadata", "token_usage", "tokenUsage", "usage_info"),
    "amazon-bedrock-invocationMetrics",
)
_AROUND = ("x_groq", "meta", "metadata", "message", "delta")
_LOOSE = (*_PROMPT, *_INPUT, *_OUTPUT)
ELSEWHERE = frozenset((*_OBJECTS, *_AROUND, *_LOOSE, "timings"))


_UNKNOWN: tuple[int | None, int | None, int | None] = (None, None, None)


class TokenCounts:
    """Collects the counts of an answer: of each the last that is known, never a sum, and never a 0 for a real count.

    Attributes
    ----------
    corrected : bool
        Whether reasoning tokens were added to the count of output tokens, which had left them out.
    """

    def __init__(self) -> None:
        self.corrected = False
        self._prompt: int | None = None
        self._output: int | None = None
        self._more = _UNKNOWN
        self._timings: Mapping[str, Any] | None = None

    def add(self, usage: Mapping[str, Any]) -> bool:
        """Add the counts of an object; return whether it counts any output."""
        prompt, output = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if (
            len(usage) == 3 and type(prompt) is int and type(output) is int
            and 0 < prompt < _MOST_TOKENS and output > 0 and usage.get("total_tokens") == prompt + output < _MOST_TOKENS
        ):  # fmt: skip
            self._prompt, self._output, self.corrected = prompt, output, False
            return True
        found, corrected = _counts(usage)
        if found.output_tokens or (self._output is None and found.output_tokens is not None):
            self.corrected = corrected
        self._prompt = _kept(self._prompt, found.prompt_tokens)
        self._output = _kept(self._output, found.output_tokens)
        reasoning, cached, written = self._more
        self._more = (
            _kept(reasoning, found.reasoning_tokens),
            _kept(cached, found.cached_tokens),
            _kept(written, found.cache_write_tokens),
        )
        return bool(found.output_tokens)

    def add_elsewhere(self, event: Mapping[str, Any]) -> None:
        """Add what stands in an event beside its ``usage``: in other objects, in its first choice, or loose in it."""
        if isinstance(timings := event.get("timings"), dict):
            self._timings = timings
        for place in _OBJECTS:
            if isinstance(counts := event.get(place), dict):
                self.add(counts)
        for place in _AROUND:
            around = event.get(place)
            counts = around.get("usage") or around.get("tokens") if isinstance(around, dict) else None
            if isinstance(counts, dict):
                self.add(counts)
        if any(type(event.get(name)) in (int, float, str) for name in _LOOSE):
            self.add(event)

    def usage(self) -> Usage | None:
        """The counts; None: none was reported."""
        if not self._prompt and not self._output and self._timings is not None:
            self._add_timings(self._timings)
        if self._prompt is self._output is None and self._more == _UNKNOWN:
            return None
        return Usage(self._prompt, self._output, *self._more)

    def has_only_zeros(self) -> bool:
        """Whether neither a prompt nor an output was counted: some gateways send zeros for what they do not know."""
        return self._prompt == self._output == 0

    def _add_timings(self, timings: Mapping[str, Any]) -> None:
        """Add llama.cpp's own counts, where those of the prompt leave out what was cached."""
        prompt, output, cached = (_first(timings, (name,)) for name in ("prompt_n", "predicted_n", "cache_n"))
        if output is not None:
            self._prompt = None if prompt is None else prompt + (cached or 0)
            self._output = output
            self._more = (None, cached, None)


def _kept(known: int | None, found: int | None) -> int | None:
    return known if found is None or (found == 0 and known) else found


def _counts(usage: Mapping[str, Any]) -> tuple[Usage, bool]:
    """The counts of one object, with all prompt tokens and all output tokens; and whether that needed a correction."""
    inputs, outputs = _details(usage, _INPUT_DETAILS), _details(usage, _OUTPUT_DETAILS)
    prompt, total = _first(usage, _PROMPT), _first(usage, _TOTAL)
    read = _first(usage, _CACHE_READ)
    cached = next((n for n in (read, _first(usage, _CACHED), _first(inputs, (*_CACHED, *_CACHE_READ))) if n), None)
    if cached is None:
        cached = next((n for n in (_first(usage, _CACHED), _first(inputs, _CACHED), read) if n is not None), None)
    written = _first(usage, _WRITTEN)
    if written is None:
        written = _first(inputs, _WRITTEN)
    reasoning = _first(outputs, _REASONING)
    if reasoning is None:
        reasoning = _first(usage, _REASONING)
    output = _first(usage, _OUTPUT)
    if output is None and (output := _first(usage, _CANDIDATES)) is not None:
        output += reasoning or 0
    elif output is None and reasoning and any(name in usage for name in ("thoughtsTokenCount", "thoughts_token_count")):
        output = reasoning  # it stopped while it was thinking
    aside = (cached or 0) + (written or 0)
    tool_use = _first(usage, _TOOL_USE)
    if tool_use and prompt is not None and total != prompt + (output or 0):
        prompt += tool_use
    if prompt is None:
        prompt = _first(usage, _INPUT)
        if prompt is not None and read is not None and total in (None, prompt + (output or 0) + aside):
            prompt += aside
    if prompt is not None and (cached or 0) > prompt:
        prompt += aside
    missing = None if total is None or prompt is None or output is None else total - prompt - output
    if missing and reasoning is None:
        missing = 0 if aside or not prompt else _unnamed(missing, usage, (inputs, outputs))
    output, reasoning, corrected = _with_reasoning(output, reasoning, missing)
    return Usage(prompt, output, reasoning, cached, written), corrected


def _with_reasoning(
    output: int | None, reasoning: int | None, missing: int | None
) -> tuple[int | None, int | None, bool]:
    """Output and reasoning tokens; the reasoning is added to an output that leaves it out.

    It does if the total is larger than prompt and output by the reasoning, or if it is smaller than the reasoning and
    the total does not agree with it; and where no reasoning is counted at all, what is missing is reasoning that is
    not shown.

    Parameters
    ----------
    missing : int or None
        What the total has beyond prompt and output; None: unknown.
    """
    if output is None or missing == 0:
        return output, reasoning, False
    if reasoning and (reasoning > output or missing == reasoning):
        return output + reasoning, reasoning, True
    if reasoning is None and missing is not None and missing > 0:
        return output + missing, missing, True
    return output, reasoning, False


def _unnamed(missing: int, usage: Mapping[str, Any], details: Iterable[Mapping[str, Any]]) -> int:
    """What is left of missing tokens beside those that have a name of their own, as images and searches have."""
    named = [
        _count(value) or 0 for name, value in usage.items() if name not in _KNOWN and _NAMES_TOKENS.search(str(name))
    ]
    if missing in named or any(_count(value) == missing for part in details for value in part.values()):
        return 0
    return max(missing - sum(named), 0)


def _details(usage: Mapping[str, Any], names: Iterable[str]) -> Mapping[str, Any]:
    return next((details for name in names if isinstance(details := usage.get(name), dict)), {})


def _first(counts: Mapping[str, Any], names: Iterable[str]) -> int | None:
    return next((count for name in names if (count := _count(counts.get(name))) is not None), None)


def _count(value: Any) -> int | None:
    """A count, which some endpoints send as text or with a decimal point; None: it is none."""
    if isinstance(value, str) and len(value) <= 20:
        try:
            value = float(value) if "." in value else int(value)
        except ValueError:
            return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < _MOST_TOKENS else None
