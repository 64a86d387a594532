"""The changes that margins are about, measured on the pairs of two runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from evalkit.analysis import costs
from evalkit.analysis.measures import opened
from evalkit.comparing import changes, clusters_and_tags
from evalkit.comparing.changes import Change
from evalkit.comparing.margin_expression import EVERY_TAG, METRICS, Margin, parse
from evalkit.comparing.pairing import TurnPairs
from evalkit.comparing.shared_conversations import Positions
from evalkit.comparing.verdicts import Verdicts, check_margins, level, verdict
from evalkit.errors import SettingsError
from evalkit.stats.arrays import Flags, Floats
from evalkit.wording import verdicts as wording

if TYPE_CHECKING:
    from pathlib import Path

    from evalkit.comparing.comparison import Contrast

_NO_PRICE = "the price of the model is not known: see 'evalkit show' for the price file"


def verdicts_of(contrasts: Sequence[Contrast], margins: Sequence[str | Margin]) -> Verdicts:
    """The verdicts on runs, each compared with the first; see ``Comparison.verdicts``."""
    parsed = [parse(margin) if isinstance(margin, str) else margin for margin in margins]
    check_margins(parsed)
    wanted = []
    for contrast in contrasts:
        margins_of_run = [each for margin in parsed for each in _of_tags(margin, contrast)]
        check_margins(margins_of_run)
        wanted += [(contrast, each) for each in margins_of_run]
    confidence = level(len(wanted))
    found = [
        verdict(
            contrast.first.label,
            contrast.second.label,
            margin,
            change_of(margin, contrast, confidence),
            contrast.clusters.noun,
            confidence,
        )
        for contrast, margin in wanted
    ]
    return Verdicts(tuple(found), confidence, tuple(_notes(contrasts, parsed)))


def _notes(contrasts: Sequence[Contrast], margins: Sequence[Margin]) -> Iterator[str]:
    limited = any(margin.metric in ("errors", "accuracy_all") for margin in margins)
    base = contrasts[0]
    for run, paired, side in [(base.first, base.paired, 0), *((each.second, each.paired, 1) for each in contrasts)]:
        failed = int((paired.failed[side] & ~paired.interrupted[side]).sum())
        note = wording.failed_calls(run.label, failed, len(paired.failed[side]), limited=limited)
        if note is not None:
            yield note


def _of_tags(margin: Margin, contrast: Contrast) -> Iterator[Margin]:
    if margin.tag is None:
        yield margin
        return
    names = _tags(contrast).names
    if margin.tag not in names and not (margin.tag == EVERY_TAG and names):
        known = ", ".join(" ".join(name.split()) for name in sorted(names)[:20]) or "none"
        raise SettingsError(f"margin {margin.text!r}: no conversation has the tag {margin.tag!r}; there are: {known}")
    for name in names if margin.tag == EVERY_TAG else [margin.tag]:
        yield replace(margin, tag=name)


def change_of(margin: Margin, contrast: Contrast, confidence: float) -> Change:
    """The change of the metric of a margin."""
    metric, paired = METRICS[margin.metric], contrast.paired
    labels = contrast.clusters.labels
    if margin.metric in ("accuracy", "accuracy_all"):
        pairs = paired.pairs
        every = margin.metric == "accuracy_all"
        first, second = (pairs.first_all, pairs.second_all) if every else (pairs.first, pairs.second)
        rows = _rows(pairs, margin, contrast) & ~(np.isnan(first) | np.isnan(second))
        return changes.share_change(first[rows], second[rows], labels[pairs.conversation[rows]], confidence)
    pairs = paired.single
    rows = _rows(pairs, margin, contrast)
    if margin.metric == "errors":
        rows &= ~(paired.interrupted[0] | paired.interrupted[1])
        failed = [flags[rows].astype(np.float64) for flags in paired.failed]
        return changes.share_change(failed[0], failed[1], labels[pairs.conversation[rows]], confidence)
    if metric.kind == "cost":
        return _cost_change(contrast, rows & ~(paired.failed[0] | paired.failed[1]), confidence)
    assert metric.quantile is not None
    name = margin.metric.partition("_")[0]
    first, second = paired.times[name]
    rows &= ~(np.isnan(first) | np.isnan(second))
    censored = paired.censored[name]
    return changes.time_change(
        first[rows], second[rows], metric.quantile, labels[pairs.conversation[rows]],
        (censored[0][rows], censored[1][rows]), confidence, relative=margin.relative,
    )  # fmt: skip


def _rows(pairs: TurnPairs, margin: Margin, contrast: Contrast) -> Flags:
    rows: Flags = np.ones(len(pairs.turn), dtype=np.bool_)
    if margin.turn is not None:
        rows &= pairs.turn == margin.turn
    if margin.tag is not None:
        tags = _tags(contrast)
        rows &= np.isin(pairs.conversation, tags.conversations[tags.names.index(margin.tag)])
    return rows


def _tags(contrast: Contrast) -> clusters_and_tags.Tags:
    with opened(contrast.first.path) as connection:
        return clusters_and_tags.tags(connection, contrast.paired.shared.first)


def _cost_change(contrast: Contrast, rows: Flags, confidence: float) -> Change:
    """The change of the cost of turns that both runs answered, with all their attempts."""
    sides = [_costs(run.path, positions, contrast, rows) for run, positions in (
        (contrast.first, contrast.paired.shared.first), (contrast.second, contrast.paired.shared.second),
    )]  # fmt: skip
    first, second = sides
    if first is None or second is None:
        return changes.missing_change(_NO_PRICE)
    untold = int((np.isnan(first) | np.isnan(second)).sum())
    if untold:
        reason = f"requests of {untold:,} of {len(first):,} turns reported no tokens"
        return changes.missing_change(reason, len(first))
    labels = contrast.clusters.labels[contrast.paired.single.conversation[rows]]
    return changes.cost_change(first, second, labels, confidence)


def _costs(path: Path, positions: Positions, contrast: Contrast, rows: Flags) -> Floats | None:
    """The cost of each turn of the pairs in one run, NaN if its tokens are not known; None: without a price."""
    import pandas as pd

    single = contrast.paired.single
    with opened(path) as connection:
        price = costs.run_price(_info(contrast, path))
        if price is None:
            return None
        by_turn = costs.by_turn(connection, price)
        names = dict(connection.execute("SELECT position, id FROM conversation"))
    wanted = pd.DataFrame(
        {
            "conversation": [names[position] for position in positions[single.conversation[rows]].tolist()],
            "repeat": single.repeat[rows],
            "turn": single.turn[rows],
        }
    )
    found: Floats = wanted.merge(by_turn, how="left", on=["conversation", "repeat", "turn"])["cost"].to_numpy()
    return found


def _info(contrast: Contrast, path: Path) -> dict[str, object]:
    return dict(next(run.about for run in (contrast.first, contrast.second) if run.path == path))
