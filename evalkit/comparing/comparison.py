"""Comparison of runs on the same turns: overall, by turn index and by tag, with tests of the differences."""

from __future__ import annotations

import sqlite3
import string
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.analysis import client_trust
from evalkit.analysis.client_trust import ClientLag
from evalkit.analysis.measures import HasPath, opened
from evalkit.comparing import (
    clusters_and_tags,
    conditions,
    effects,
    flips,
    margin_changes,
    pairing,
    shared_conversations,
)
from evalkit.comparing.clusters_and_tags import Clusters
from evalkit.comparing.conditions import ComparedRun, ConditionDifference
from evalkit.comparing.effects import Effect, Effects, TimeEffects
from evalkit.comparing.flips import Flips
from evalkit.comparing.margin_expression import Margin
from evalkit.comparing.pairing import LeftOut, PairedRuns
from evalkit.comparing.ranks import Ranks, rank_runs
from evalkit.comparing.verdicts import Verdicts
from evalkit.errors import RunFileError, SettingsError
from evalkit.stats.multiple_tests import holm
from evalkit.wording import comparison, run_results
from evalkit.wording.imported import form_of
from evalkit.wording.numbers import counted

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.charts.chart import Chart


@dataclass(frozen=True, slots=True)
class Contrast:
    """One run compared with the baseline. Differences are this run − baseline.

    Parameters
    ----------
    first, second : ComparedRun
        The baseline, and the run compared with it.
    differs : tuple of ConditionDifference
        Conditions in which they differ.
    warnings : tuple of str
        Reasons to be careful with the comparison.
    averaged : bool
        The runs have different numbers of repeats: scores are means over the repeats of a turn.
    left_out : LeftOut
        Why turns are not among the pairs of ``all``, ``by_turn`` and ``by_tag``.
    all : Effect
        Over turns that both runs answered and scored.
    with_failures : Effect
        The same, with failed turns counted as not right.
    by_turn, by_tag : tuple of Effect
        In the order of turn indices, and of tags by decreasing number of pairs.
    tags_left_out : int
        Tags that are not in ``by_tag``, because there are too many, or because no pair has them.
    times : tuple of TimeEffects
        Over all turns first, then by turn index.
    client_bound : (bool or None, bool or None)
        Whether the times of each run may be partly due to the client.
    flips : Flips
        The turns that only one run has right.
    paired : PairedRuns
        The pairs themselves.
    clusters : Clusters
        Of the shared conversations.
    """

    first: ComparedRun
    second: ComparedRun
    differs: tuple[ConditionDifference, ...]
    warnings: tuple[str, ...]
    averaged: bool
    left_out: LeftOut
    all: Effect
    with_failures: Effect
    by_turn: tuple[Effect, ...]
    by_tag: tuple[Effect, ...]
    tags_left_out: int
    times: tuple[TimeEffects, ...]
    client_bound: tuple[bool | None, bool | None]
    flips: Flips
    paired: PairedRuns = field(repr=False)
    clusters: Clusters = field(repr=False)

    def charts(self) -> dict[str, Chart]:
        """The charts of this comparison by their names, with ``draw``, ``save`` and more as those of ``Run.charts``."""
        from evalkit.charts import catalogue

        return catalogue.contrast_charts(self)

    def to_json(self) -> dict[str, Any]:
        """The object that ``evalkit compare --json`` prints of two runs; missing values are None."""
        return {
            "runs": [
                _run_json(run, bound) for run, bound in zip((self.first, self.second), self.client_bound, strict=True)
            ],
            "pairs": self.all.pairs,
            "averaged": self.averaged,
            "left_out": asdict(self.left_out),
            "differs": [asdict(each) for each in self.differs],
            "warnings": list(self.warnings),
            "all": self.all.to_json(),
            "with_failures": self.with_failures.to_json(),
            "by_turn": [{"turn": effect.label, **effect.to_json()} for effect in self.by_turn],
            "by_tag": [{"tag": effect.label, **effect.to_json()} for effect in self.by_tag],
            "tags_left_out": self.tags_left_out,
            "latency": {
                **self.times[0].to_json(),
                "by_turn": [{"turn": times.turn, **times.to_json()} for times in self.times[1:]],
            },
            "flips": len(self.flips),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs, each compared with the first.

    Parameters
    ----------
    contrasts : tuple of Contrast
        One for each run after the first.
    ranks : Ranks or None
        The order of three or more runs; None: there are two.
    """

    contrasts: tuple[Contrast, ...]
    ranks: Ranks | None = None

    def __repr__(self) -> str:
        results = "; ".join(
            f"{each.second.label} ({each.second.path.name}) and {each.first.label} ({each.first.path.name}): "
            f"{each.all.words}"
            for each in self.contrasts
        )
        return f"Comparison({results})"

    def _repr_html_(self) -> str | None:
        from evalkit.console import notebook_cell

        return notebook_cell.of_comparison(self)

    def to_json(self) -> dict[str, Any]:
        """For two runs that of ``Contrast.to_json``; for more ``runs``, ``baseline``, ``comparisons`` and ``ranks``."""
        if len(self.contrasts) == 1:
            return self.contrasts[0].to_json()
        ranks = None if self.ranks is None else self.ranks.to_json()
        comparisons = [contrast.to_json() for contrast in self.contrasts]
        runs = [comparisons[0]["runs"][0], *(each["runs"][1] for each in comparisons)]
        return {"runs": runs, "baseline": runs[0]["label"], "comparisons": comparisons, "ranks": ranks}

    def table(self) -> pd.DataFrame:
        """The comparison as a table, with rows for all pairs, for each turn index and for each tag.

        Returns
        -------
        DataFrame
            Columns ``first``, ``second`` (labels of the runs), ``by`` (``all``, ``with_failures``, ``turn``, ``tag``),
            ``label`` (the turn index or the tag), ``pairs``, ``first_rate``, ``second_rate``, ``difference`` with its
            95 % limits ``low``, ``high``, ``p``, ``corrected_p``, ``smallest_decidable``, ``only_first``,
            ``only_second``, ``words``. Missing: NaN.
        """
        import pandas as pd

        rows = []
        for contrast in self.contrasts:
            groups = (("all", (contrast.all,)), ("with_failures", (contrast.with_failures,)))
            for by, group in (*groups, ("turn", contrast.by_turn), ("tag", contrast.by_tag)):
                for effect in group:
                    row = effect.to_json()
                    rates = {f"{name}_rate": row.pop(name) for name in ("first", "second")}
                    dropped = ("mcnemar", "reason", "clusters", "differing")
                    columns = {name: value for name, value in row.items() if name not in dropped}
                    labels = {"first": contrast.first.label, "second": contrast.second.label}
                    rows.append(
                        {**labels, "by": by, "label": effect.label, "pairs": columns.pop("pairs"), **rates, **columns}
                    )
        frame = pd.DataFrame(rows)
        numbers = frame.columns.drop(["first", "second", "by", "label", "words"])
        return frame.astype({name: "float64" for name in numbers if frame[name].dtype == object})

    def verdicts(self, *margins: str | Margin) -> Verdicts:
        """Say of each run after the first whether it is better, no worse or worse, or that nobody can tell.

        Parameters
        ----------
        *margins : str
            How much worse a metric may be: ``accuracy -2%`` (percentage points), ``ttft_p95 +10%`` (of the baseline),
            ``cost +5%``. See ``margin_expression``.

        Returns
        -------
        Verdicts
            With several margins or runs, each interval is corrected for their number, by Bonferroni's method.

        Raises
        ------
        SettingsError
            A margin cannot be parsed, none is given, or a metric has two.
        RunFileError
            A run file cannot be read again, for costs and tags.
        """
        return margin_changes.verdicts_of(self.contrasts, margins)

    def flips(self) -> pd.DataFrame:
        """The turns that only one of two runs has right, with both answers.

        Returns
        -------
        DataFrame
            Columns ``conversation, repeat, turn, first_answer, second_answer, first_score, second_score``, then
            ``outcome``, ``refusal`` and ``reasoning`` of each run, as in ``Run.turns``, in the order of the dataset;
            for more than two runs also ``second``, the label of the run that is compared with the first.
        """
        import pandas as pd

        parts = []
        for contrast in self.contrasts:
            rows = contrast.flips.read(contrast.first.path, contrast.second.path)
            part = pd.DataFrame(rows, columns=pd.Index(flips.Flip._fields))
            if len(self.contrasts) > 1:
                part.insert(0, "second", contrast.second.label)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)


def compare(
    first: HasPath | Path | str,
    second: HasPath | Path | str,
    *more: HasPath | Path | str,
    common: bool = False,
) -> Comparison:
    """Compare runs of one dataset, turn by turn.

    Turns are paired by conversation, repeat and turn if the runs have the same number of repeats, else by conversation
    and turn, with the mean over repeats as the score. The difference of the rates is over pairs that are answered and
    scored in both runs; ``with_failures`` counts a failed turn as not right. For intervals and p a conversation, or a
    ``group`` of conversations, is one cluster (``paired.difference``). The p of all turn indices are corrected
    together, and so are those of all tags, and of several runs, by Holm's method.

    Parameters
    ----------
    first, second, *more : Run or path-like
        Run files, which may belong to runs in progress. Each is compared with the first.
    common : bool
        Compare conversations with the same id and content even if the datasets differ.

    Returns
    -------
    Comparison

    Raises
    ------
    RunFileError
        A file cannot be read as a run file, one is named twice, or the runs are not of one dataset.
    SettingsError
        There are more than 26 runs.
    """
    paths = [Path(run) if isinstance(run, Path | str) else run.path for run in (first, second, *more)]
    if len(paths) > len(string.ascii_uppercase):
        raise SettingsError(f"{len(paths)} runs are too many to compare: name at most {len(string.ascii_uppercase)}")
    with ExitStack() as stack:
        connections = [stack.enter_context(opened(path)) for path in paths]
        _refuse_one_file_twice(paths)
        runs = [
            conditions.read_run(label, path, connection)
            for label, path, connection in zip(string.ascii_uppercase, paths, connections, strict=False)
        ]
        contrasts = [
            _contrast(runs[0], connections[0], run, connection, common=common)
            for run, connection in zip(runs[1:], connections[1:], strict=True)
        ]
    return Comparison(_corrected(contrasts), rank_runs(contrasts) if len(contrasts) > 1 else None)


def _refuse_one_file_twice(paths: Sequence[Path]) -> None:
    named: set[Path] = set()
    for path in paths:
        if path.resolve() in named:
            raise RunFileError(f"{path} is named twice: a run has no difference from itself. Name another run")
        named.add(path.resolve())


def _contrast(
    first: ComparedRun, connection: sqlite3.Connection, second: ComparedRun, other: sqlite3.Connection, *, common: bool
) -> Contrast:
    try:
        shared = shared_conversations.shared_conversations(
            connection, other, (first.about, second.about), common=common
        )
    except RunFileError as error:
        raise RunFileError(f"{first.path} and {second.path} cannot be compared: {error}") from None
    pairs = pairing.pair_turns(connection, other, shared, averaged=first.repeats != second.repeats)
    clusters = clusters_and_tags.clusters(connection, shared.first)
    result = effects.measure_effects(connection, pairs, clusters)
    differs = conditions.condition_differences(first, second)
    medians = [result.times[0].quantiles[metric]["p50"] for metric in ("ttft", "latency")]
    lags = (
        (first.lag, client_trust.medians_ms(*(median.first for median in medians))),
        (second.lag, client_trust.medians_ms(*(median.second for median in medians))),
    )
    return Contrast(
        first=first,
        second=second,
        differs=tuple(differs),
        warnings=tuple(_warnings(first, second, differs, lags, result)),
        averaged=pairs.averaged,
        left_out=pairs.left_out,
        all=result.all,
        with_failures=result.with_failures,
        by_turn=result.by_turn,
        by_tag=result.by_tag,
        tags_left_out=result.tags_left_out,
        times=result.times,
        client_bound=(lags[0][0].client_bound(lags[0][1]), lags[1][0].client_bound(lags[1][1])),
        flips=flips.find_flips(pairs),
        paired=pairs,
        clusters=clusters,
    )


def _warnings(
    first: ComparedRun,
    second: ComparedRun,
    differs: list[ConditionDifference],
    lags: Iterable[tuple[ClientLag, Mapping[str, float | None]]],
    result: Effects,
) -> Iterable[str]:
    if conditions.scored_differently(differs):
        yield ("different scorers or versions scored the runs: a difference may be due to the scorers, not the answers")
    elif conditions.maybe_scored_differently(first, second):
        yield "the runs were made by different versions of evalkit, whose scorers may differ"
    for run, (lag, medians) in zip((first, second), lags, strict=True):
        shown = {metric: medians[metric] for metric in ("ttft", "latency")}
        if bound := lag.client_bound_metrics(shown):
            added = run_results.delay_added_by_client(lag.lag_ms, shown, bound)
            yield f"{run.label} is client-bound: of its times, {added} may be due to the client"
    for run in (first, second):
        if about := run.about["settings"].get("imported"):
            yield f"{run.label} was imported from {form_of(about)}: no time was measured"
        yield from (f"{run.label}: {note}" for note in run_results.first_token_warnings(*run.streams))
    if open_ended := comparison.unknown_times(result.times[0], first.label, second.label):
        yield open_ended
    if result.doubt is not None:
        yield result.doubt


def _corrected(contrasts: Sequence[Contrast]) -> tuple[Contrast, ...]:
    """Correct all p of one kind together, and put every effect into words."""
    corrected = list(contrasts)
    for kind in ("all", "with_failures", "by_turn", "by_tag"):
        groups = [getattr(contrast, kind) for contrast in corrected]
        all_effects = [effect for group in groups for effect in (group if isinstance(group, tuple) else (group,))]
        family = sum(effect.p is not None for effect in all_effects)
        ps = iter(holm([effect.p for effect in all_effects]))
        for index, (contrast, group) in enumerate(zip(corrected, groups, strict=True)):
            if isinstance(group, tuple):
                new: Any = tuple(_worded(contrast, effect, next(ps), family) for effect in group)
            else:
                new = _worded(contrast, group, next(ps), family, history=True)
            corrected[index] = replace(contrast, **{kind: new})
    return tuple(corrected)


def _worded(
    contrast: Contrast, effect: Effect, corrected_p: float | None, family: int, *, history: bool = False
) -> Effect:
    names = [contrast.first.label, contrast.second.label]
    only_history = conditions.only_history_differs(list(contrast.differs))
    if only_history:
        names = [f"{run.about['settings']['history']} history" for run in (contrast.first, contrast.second)]
    words = comparison.effect(
        names,
        effect.difference,
        clusters=counted(effect.clusters, effect.noun),
        corrected_p=corrected_p,
        family=family,
        smallest=effect.smallest_decidable,
        differing=effect.differing if effect.p is None and effect.differing < effect.clusters else None,
        equal=effect.equal,
    )
    if only_history and history and words.startswith("golden history is better"):
        words = f"{words}: {comparison.OWN_HISTORY_COST}"
    return replace(effect, corrected_p=corrected_p, words=words)


def _run_json(run: ComparedRun, client_bound: bool | None) -> dict[str, Any]:
    return {
        "label": run.label,
        "file": str(run.path),
        "run": run.name,
        "model": run.conditions["model"],
        "history": run.conditions["history"],
        "repeats": run.repeats,
        "client_bound": client_bound,
    }
