"""A recorded turn sent again: the same bytes, and how its answer differs from the recorded one."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from evalkit.client.transport import Transport
from evalkit.endpoint import Endpoint
from evalkit.engine.asking import event_loop
from evalkit.record import Attempt, Usage
from evalkit.replaying.recorded_turn import RecordedTurn

_MOST_LINES = 2_000  # of a text that is compared line by line
NS_PER_MS = 1e6
# what is compared besides the answer
FACTS = ("finish_reason", "error", "model", "prompt_tokens", "output_tokens", "reasoning_tokens", "cached_tokens")
TIMES = ("ttft_ms", "latency_ms")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one request; None: missing, or the endpoint did not send it.

    Parameters
    ----------
    answer, refusal, reasoning : str or None
        Texts of the model.
    tool_calls : list of dict or None
        Calls of this answer.
    finish_reason, error, model : str or None
        ``error`` is kind and message.
    ttft_ms, latency_ms : float or None
        Since the request was sent.
    prompt_tokens, output_tokens, reasoning_tokens, cached_tokens : int or None
    """

    answer: str | None
    refusal: str | None
    reasoning: str | None
    tool_calls: list[dict[str, Any]] | None
    finish_reason: str | None
    error: str | None
    model: str | None
    ttft_ms: float | None
    latency_ms: float | None
    prompt_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cached_tokens: int | None

    @property
    def text(self) -> str:
        """Everything that the model said, for a comparison."""
        calls = [f"{call['function']['name']}({call['function']['arguments']})" for call in self.tool_calls or ()]
        return "\n".join([part for part in (self.answer, self.refusal) if part] + calls)


@dataclass(frozen=True, slots=True)
class Replay:
    """A recorded turn, and what came when it was sent again.

    Parameters
    ----------
    path : Path
        The run file.
    conversation : str
        Its id.
    repeat, turn : int
    recorded, replayed : Outcome
    error_kind : str or None
        Why the new request failed; None: it was answered.
    """

    path: Path
    conversation: str
    repeat: int
    turn: int
    recorded: Outcome
    replayed: Outcome
    error_kind: str | None

    @property
    def same_answer(self) -> bool | None:
        """Whether text, refusal and calls are the same; None: one of the two has no answer."""
        if self.recorded.error is not None or self.replayed.error is not None:
            return None
        return self.recorded.text == self.replayed.text

    @property
    def differing(self) -> list[str]:
        """The facts besides text and times that differ, where both are known."""
        pairs = ((name, getattr(self.recorded, name), getattr(self.replayed, name)) for name in FACTS)
        return [name for name, was, now in pairs if was != now and (name == "error" or None not in (was, now))]

    def diff(self) -> list[str]:
        """The lines of the recorded answer that are gone (``-``) and those that are new (``+``), with their context."""
        return list(_diff(self.recorded.text, self.replayed.text))

    def to_json(self) -> dict[str, Any]:
        """The object of ``--json``."""
        return {
            "file": str(self.path),
            "conversation": self.conversation,
            "repeat": self.repeat,
            "turn": self.turn,
            "same_answer": self.same_answer,
            "differing": self.differing,
            "recorded": asdict(self.recorded),
            "replayed": asdict(self.replayed),
            "diff": self.diff(),
        }


def replay(path: Path, recorded: RecordedTurn, endpoint: Endpoint, conversation: str, repeat: int) -> Replay:
    """Send the request of a recorded turn again, once: neither retries nor fallbacks change it.

    Parameters
    ----------
    path : Path
        The run file, for the result.
    recorded : RecordedTurn
    endpoint : Endpoint
        Where to send it: the run's own, with the key of the environment.
    conversation : str
        Its id.
    repeat : int
    """
    attempt = event_loop.run(_sent(recorded, endpoint))
    kind = None if attempt.failure is None else attempt.failure.kind
    was, now = _recorded_outcome(recorded), _outcome(attempt, endpoint.model)
    return Replay(path, conversation, repeat, recorded.turn.turn, was, now, kind)


async def _sent(recorded: RecordedTurn, endpoint: Endpoint) -> Attempt:
    request = recorded.request
    async with Transport(endpoint) as transport:
        now = time.perf_counter_ns()
        logprobs = bool(request.json.get("logprobs"))
        return await transport.send(
            request.body, stream=request.stream, due=now, slot=now, round=recorded.rounds, logprobs=logprobs
        )


def _outcome(attempt: Attempt, model: str) -> Outcome:
    answer, usage, failure = attempt.answer, attempt.usage or Usage(), attempt.failure
    return Outcome(
        answer=None if answer is None else answer.text,
        refusal=None if answer is None else answer.refusal,
        reasoning=None if answer is None else answer.reasoning or None,
        tool_calls=[call.to_json() for call in answer.tool_calls] if answer and answer.tool_calls else None,
        finish_reason=None if answer is None else answer.finish_reason,
        error=None if failure is None else f"{failure.kind}: {failure.message}",
        model=(attempt.provenance or {}).get("model", model) if failure is None else None,
        ttft_ms=None if attempt.ttft_ns is None else attempt.ttft_ns / NS_PER_MS,
        latency_ms=None if attempt.latency_ns is None else attempt.latency_ns / NS_PER_MS,
        prompt_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cached_tokens=usage.cached_tokens,
    )


def _recorded_outcome(recorded: RecordedTurn) -> Outcome:
    turn, answer = recorded.turn, recorded.record.answer
    calls = answer.tool_calls if answer is not None else ()
    return Outcome(
        answer=turn.answer,
        refusal=turn.refusal,
        reasoning=turn.reasoning,
        tool_calls=[call.to_json() for call in calls] or None,
        finish_reason=turn.finish_reason,
        error=turn.error,
        model=recorded.model if turn.error is None else None,
        ttft_ms=None if turn.ttft_ns is None else turn.ttft_ns / NS_PER_MS,
        latency_ms=None if turn.latency_ns is None else turn.latency_ns / NS_PER_MS,
        prompt_tokens=turn.tokens["prompt_tokens"],
        output_tokens=turn.tokens["output_tokens"],
        reasoning_tokens=turn.tokens["reasoning_tokens"],
        cached_tokens=turn.tokens["cached_tokens"],
    )


def _diff(was: str, now: str) -> Iterator[str]:
    before, after = was.splitlines(), now.splitlines()
    if was == now:
        return
    if before == after:
        yield "@@ only line ends differ @@"
        return
    if max(len(before), len(after)) > _MOST_LINES:
        pairs = enumerate(zip(before, after, strict=False))
        same = next((n for n, (a, b) in pairs if a != b), min(len(before), len(after)))
        yield f"@@ too long to be compared line by line: line {same + 1} is the first that differs @@"
        return
    yield from islice(difflib.unified_diff(before, after, n=1, lineterm=""), 2, None)  # without the names of files
