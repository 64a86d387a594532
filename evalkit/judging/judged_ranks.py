"""Several runs ranked from judged pairs, by the model of Bradley and Terry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.endpoint import Endpoint
from evalkit.errors import SettingsError
from evalkit.judging.judging import path_of
from evalkit.judging.pairwise import PairwiseJudging, judge_pairs
from evalkit.judging.rubric import Rubric
from evalkit.run import Run
from evalkit.stats.bradley_terry import Rating, ratings

if TYPE_CHECKING:
    import pandas as pd

_OUTCOMES = {"win": 1.0, "loss": 0.0, "tie": 0.5, "inconsistent": 0.5}


@dataclass(frozen=True, slots=True)
class JudgedRanks:
    """Runs in the order of their ratings, the best first.

    Parameters
    ----------
    runs : tuple of Rating
        Each named by its run file.
    pairs : int
        Number of judged pairs. A pair on which the judge contradicts itself counts as a tie.
    left_out : int
        Pairs without a readable choice, or whose calls failed.
    reason : str or None
        Why ratings or intervals are missing.
    """

    runs: tuple[Rating, ...]
    pairs: int
    left_out: int
    reason: str | None

    def to_json(self) -> dict[str, Any]:
        """As one object; missing values are None."""
        return asdict(self)

    def table(self) -> pd.DataFrame:
        """One row per run: ``name``, ``rating``, its 95 % limits ``low``, ``high``, ``groups``. Missing: NaN."""
        import pandas as pd

        frame = pd.DataFrame([asdict(run) for run in self.runs], columns=["name", "rating", "low", "high", "groups"])
        return frame.astype(dict.fromkeys(("rating", "low", "high"), "float64"))


@dataclass(frozen=True, slots=True)
class RankedPairs:
    """Several runs judged side by side, every two of them, and their ranking.

    Parameters
    ----------
    judgings : tuple of PairwiseJudging
    ranking : JudgedRanks
    """

    judgings: tuple[PairwiseJudging, ...]
    ranking: JudgedRanks

    def to_json(self) -> dict[str, Any]:
        """The object of ``--json``."""
        return {"judgings": [each.to_json() for each in self.judgings], "ranking": self.ranking.to_json()}


def rank_runs(
    runs: Sequence[Run | Path | str], endpoint: Endpoint, rubric: str | Path | Rubric = "better", **settings: Any
) -> RankedPairs:
    """Let a model judge every two of several runs, turn by turn, and rank the runs.

    Parameters
    ----------
    runs : sequence of Run or path-like
    endpoint, rubric
        As for ``pairwise.judge_pairs``.
    **settings
        ``limit``, ``concurrency``, ``stream`` and ``watch``, as for ``pairwise.judge_pairs``. When the user stops it,
        the ranking is that of the pairs so far.

    Raises
    ------
    SettingsError, RunFileError, EndpointError
        As for ``pairwise.judge_pairs``; SettingsError also if a run is named twice.
    MissingExtra
        evalica is not installed; nothing was judged.
    """
    check_ranking([path_of(run) for run in runs])
    judgings: list[PairwiseJudging] = []
    for run, against in combinations(runs, 2):
        judgings.append(judge_pairs(run, against, endpoint, rubric, **settings))
        if judgings[-1].stopped:
            break
    return RankedPairs(tuple(judgings), rank_judged(*judgings))


def check_ranking(paths: Sequence[Path]) -> None:
    """Raise for what would prevent a ranking of these run files after they have been judged.

    Raises
    ------
    SettingsError
        A run is named twice.
    MissingExtra
        evalica is not installed.
    """
    seen = set[Path]()
    for path in paths:
        if path.resolve() in seen:
            raise SettingsError(f"{path} is named twice: runs are ranked by comparing each with the others")
        seen.add(path.resolve())
    ratings([], [], [])  # needs the package, as any


def rank_judged(*judged: PairwiseJudging, resamples: int = 1000) -> JudgedRanks:
    """Rank runs from judged pairs: the results of ``evalkit.judging.pairwise.judge_pairs`` for every two of them.

    Ratings are on the scale of Elo, with 95 % intervals. Runs with a common letter in ``groups`` are not shown to
    differ. Pairs of one conversation are one cluster.

    Parameters
    ----------
    *judged : PairwiseJudging
        Results of the same judge.
    resamples : int
        For the intervals.

    Returns
    -------
    JudgedRanks

    Raises
    ------
    SettingsError
        No result is given, or the judges or rubrics differ.
    MissingExtra
        evalica is not installed.
    """
    if not judged:
        raise SettingsError("rank_judged needs judged pairs: the results of evalkit.judging.pairwise.judge_pairs")
    for name in ("model", "rubric"):
        named = {str(each.judge.get(name)) for each in judged}
        if len(named) > 1:
            raise SettingsError(f"the pairs were judged with different values of {name}: {', '.join(sorted(named))}")
    names = _names([path for each in judged for path in (each.run, each.against)])
    rows = [
        (names[each.run], names[each.against], _OUTCOMES[pair.outcome], pair.conversation)
        for each in judged
        for pair in each.turns
        if pair.outcome in _OUTCOMES
    ]
    first, second, outcomes, clusters = (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 4
    found, reason = ratings(first, second, outcomes, clusters, resamples=resamples)
    left_out = sum(len(each.turns) for each in judged) - len(rows)
    return JudgedRanks(tuple(found), len(rows), left_out, reason)


def _names(paths: list[Path]) -> dict[Path, str]:
    """Each run by the name of its file, or by its path where two files have one name."""
    stems = {path: path.stem for path in paths}
    return {path: stem if list(stems.values()).count(stem) == 1 else str(path) for path, stem in stems.items()}
