"""What a run would send, estimated from its dataset without a request: requests, tokens and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from evalkit.conversation import Conversation, Message, ScorerSpec
from evalkit.datasets import reader
from evalkit.errors import DatasetError
from evalkit.scorers import scoring

BYTES_PER_TOKEN = 4  # of English text, as for max_tokens_total
_OF_A_MESSAGE = 4  # tokens of a chat template around each message
_LIMITS = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would send.

    Parameters
    ----------
    data : str
    model, base_url : str or None
        None: the embedded model.
    conversations, turns : int
        Of the dataset.
    repeats : int
    requests : int
        One for each turn of each repeat: those of retries and of tool calls are not known before.
    prompt_tokens, prompt_tokens_most : int, int or None
        Estimated at four bytes per token. Later turns see earlier answers of the model: in the first as long as the
        golden ones, or empty, in the second as long as their limit allows. None: an answer has no limit.
    output_tokens_most : int or None
        If every answer is as long as its limit allows. None: an answer has no limit.
    cost_most : float or None
        Of the most tokens, in the currency of the price file. None: there is no price, or no limit.
    parts, tools : int
        Conversations with images or other parts, whose tokens are not counted, and with tools.
    """

    data: str
    model: str | None
    base_url: str | None
    conversations: int
    turns: int
    repeats: int
    requests: int
    prompt_tokens: int
    prompt_tokens_most: int | None
    output_tokens_most: int | None
    cost_most: float | None
    parts: int
    tools: int

    def to_json(self) -> dict[str, Any]:
        """As ``evalkit run --dry-run --json`` prints it; unknown values are None."""
        return asdict(self)


@dataclass(slots=True)
class _Sums:
    conversations: int = 0
    turns: int = 0
    prompt: float = 0.0
    prompt_most: float = 0.0
    output_most: float = 0.0
    limited: bool = True
    parts: int = 0
    tools: int = 0

    def add(self, conversation: Conversation, params: Mapping[str, Any], *, golden: bool) -> None:
        """Add the requests of one repeat of a conversation."""
        self.conversations += 1
        self.turns += len(conversation.turns)
        self.parts += conversation.has_parts
        self.tools += bool(conversation.tools)
        limit = _limit({**params, **conversation.params})
        self.limited &= limit is not None
        seen = sum(map(_tokens, conversation.opening()))
        if conversation.tools:
            seen += len(orjson.dumps(list(conversation.tools))) / BYTES_PER_TOKEN
        most = seen
        for turn in conversation.turns:
            asked = _tokens(Message("user", turn.user, parts=turn.parts))
            self.prompt += seen + asked
            self.prompt_most += most + asked
            self.output_most += limit or 0
            answer = _text_tokens(turn.assistant or "")
            seen += asked + _OF_A_MESSAGE + (answer if golden or limit is None else min(answer, limit))
            most += asked + _OF_A_MESSAGE + (answer if golden else limit or 0)


def dry_run(
    data: Path | str,
    *,
    model: str | None = None,
    base_url: str | None = None,
    params: Mapping[str, Any] | None = None,
    price: Sequence[float] | None = None,
    repeats: int = 1,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    history: str = "own",
    system: str | None = None,
    scorer: ScorerSpec | None = None,
) -> DryRun:
    """Read a dataset, and estimate what a run would send. Nothing is sent.

    Parameters
    ----------
    data : path-like
    model, base_url : str, optional
        The endpoint; None: the embedded one.
    params : mapping, optional
        Request parameters of the endpoint.
    price : (float, float), optional
        Price of a million tokens of prompts and of output.
    repeats : int
        How often each conversation is run.
    columns, limit, history, system, scorer
        As for ``contents``.

    Raises
    ------
    DatasetError
        Lists up to 10 problems, each with line and field.
    """
    checks: dict[str, Any] = {
        "columns": columns, "limit": limit, "history": history, "own_system": system is not None,
        "check_turn": scoring.turn_checker(scorer),
    }  # fmt: skip
    sums = _Sums()
    notes: list[str] = []
    try:
        for conversation in reader.read(data, **checks, notes=notes):
            asked = conversation if system is None else conversation.with_system(system)
            sums.add(asked, params or {}, golden=history == "golden")
    except DatasetError:
        reader.check(data, **checks)  # lists the others too
        raise
    reader.report_notes(data, notes)
    prompt, most, output = (round(repeats * tokens) for tokens in (sums.prompt, sums.prompt_most, sums.output_most))
    cost = None if price is None else (most * price[0] + output * price[1]) / 1e6
    known = sums.limited or history == "golden" or sums.turns == sums.conversations
    return DryRun(
        str(data), model, base_url, sums.conversations, sums.turns, repeats, repeats * sums.turns,
        prompt, most if known else None, output if sums.limited else None, cost if sums.limited else None,
        sums.parts, sums.tools,
    )  # fmt: skip


def _limit(params: Mapping[str, Any]) -> int | None:
    limits = [params[name] for name in _LIMITS if type(params.get(name)) is int]
    return min(limits) if limits else None


def _tokens(message: Message) -> float:
    texts = [part.get("text") for part in message.parts] if message.parts else [message.content]
    texts += [text for call in message.tool_calls for text in (call.name, call.arguments)]
    return _OF_A_MESSAGE + sum(_text_tokens(text) for text in texts if isinstance(text, str))


def _text_tokens(text: str) -> float:
    return len(text.encode(errors="replace")) / BYTES_PER_TOKEN
