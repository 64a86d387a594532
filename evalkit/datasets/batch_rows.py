"""Rows of batch files: whole requests, whose last user message is the turn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from evalkit.datasets.anthropic_rows import plain_request
from evalkit.datasets.chat_messages import last_question, read_messages
from evalkit.datasets.field_checks import object_in
from evalkit.datasets.native_rows import REQUEST_KEYS, SET_BY_RUN
from evalkit.datasets.other_keys import SCORED, SENT, with_rest
from evalkit.datasets.row_format import SCORED_LAST, Row, RowFormat, read_as
from evalkit.errors import DatasetError

BATCH_URL = "/v1/chat/completions"
_INSIDE = {*SENT, *REQUEST_KEYS} - {"tool_results"}
_ID = (re.compile(r"^id$"), "custom_id")


def _openai(row: Row) -> Row:
    url, method = row.pop("url", BATCH_URL), row.pop("method", "POST")
    if url != BATCH_URL:
        raise DatasetError(f"is {url!r}: only requests to {BATCH_URL} hold a conversation", field="url")
    if method != "POST":
        raise DatasetError(f"is {method!r}: chat completions are requested with POST", field="method")
    body = read_as(object_in, row.pop("body", None), "body")
    return _request(row, plain_request(body), "body")


def _anthropic(row: Row) -> Row:
    body = plain_request(read_as(object_in, row.pop("params", None), "params"))
    if "metadata" in body:  # who asks, which changes no answer
        row["metadata"] = body.pop("metadata")
    system = body.pop("system", None)
    native = _request(row, body, "params")
    return {**native, "system": system} if system else native


def _request(row: Row, body: Row, place: str) -> Row:
    messages = read_messages(body.get("messages"), f"{place}.messages")
    native = last_question(messages, f"{place}.messages")
    native["id"] = row.pop("custom_id", None)
    if body.get("tools") is not None:
        native["tools"] = body["tools"]
    native["params"] = {name: value for name, value in body.items() if name not in SET_BY_RUN}
    for key in row:
        if key in _INSIDE and row[key] is not None:
            raise DatasetError(f"would not be sent: write it inside {place}", field=key)
    return with_rest(native, row, ("tags", "group", "tool_results", *SCORED))


def _has_body(row: Mapping[str, Any]) -> bool:
    return "body" in row and ("custom_id" in row or "url" in row)


def _has_params(row: Mapping[str, Any]) -> bool:
    params = row.get("params")
    return "custom_id" in row and isinstance(params, dict) and "messages" in params


OPENAI_BATCH = RowFormat(
    "openai-batch",
    "OpenAI Batch",
    '{"custom_id": "a", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "2+2?"}]}}',
    ("custom_id", "body"),
    _has_body,
    _openai,
    fields=(SCORED_LAST, _ID, (re.compile(r"^(?=tools)"), "body."), (re.compile(r"^params\b"), "body")),
    messages="body.messages",
)
ANTHROPIC_BATCH = RowFormat(
    "anthropic-batch",
    "Anthropic Message Batches",
    '{"custom_id": "a", "params": {"max_tokens": 9, "messages": [{"role": "user", "content": "2+2?"}]}}',
    ("custom_id", "params"),
    _has_params,
    _anthropic,
    fields=(SCORED_LAST, _ID, (re.compile(r"^(?=tools|system)"), "params.")),
    messages="params.messages",
)
