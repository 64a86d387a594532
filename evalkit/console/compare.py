"""The output of ``evalkit compare``: the effect in words, the tables behind it, and the turns that flipped."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.comparing.comparison import Comparison, Contrast
from evalkit.comparing.conditions import ComparedRun
from evalkit.comparing.effects import Effect
from evalkit.comparing.ranks import Ranks
from evalkit.comparing.verdicts import CANNOT_TELL, Verdicts
from evalkit.console.terminal import plain_table, printable
from evalkit.console.transcript import command
from evalkit.wording import verdicts as worded
from evalkit.wording.comparison import (
    LEVEL,
    condition_value,
    decidable,
    differing,
    left_out,
    lower_bounds,
    shortened,
    time_rows,
)
from evalkit.wording.numbers import MISSING, counted, p_value, percent, points_with_interval

MOST_TAGS, MOST_FLIPS = 10, 5


def show_comparison(console: Console, comparison: Comparison) -> None:
    """Print every run compared with the first."""
    contrasts = comparison.contrasts
    for side in (contrasts[0].first, *(contrast.second for contrast in contrasts)):
        console.print(_side(side), soft_wrap=True)
    if len(contrasts) > 1:
        first = contrasts[0].first.label
        console.print(
            f"each run is compared with {first}; p corrected by Holm's method, also over these {len(contrasts)} runs",
            soft_wrap=True,
        )
    if comparison.ranks is not None:
        _ranks(console, comparison.ranks)
    for contrast in contrasts:
        console.print()
        _contrast(console, contrast, runs=len(contrasts))


def _ranks(console: Console, ranks: Ranks) -> None:
    """Print the order of the runs, and which of them are not shown to differ."""
    if not ranks.runs:
        return
    table = plain_table("rank", "run", "groups", right=("accuracy",))
    for run in ranks.runs:
        table.add_row(*worded.ranked(run.rank, run.worst_rank, run.label), run.groups, percent(run.accuracy))
    console.print()
    console.print(table)
    console.print(worded.groups(ranks.turns, ranks.tests), style="dim", soft_wrap=True)


def show_verdicts(console: Console, verdicts: Verdicts, fail_on: str) -> None:
    """Print a table of the verdicts, how many more conversations would tell, and what fails the build."""
    console.print()
    table = plain_table("run", "margin", right=("A", "run", f"change ({worded.level(verdicts.confidence)})", "verdict"))
    for each in verdicts.verdicts:
        failing = each.fails(fail_on)
        style = "red" if failing else "yellow" if each.result == CANNOT_TELL else "green"
        table.add_row(
            each.second,
            _line(each.margin.text_of_tag),
            *(worded.value(each.margin, value) for value in (each.change.first, each.change.second)),
            worded.change(each.margin, each.change.change),
            Text(each.result.upper() if failing else each.result, style=style),
        )
    console.print(table)
    for each in verdicts.verdicts:
        if each.result == CANNOT_TELL:
            reason = worded.would_tell(each.more, each.noun, each.change.change.reason)
            console.print(_line(f"{each.second} {each.margin.left}: {reason}"), soft_wrap=True)
    console.print(verdicts.base, style="dim", soft_wrap=True)
    for note in verdicts.notes:
        console.print(note, style="yellow", soft_wrap=True)


def _side(side: ComparedRun) -> Text:
    facts = side.conditions
    parameters = "".join(
        f", {name.removeprefix('parameter ')} {condition_value(value)}"
        for name, value in facts.items()
        if name.startswith("parameter ")
    )
    target = f"{facts['model']} ({facts['endpoint']}{parameters}), {facts['history']} history"
    repeats = f", {side.repeats} repeats" if side.repeats > 1 else ""
    return _line(f"{side.label}  {side.path}: {target}{repeats}")


def _contrast(console: Console, contrast: Contrast, runs: int) -> None:
    first, second = contrast.first.label, contrast.second.label
    console.print(_differs(contrast), soft_wrap=True)
    for warning in contrast.warnings:
        console.print(Text(warning, style="yellow"), soft_wrap=True)
    console.print(Text(_headline(contrast.all, first, second, runs), style="bold"), soft_wrap=True)
    console.print(_base(contrast), style="dim", soft_wrap=True)
    rows = [*((str(effect.label), effect) for effect in contrast.by_turn), ("all", contrast.all)]
    if contrast.left_out.failed:
        rows.append(("failed as not right", contrast.with_failures))
    console.print(_effects(contrast, "turn", rows))
    if (tested := _tested(contrast.by_turn)) > 1:
        console.print(f"Holm: p corrected by Holm's method, over {_family('turn indices', tested, runs)}", style="dim")
    _tags(console, contrast, runs)
    if line := left_out(contrast.left_out, contrast.first.label, contrast.second.label):
        console.print(line, soft_wrap=True)
    if (mcnemar := contrast.all.mcnemar) and mcnemar.n:
        console.print(
            f"McNemar's test on {mcnemar.n} turns that are right in one run only: "
            f"mid-p {p_value(mcnemar.mid_p)}, exact p {p_value(mcnemar.exact_p)}"
        )
    _times(console, contrast)
    _flips(console, contrast)


def _headline(effect: Effect, first: str, second: str, runs: int) -> str:
    numbers = [] if effect.p is None else [f"p {p_value(effect.p)}"]
    if numbers and runs > 1:
        numbers.append(f"corrected {p_value(effect.corrected_p)}")
    if not effect.shown and effect.difference.low is not None:
        numbers.insert(0, f"{second} − {first} {points_with_interval(effect.difference)} points")
    return "; ".join([effect.words, ", ".join(numbers)]) if numbers else effect.words


def _differs(contrast: Contrast) -> Text:
    return _line(differing(contrast.first.label, contrast.second.label, contrast.differs))


def _base(contrast: Contrast) -> str:
    averaged = ", means over repeats" if contrast.averaged else ""
    return (
        f"over {counted(contrast.all.pairs, 'turn')} answered and scored in both{averaged}; differences "
        f"{contrast.second.label} − {contrast.first.label} in points with 95 % intervals; "
        "least: smallest difference that this many turns show in 4 of 5 cases; "
        f"only {contrast.first.label}/{contrast.second.label}: turns that one run alone has right"
    )


def _effects(contrast: Contrast, heading: str, rows: Sequence[tuple[str, Effect]]) -> Table:
    first, second = contrast.first.label, contrast.second.label
    table = plain_table()
    table.add_column(heading, overflow="fold", min_width=8 if heading == "tag" else None)
    for name in ("pairs", first, second, "difference (95 %)", "p", "Holm", "least", f"only {first}/{second}"):
        table.add_column(name, justify="right", overflow="fold")
    for label, effect in rows:
        table.add_row(
            _line(shortened(label)),
            f"{effect.pairs:,}",
            *(MISSING if rate is None else percent(rate) for rate in (effect.first, effect.second)),
            points_with_interval(effect.difference),
            p_value(effect.p),
            p_value(effect.corrected_p),
            decidable(effect.smallest_decidable),
            f"{effect.only_first:,}/{effect.only_second:,}",
        )
    return table


def _tags(console: Console, contrast: Contrast, runs: int) -> None:
    """Print the tags with the most pairs, and any other that differs beyond chance; count the rest."""
    if not contrast.by_tag:
        return  # no tag, or no pair that has one
    shown = [
        effect
        for place, effect in enumerate(contrast.by_tag)
        if place < MOST_TAGS or (effect.corrected_p is not None and effect.corrected_p < LEVEL)
    ]
    console.print(_effects(contrast, "tag", [(str(effect.label), effect) for effect in shown]))
    if (tested := _tested(contrast.by_tag)) > 1:
        console.print(f"Holm: p corrected over {_family('tags', tested, runs)}", style="dim")
    if more := len(contrast.by_tag) - len(shown):
        console.print(f"{counted(more, 'more tag')} with fewer turns and no difference beyond chance: see --json")
    if contrast.tags_left_out:
        console.print(
            f"{counted(contrast.tags_left_out, 'tag')} with the fewest turns, or without a pair, not compared"
        )


def _tested(effects: Sequence[Effect]) -> int:
    return sum(effect.p is not None for effect in effects)


def _family(noun: str, tested: int, runs: int) -> str:
    return f"the {tested:,} {noun} tested" if runs == 1 else f"the {noun} of all {runs} comparisons"


def _times(console: Console, contrast: Contrast) -> None:
    first, second = contrast.first.label, contrast.second.label
    times = contrast.times[0]
    if not any(times.pairs.values()):
        return  # no turn was answered in both
    difference = f"difference {second} − {first} (95 % interval)"
    table = plain_table("time in ms", right=("pairs", first, second, difference))
    for name, cells in time_rows(times):
        table.add_row(name, *cells)
    console.print(table)
    if line := lower_bounds(times, first, second):
        console.print(line, style="dim", soft_wrap=True)


def _flips(console: Console, contrast: Contrast) -> None:
    first, second, flips = contrast.first, contrast.second, contrast.flips
    if not len(flips):
        console.print("no turn is right in one run only")
        return
    only = contrast.all.only_first, contrast.all.only_second
    console.print(
        f"{counted(len(flips), 'turn')} right in one run only, {only[0]:,} in {first.label} and {only[1]:,} in "
        f"{second.label}" + (f"; the first {MOST_FLIPS}:" if len(flips) > MOST_FLIPS else ":")
    )
    for flip in flips.read(first.path, second.path, MOST_FLIPS):
        right = first.label if flip.first_score >= 1 else second.label
        repeat = f", repeat {flip.repeat}" if flip.repeat > 1 else ""
        console.print(
            _line(f"  {shortened(flip.conversation)}{repeat}, turn {flip.turn}: right in {right} only"), soft_wrap=True
        )
        for side in (first, second):
            console.print(_line(f"    {command(side.path, flip.conversation, flip.repeat)}"), soft_wrap=True)
    if len(flips) > MOST_FLIPS:
        console.print("all of them, with both answers, in Python: evalkit.compare(…).flips()")


def _line(text: str) -> Text:
    """Text from a stranger on one line, so that no part of it looks like a line of evalkit."""
    return printable("".join("\ufffd" if character in "\n\t" else character for character in text))
