"""Latency by the length of the answer, apart for right, wrong and cut-off answers."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np

from evalkit.analysis.times.by_prompt_length import NS_PER_MS, dialogues, sample, slope_within
from evalkit.runfile import query_arrays
from evalkit.runfile.schema import JOIN_SCORE
from evalkit.stats.arrays import Floats, Whole
from evalkit.stats.estimate import Estimate

KINDS = ("right", "wrong", "cut off", "unscored")
_KIND = (
    """CASE WHEN t.finish_reason = 'length' THEN 2 WHEN s.value IS NULL THEN 3 WHEN s.value >= 1 THEN 0 ELSE 1 END"""
)
_TURNS = f"""
    SELECT t.conversation, t.repeat, t.output_tokens, t.latency_ns, {_KIND} FROM turn t {JOIN_SCORE}
    WHERE t.error_kind IS NULL AND t.latency_ns NOT NULL AND t.output_tokens NOT NULL
    ORDER BY t.conversation, t.repeat, t.turn"""  # noqa: S608 - SQL of our own


@dataclass(frozen=True, slots=True)
class TimesByAnswerLength:
    """Latency in ms by output tokens.

    Parameters
    ----------
    tokens, times, kind : ndarray, shape (m,)
        A seeded sample of at most 400 turns; ``kind`` is an index into ``KINDS``. An answer that was cut off (finish
        reason ``length``) is of that kind whether its score is 0 or 1.
    counts : tuple of int
        Number of turns of each kind.
    median_tokens : tuple of float
        Median length of each kind; NaN: no turn.
    growth : Estimate
        Increase in ms per output token, within conversations; see ``by_prompt_length.slope_within``.
    n, untold : int
        Number of turns with latency and tokens, and of answered turns without one of them.
    """

    tokens: Floats
    times: Floats
    kind: Whole
    counts: tuple[int, ...]
    median_tokens: tuple[float, ...]
    growth: Estimate
    n: int
    untold: int


def times_by_answer_length(connection: sqlite3.Connection) -> TimesByAnswerLength:
    """Latency by the output tokens that the endpoint reported for each answered turn."""
    kinds = ("i8", "i8", "f8", "f8", "i8")
    empty: list[list[Floats]] = [[np.empty(0)] * len(kinds)]
    parts = list(query_arrays.groups(connection.execute(_TURNS), kinds))
    conversation, repeat, tokens, ns, kind = (np.concatenate(column) for column in zip(*(parts or empty), strict=True))
    times, kind = ns / NS_PER_MS, kind.astype(int)
    (answered,) = connection.execute("SELECT count(*) FROM turn WHERE error_kind IS NULL").fetchone()
    drawn = sample(len(times), np.random.default_rng(0))
    own = [tokens[kind == index] for index in range(len(KINDS))]
    return TimesByAnswerLength(
        tokens=tokens[drawn],
        times=times[drawn],
        kind=kind[drawn],
        counts=tuple(len(lengths) for lengths in own),
        median_tokens=tuple(float(np.median(lengths)) if len(lengths) else np.nan for lengths in own),
        growth=slope_within(tokens, times, dialogues(conversation, repeat)),
        n=len(times),
        untold=answered - len(times),
    )
