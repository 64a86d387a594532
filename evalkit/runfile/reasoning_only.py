"""Answers that are all reasoning and no text, whether the endpoint sent it as reasoning or as text."""

from __future__ import annotations

import sqlite3

from evalkit.runfile.turn_columns import BLANKS
from evalkit.scorers.reading.think_block import without_think_block

_ALONE = "status = 'answered' AND refusal IS NULL AND tool_calls IS NULL"
_AS_REASONING = f"""
    SELECT count(*), total(finish_reason IS 'length') FROM turn
    WHERE {_ALONE} AND reasoning NOT NULL AND trim(coalesce(answer, ''), {BLANKS}) = ''
      AND trim(reasoning, {BLANKS}) <> ''"""  # noqa: S608 - SQL of our own
# such a text begins or ends with the mark of a block, or begins with the name of a channel
_AS_TEXT = f"""
    SELECT answer, finish_reason IS 'length' FROM turn
    WHERE {_ALONE} AND (substr(ltrim(answer, {BLANKS}), 1, 1) IN ('<', '[', '◁')
      OR substr(rtrim(answer, {BLANKS}), -1) IN ('>', ']', '▷') OR ltrim(answer, {BLANKS}) GLOB 'analysis*')"""  # noqa: S608


def reasoning_only(connection: sqlite3.Connection) -> tuple[int, int]:
    """Count the answers that are all reasoning, and those of them that were cut off at a token limit."""
    answers, cut_off = map(int, connection.execute(_AS_REASONING).fetchone())
    for text, cut in connection.execute(_AS_TEXT):
        if not without_think_block(text).strip():
            answers, cut_off = answers + 1, cut_off + cut
    return answers, cut_off
