"""The requests of a dataset as an input file of the OpenAI batch API; ``evalkit import`` reads its output file.

A batch is sent as a whole, so a request cannot hold an answer of the same batch: conversations of several turns need
the golden history.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from evalkit.client.request_body import request_body
from evalkit.conversation import Conversation, Message
from evalkit.datasets import reader
from evalkit.datasets.part_files import PartFiles
from evalkit.errors import DatasetError, SettingsError
from evalkit.exporting.exported import Exported, json_line
from evalkit.exporting.request_ids import request_id
from evalkit.runfile import output_files

URL = "/v1/chat/completions"
MOST_REQUESTS, MOST_BYTES = 50_000, 200_000_000  # of a file, as OpenAI limits it


def write_requests(
    data: Path | str,
    path: Path | str,
    *,
    model: str,
    params: Mapping[str, Any] | None = None,
    repeats: int = 1,
    history: str = "own",
    system: str | None = None,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> Exported:
    """Write one request a line, for each turn and repeat; its ``custom_id`` is ``request_ids.request_id``.

    Parameters
    ----------
    data, path : path-like
        The dataset, and the file to write, which must not exist yet.
    model : str
    params : mapping, optional
        Request parameters; those of a conversation override them.
    repeats : int
        How often each conversation is run.
    history, system, columns, limit
        As for a run.

    Raises
    ------
    DatasetError
        A row that cannot be used, or a conversation of several turns with the model's own answers as history.
    SettingsError
        The file cannot be written, or two requests would have the same id.

    Warns
    -----
    UserWarning
        The file has all requests, but is larger than OpenAI accepts.
    """
    if repeats < 1:
        raise SettingsError(f"repeats is {repeats}: it must be 1 or more")
    golden = history == "golden"
    checks: dict[str, Any] = {"columns": columns, "limit": limit, "history": history, "own_system": system is not None}
    files = reader.check(data, **checks).files  # all problems at once, and before anything is written
    done, size, seen = Exported("requests"), 0, set[int]()
    with output_files.writing(Path(path), output_files.EXPORT, (data,)) as draft, draft.open("wb") as file:
        loaded = PartFiles(Path(data), files).loaded
        for conversation in reader.read(data, **checks, files=files):
            if len(conversation.turns) > 1 and not golden:
                raise DatasetError(_own_answers(conversation), path=Path(data))
            asked = conversation if system is None else conversation.with_system(system)
            for name, turn in _named(asked, repeats):
                if hash(name) in seen:
                    raise SettingsError(f"two requests would have the custom_id {name!r}: rename one of the rows")
                seen.add(hash(name))
                own = {**(params or {}), **asked.params}
                body = request_body(
                    list(map(loaded, _messages(asked, turn))), model=model, stream=False, params=own, tools=asked.tools
                )
                line = json_line(_request(name, body))
                size += file.write(line)
                done.rows += 1
    if done.rows > MOST_REQUESTS or size > MOST_BYTES:
        warnings.warn(
            f"the file has {done.rows:,} requests and {size / 1e6:,.1f} MB, and OpenAI accepts {MOST_REQUESTS:,} and "
            f"{MOST_BYTES / 1e6:,.0f} MB in a file: split its lines into several files, or write fewer with --limit",
            stacklevel=2,
        )
    return done


def _own_answers(conversation: Conversation) -> str:
    return (
        f"the conversation {conversation.id[:60]!r} has {len(conversation.turns)} turns, and later ones must see the "
        "model's own answers, which a batch does not have yet: add --history golden, or use 'evalkit run'"
    )


def _named(conversation: Conversation, repeats: int) -> Iterator[tuple[str, int]]:
    """The id of each request, with the number of its turn."""
    turns = len(conversation.turns)
    for repeat in range(1, repeats + 1):
        for turn in range(1, turns + 1):
            yield request_id(conversation.id, turn, turns, repeat), turn


def _messages(conversation: Conversation, number: int) -> list[Message]:
    """The messages of a turn's request, with the golden answers of earlier turns."""
    messages = conversation.opening()
    for turn in conversation.turns[: number - 1]:
        messages += Message("user", turn.user, parts=turn.parts), Message("assistant", turn.assistant)
    turn = conversation.turns[number - 1]
    return [*messages, Message("user", turn.user, parts=turn.parts)]


def _request(name: str, body: bytes) -> dict[str, Any]:
    content = orjson.loads(body)
    del content["stream"]  # a batch has no streams
    return {"custom_id": name, "method": "POST", "url": URL, "body": content}
