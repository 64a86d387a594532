"""Several runs in the order of their accuracy, with intervals and groups of runs that are not shown to differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.report import run_facts
from evalkit.wording import numbers, run_results, verdicts
from evalkit.wording.numbers import MISSING, counted

if TYPE_CHECKING:
    from evalkit.comparing.comparison import Comparison, Contrast
    from evalkit.comparing.ranks import Ranks
    from evalkit.report.run_contents import RunContents


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """A table of runs, and what it shows.

    Parameters
    ----------
    finding : str
        Which run is first, or which runs are.
    headings : tuple of str
    rows : list of tuple of str
        The second column is the name of the run, the third its model.
    notes : list of str
    """

    finding: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: list[str]


def leaderboard(
    runs: Sequence[RunContents], compared: Comparison | str, quoted: Callable[[str], str] = str
) -> Leaderboard:
    """Rank the runs; ``compared``: their comparison, or why there is none. ``quoted`` makes untrusted names safe."""
    ranks = None if isinstance(compared, str) else compared.ranks
    ranked = ranks is not None and len(ranks.runs) > 0
    by_label = dict(zip(labels(runs), runs, strict=True))
    pair = None if isinstance(compared, str) or len(runs) != 2 else compared.contrasts[0]
    if pair is not None and not pair.all.pairs:
        pair = None
    order = [run.label for run in ranks.runs] if ranks is not None and ranked else _by_accuracy(by_label, pair)
    places = {run.label: run for run in ranks.runs} if ranks is not None else {}
    priced = any(run.result["cost"] is not None for run in runs)
    rows = []
    for label in order:
        run, place = by_label[label], places.get(label)
        rank = () if place is None else verdicts.ranked(place.rank, place.worst_rank, "")[:1]
        groups = () if place is None else (place.groups,)
        rows.append((
            *rank, f"{label} {quoted(run.measures.name)}", quoted(run.model),
            run_results.accuracy_with_interval(run.result["accuracy"]), *groups, *_cells(run, priced),
        ))  # fmt: skip
    headings = (
        *(("rank",) if ranked else ()), "run", "model", "accuracy (95 % interval)", *(("group",) if ranked else ()),
        "answered", "TTFT p50", "latency p50", *(("cost per right answer",) if priced else ()), "started",
    )  # fmt: skip
    notes = ["times in ms; – means missing: too little data, or nothing to measure"]
    if ranks is not None and ranked:
        notes.append(verdicts.groups(ranks.turns, ranks.tests))
    if pair is not None:
        notes.append(_over_pairs(pair, runs))
    return Leaderboard(_finding(ranks, by_label, compared, quoted), headings, rows, notes)


def labels(runs: Sequence[RunContents]) -> list[str]:
    """The labels of the runs: those of their comparison, and numbers where they are too many for one."""
    return [chr(ord("A") + place) if len(runs) <= 26 else str(place + 1) for place in range(len(runs))]


def _by_accuracy(by_label: dict[str, RunContents], pair: Contrast | None) -> list[str]:
    """The labels by the accuracy of their runs; of two runs by that over the turns of both, which are compared."""
    accuracies = [run.result["accuracy"]["value"] for run in by_label.values()]
    if pair is not None:
        accuracies = [pair.all.first, pair.all.second]
    order = sorted(zip(accuracies, by_label, strict=True), key=lambda each: -(each[0] or 0.0))
    return [label for _, label in order]


def _over_pairs(pair: Contrast, runs: Sequence[RunContents]) -> str:
    """The accuracies that are compared, and whether those of the table are over other turns."""
    both = ((pair.first.label, pair.all.first), (pair.second.label, pair.all.second))
    shares = ", ".join(f"{label} {numbers.percent(share or 0.0)}" for label, share in both)
    over = f"over the {counted(pair.all.pairs, 'turn')} answered and scored in both: {shares}"
    same = pair.averaged or all(run.result["accuracy"]["n"] == pair.all.pairs for run in runs)
    return over if same else f"the accuracies of the table are over different turns; {over}"


def _cells(run: RunContents, priced: bool) -> tuple[str, ...]:
    result = run.result
    cost = None if result["cost"] is None else result["cost"]["per_right"]
    return (
        f"{result['answered']:,} of {result['turns']:,}",
        numbers.number(result["ttft_ms"]["p50"]),
        numbers.number(result["latency_ms"]["p50"]),
        *((MISSING if cost is None else numbers.money(cost),) if priced else ()),
        run_facts.started(run),
    )


def _finding(
    ranks: Ranks | None, by_label: dict[str, RunContents], compared: Comparison | str, quoted: Callable[[str], str]
) -> str:
    if isinstance(compared, str):
        return f"These runs are shown side by side, and not compared: {quoted(compared)}"
    if ranks is None:
        return f"{compared.contrasts[0].all.words[0].upper()}{compared.contrasts[0].all.words[1:]}."
    if not ranks.runs:
        return "No turn is answered and scored in all runs: they cannot be ranked."
    first = [run.label for run in ranks.runs if run.rank == 1]
    over = f"over {counted(ranks.turns, 'turn')} answered and scored in all runs"
    if len(first) == len(ranks.runs):
        return f"No run is shown to be better than another, {over}."
    names = [f"{label} ({quoted(by_label[label].model)})" for label in first]
    if len(first) == 1:
        others = [run.label for run in ranks.runs[1:] if run.groups and set(run.groups) & set(ranks.runs[0].groups)]
        if others:
            return f"{names[0]} is first, and not shown to differ from {_listed(others)}, {over}."
        return f"{names[0]} is better than every other run, {over}."
    return f"{_listed(names)} are first: which of them is better is not shown, {over}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
