"""Pilot runs: their scores by conversation, and the share of each conversation in the accuracy or difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.analysis import client_trust, measures
from evalkit.datasets import reader
from evalkit.errors import EvalkitError, RunFileError
from evalkit.runfile import schema, store

_SCORED = f"""
    SELECT c.cluster IS NOT NULL, coalesce(c.cluster, c.id), t.repeat, total(s.value), count(s.value)
    FROM turn t JOIN conversation c ON c.position = t.conversation
      {schema.JOIN_SCORE}
    WHERE t.status = 'answered'
    GROUP BY 1, 2, 3 HAVING count(s.value) > 0"""  # noqa: S608 - SQL of our own
_BY_TURN = f"""
    SELECT c.id, t.repeat, t.turn, s.value, c.cluster IS NOT NULL, coalesce(c.cluster, c.id)
    FROM turn t JOIN conversation c ON c.position = t.conversation
      {schema.JOIN_SCORE}
    WHERE t.status = 'answered' AND s.value NOT NULL"""  # noqa: S608 - SQL of our own
_PARTIAL = f"""
    SELECT total(s.value * (1 - s.value)) FROM turn t
      {schema.JOIN_SCORE}
    WHERE t.status = 'answered'"""  # noqa: S608 - SQL of our own
_ASKED = """
    SELECT count(DISTINCT conversation), (SELECT count(*) FROM (SELECT DISTINCT conversation, repeat FROM turn)),
      count(*), avg(prompt_tokens + output_tokens) FROM turn"""

# a cluster (whether it is a group rather than a conversation, and its name), and the repeat
ClusterRepeat = tuple[tuple[bool, str], int]
ScoreSums = dict[ClusterRepeat, tuple[float, int]]  # sum and number of scores


@dataclass(frozen=True, slots=True)
class Pilot:
    """What planning needs from a pilot run.

    Parameters
    ----------
    path : Path
        Its run file.
    scored : dict
        Cluster and repeat to the sum and number of scores.
    partial : float
        Sum of y (1 − y) over the scores y: 0 when all are 0 or 1.
    info : mapping
        From ``store.run_info``.
    conversations, conversation_repeats, turns : int
        Number of conversations, of conversations times repeats, and of turns that have ended.
    tokens : float or None
        Mean of prompt and output tokens per turn.
    wall_s : float or None
        Wall time of the run, in s.
    dataset_size : int or None
        Number of conversations in the dataset. None: the dataset cannot be read any more.
    """

    path: Path
    scored: ScoreSums
    partial: float
    info: Mapping[str, Any]
    conversations: int
    conversation_repeats: int
    turns: int
    tokens: float | None
    wall_s: float | None
    dataset_size: int | None

    @classmethod
    def read(cls, path: Path) -> Pilot:
        """Read a run file.

        Raises
        ------
        RunFileError
            The file cannot be read as a run file, or has no scored turn.
        """
        with measures.opened(path) as connection:
            rows = connection.execute(_SCORED).fetchall()
            scored: ScoreSums = {
                ((bool(grouped), name), repeat): (total, count) for grouped, name, repeat, total, count in rows
            }
            if not scored:
                raise RunFileError(f"{path} has no scored turn: a pilot needs answered turns with targets")
            (partial,) = connection.execute(_PARTIAL).fetchone()
            conversations, conversation_repeats, turns, tokens = connection.execute(_ASKED).fetchone()
            info = store.run_info(connection)
            wall_s, dataset_size = client_trust.wall_s(connection), _dataset_size(info)
        return cls(
            path, scored, partial, info, conversations, conversation_repeats, turns, tokens, wall_s, dataset_size
        )


def _dataset_size(info: Mapping[str, Any]) -> int | None:
    """Number of conversations in a pilot's dataset, including those beyond its limit; None: it is not readable."""
    checked: int | None = info["dataset"].get("conversations")
    settings = info["settings"]
    limit = settings.get("limit")
    if limit is None or (checked is not None and checked < limit):
        return checked
    try:
        return reader.check(info["dataset"]["path"], columns=settings.get("columns")).conversations
    except (EvalkitError, OSError, KeyError):
        return None


def _contents(path: Path, content: str) -> dict[str, str]:
    """Id of each conversation to its content."""
    with measures.opened(path) as connection:
        return dict(connection.execute(f"SELECT id, {content} FROM conversation"))  # noqa: S608 - SQL of our own


def accuracy_shares(scored: ScoreSums) -> tuple[float, dict[ClusterRepeat, float]]:
    """The accuracy, and the share of each conversation in it."""
    count = sum(n for _, n in scored.values())
    accuracy, mean = sum(total for total, _ in scored.values()) / count, count / len(scored)
    return accuracy, {key: (total - accuracy * n) / mean for key, (total, n) in scored.items()}


def difference_shares(first: Pilot, second: Pilot) -> tuple[float, dict[ClusterRepeat, float]]:
    """The difference second − first over turns scored in both, and the share of each conversation in it."""
    content = store.content(first.info, second.info)
    known, now = (_contents(pilot.path, content) for pilot in (first, second))
    changed = [name for name, before in known.items() if now.get(name, before) != before]
    if changed:
        raise RunFileError(
            f"conversation {changed[0]!r} is not the same in {first.path} and {second.path}: "
            "both pilots must run the same dataset"
        )
    scored = _scores_of_both(first.path, second.path)
    if not scored[0]:
        raise RunFileError(
            f"{first.path} and {second.path} have no scored conversation in common: run the same dataset in both"
        )
    (before, of_first), (after, of_second) = map(accuracy_shares, scored)
    return after - before, {key: of_second[key] - of_first[key] for key in of_first}


def _scores_of_both(first: Path, second: Path) -> tuple[ScoreSums, ScoreSums]:
    """Scores of both pilots for the turns scored in both, so that a failed turn makes no difference."""
    with measures.opened(second) as connection:
        second_scores = {tuple(turn): value for *turn, value, _, _ in connection.execute(_BY_TURN)}
    sums: tuple[ScoreSums, ScoreSums] = {}, {}
    with measures.opened(first) as connection:
        for *turn, value, grouped, name in connection.execute(_BY_TURN):
            if (other := second_scores.get(tuple(turn))) is not None:
                key = (bool(grouped), name), turn[1]
                for side, score in zip(sums, (value, other), strict=True):
                    total, count = side.get(key, (0.0, 0))
                    side[key] = total + score, count + 1
    return sums
