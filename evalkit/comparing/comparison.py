"""Runs compared: the same turns of two runs, in all, by turn index and by tag; and how sure a difference is."""

from __future__ import annotations

import sqlite3
import string
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from evalkit.analysis import client_trust
from evalkit.analysis.client_trust import Lateness
from evalkit.analysis.measures import opened
from evalkit.comparing import conditions, effects, flips, pairing
from evalkit.comparing.conditions import Differing, Side
from evalkit.comparing.effects import Effect, Measured, Times
from evalkit.comparing.flips import Flips
from evalkit.comparing.pairing import LeftOut
from evalkit.errors import RunFileError, SettingsError
from evalkit.stats.multiple_tests import holm
from evalkit.wording import comparison, run_results
from evalkit.wording.numbers import counted

if TYPE_CHECKING:
    import pandas as pd


class HasPath(Protocol):
    """A ``Run``, or whatever else knows its run file."""

    @property
    def path(self) -> Path:
        """Its run file."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """One run compared with the baseline. Differences are this run − baseline.

    Parameters
    ----------
    first, second : Side
        The baseline, and the run that is compared with it.
    differs : tuple of Differing
        In what they were asked, or scored, differently.
    warnings : tuple of str
        What makes the comparison less than it seems.
    averaged : bool
        The runs have not the same number of repeats: scores are means over the repeats of a turn.
    left_out : LeftOut
        Why turns are not among the pairs of ``all``, ``by_turn`` and ``by_tag``.
    all : Effect
        Over turns that both runs answered and scored.
    with_failures : Effect
        The same with failed turns as not right.
    by_turn, by_tag : tuple of Effect
        In the order of turn indices; the tags of most pairs first.
    tags_left_out : int
        Tags that are not in ``by_tag``, since there are so many, or since no pair has them.
    times : tuple of Times
        In all first, then by turn index.
    client_bound : (bool or None, bool or None)
        Whether the times of either run may be partly the client's.
    flips : Flips
        The turns that only one of them has right.
    """

    first: Side
    second: Side
    differs: tuple[Differing, ...]
    warnings: tuple[str, ...]
    averaged: bool
    left_out: LeftOut
    all: Effect
    with_failures: Effect
    by_turn: tuple[Effect, ...]
    by_tag: tuple[Effect, ...]
    tags_left_out: int
    times: tuple[Times, ...]
    client_bound: tuple[bool | None, bool | None]
    flips: Flips

    def to_json(self) -> dict[str, Any]:
        """The object that ``evalkit compare --json`` prints of two runs; missing values are None."""
        return {
            "runs": [
                _run_json(side, bound) for side, bound in zip((self.first, self.second), self.client_bound, strict=True)
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
    """Some runs, each compared with the first.

    Parameters
    ----------
    contrasts : tuple of Contrast
        One for every run after the first.
    """

    contrasts: tuple[Contrast, ...]

    def __repr__(self) -> str:
        told = "; ".join(
            f"{each.second.label} ({each.second.path.name}) and {each.first.label} ({each.first.path.name}): "
            f"{each.all.words}"
            for each in self.contrasts
        )
        return f"Comparison({told})"

    def to_json(self) -> dict[str, Any]:
        """Of two runs the object of ``Contrast.to_json``; of more ``runs``, the ``baseline`` and ``comparisons``."""
        if len(self.contrasts) == 1:
            return self.contrasts[0].to_json()
        each = [contrast.to_json() for contrast in self.contrasts]
        runs = [each[0]["runs"][0], *(one["runs"][1] for one in each)]
        return {"runs": runs, "baseline": runs[0]["label"], "comparisons": each}

    def table(self) -> pd.DataFrame:
        """The comparison, a row for all pairs, for every turn index and for every tag.

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
                    told = effect.to_json()
                    rates = {f"{name}_rate": told.pop(name) for name in ("first", "second")}
                    dropped = ("mcnemar", "reason", "clusters", "differing")
                    kept = {name: value for name, value in told.items() if name not in dropped}
                    labels = {"first": contrast.first.label, "second": contrast.second.label}
                    rows.append(
                        {**labels, "by": by, "label": effect.label, "pairs": kept.pop("pairs"), **rates, **kept}
                    )
        frame = pd.DataFrame(rows)
        numbers = frame.columns.drop(["first", "second", "by", "label", "words"])
        return frame.astype({name: "float64" for name in numbers if frame[name].dtype == object})

    def flips(self) -> pd.DataFrame:
        """The turns that only one of two runs has right, with both answers.

        Returns
        -------
        DataFrame
            Columns ``conversation, repeat, turn, first_answer, second_answer, first_score, second_score``, then
            ``outcome``, ``refusal`` and ``reasoning`` of either, as ``Run.turns`` has them, in the order of the
            dataset; of more than two runs also ``second``, the label of the run that is compared with the first.
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

    The same turns are paired: by conversation, repeat and turn if the runs have equally many repeats, else by
    conversation and turn, with the mean over repeats as the score. The difference of the rates is over pairs that both
    runs answered and scored; ``with_failures`` counts a failed turn as not right. Intervals and p take a conversation,
    or a ``group`` of conversations, for one sample (``paired.difference``). The p of the turn indices are corrected
    together, and so are those of the tags, and of several runs, by Holm's method.

    Parameters
    ----------
    first, second, *more : Run or path-like
        Run files; they may still be growing. Each is compared with the first.
    common : bool
        Compare what is the same, by id and content, also when the datasets differ.

    Returns
    -------
    Comparison

    Raises
    ------
    RunFileError
        A file cannot be read as a run file, one is named twice, or the runs are not of one dataset.
    """
    paths = [Path(run) if isinstance(run, Path | str) else run.path for run in (first, second, *more)]
    if len(paths) > len(string.ascii_uppercase):
        raise SettingsError(f"{len(paths)} runs are too many to compare at once: name {len(string.ascii_uppercase)}")
    with ExitStack() as stack:
        connections = [stack.enter_context(opened(path)) for path in paths]
        _refuse_one_file_twice(paths)
        known = [
            conditions.side(label, path, connection)
            for label, path, connection in zip(string.ascii_uppercase, paths, connections, strict=False)
        ]
        found = [
            _contrast(known[0], connections[0], side, connection, common=common)
            for side, connection in zip(known[1:], connections[1:], strict=True)
        ]
    return Comparison(_corrected(found))


def _refuse_one_file_twice(paths: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise RunFileError(f"{path} is named twice: a run compared with itself shows nothing. Name another run")
        seen.add(path.resolve())


def _contrast(
    first: Side, connection: sqlite3.Connection, second: Side, other: sqlite3.Connection, *, common: bool
) -> Contrast:
    try:
        shared = pairing.shared(connection, other, (first.about, second.about), common=common)
    except RunFileError as error:
        raise RunFileError(f"{first.path} and {second.path} cannot be compared: {error}") from None
    paired = pairing.paired(connection, other, shared, averaged=first.repeats != second.repeats)
    measured = effects.measured(connection, paired)
    differs = conditions.differing(first, second)
    medians = [measured.times[0].quantiles[metric]["p50"] for metric in ("ttft", "latency")]
    late = (
        (first.lateness, client_trust.medians_ms(*(median.first for median in medians))),
        (second.lateness, client_trust.medians_ms(*(median.second for median in medians))),
    )
    return Contrast(
        first=first,
        second=second,
        differs=tuple(differs),
        warnings=tuple(_warnings(first, second, differs, late, measured)),
        averaged=paired.averaged,
        left_out=paired.left_out,
        all=measured.all,
        with_failures=measured.with_failures,
        by_turn=measured.by_turn,
        by_tag=measured.by_tag,
        tags_left_out=measured.tags_left_out,
        times=measured.times,
        client_bound=(late[0][0].bound(late[0][1]), late[1][0].bound(late[1][1])),
        flips=flips.found(paired),
    )


def _warnings(
    first: Side,
    second: Side,
    differs: list[Differing],
    late: Iterable[tuple[Lateness, Mapping[str, float | None]]],
    measured: Measured,
) -> Iterable[str]:
    if conditions.scored_differently(differs):
        yield "the runs were not scored alike: a difference may be the scorers', and not the answers'"
    elif conditions.scored_by_unknown(first, second):
        yield "other versions of evalkit made the runs: their scorers may not judge alike"
    for side, (lateness, medians) in zip((first, second), late, strict=True):
        shown = {metric: medians[metric] for metric in ("ttft", "latency")}
        if bound := lateness.metrics(shown):
            added = run_results.delay_added_by_client(lateness.lag_ms, shown, bound)
            yield f"{side.label} is client-bound: of its times, {added} may be the client's"
    for side in (first, second):
        yield from (f"{side.label}: {note}" for note in run_results.first_token_warnings(*side.streams))
    if open_ended := comparison.unknown_times(measured.times[0], first.label, second.label):
        yield open_ended
    if measured.doubt is not None:
        yield measured.doubt


def _corrected(found: Sequence[Contrast]) -> tuple[Contrast, ...]:
    """All p of one kind corrected together, and every effect in words."""
    told = list(found)
    for kind in ("all", "with_failures", "by_turn", "by_tag"):
        groups = [getattr(contrast, kind) for contrast in told]
        every = [effect for group in groups for effect in (group if isinstance(group, tuple) else (group,))]
        family = sum(effect.p is not None for effect in every)
        ps = iter(holm([effect.p for effect in every]))
        for place, (contrast, group) in enumerate(zip(told, groups, strict=True)):
            if isinstance(group, tuple):
                new: Any = tuple(_worded(contrast, effect, next(ps), family) for effect in group)
            else:
                new = _worded(contrast, group, next(ps), family, history=True)
            told[place] = replace(contrast, **{kind: new})
    return tuple(told)


def _worded(
    contrast: Contrast, effect: Effect, corrected_p: float | None, family: int, *, history: bool = False
) -> Effect:
    names = [contrast.first.label, contrast.second.label]
    alone = conditions.history_alone(list(contrast.differs))
    if alone:
        names = [f"{side.about['settings']['history']} history" for side in (contrast.first, contrast.second)]
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
    if alone and history and words.startswith("golden history is better"):
        words = f"{words}: {comparison.OWN_HISTORY_COST}"
    return replace(effect, corrected_p=corrected_p, words=words)


def _run_json(side: Side, client_bound: bool | None) -> dict[str, Any]:
    return {
        "label": side.label,
        "file": str(side.path),
        "run": side.name,
        "model": side.facts["model"],
        "history": side.facts["history"],
        "repeats": side.repeats,
        "client_bound": client_bound,
    }
