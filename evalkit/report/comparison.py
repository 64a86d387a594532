"""The sections of a report that compare its runs with each other, and a run with the one before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from evalkit.charts import catalogue, safe_text
from evalkit.charts.accuracy import AccuracyAgainstLatency
from evalkit.report import previous_run, run_facts
from evalkit.report.charts import add_charts
from evalkit.report.html_elements import add, add_folded, add_headings, add_rows, add_table
from evalkit.report.leaderboard import Leaderboard, labels, leaderboard
from evalkit.wording import run_results
from evalkit.wording.comparison import decidable, differing, left_out, lower_bounds, median_latency, time_rows
from evalkit.wording.numbers import MISSING, counted, p_value, percent, points_with_interval

if TYPE_CHECKING:
    from evalkit.charts.chart import Chart
    from evalkit.comparing.comparison import Comparison, Contrast
    from evalkit.comparing.effects import Effect
    from evalkit.report.run_contents import RunContents

MOST_TAGS = 20


def comparison(main: Element, runs: Sequence[RunContents], compared: Comparison | str) -> None:
    """Add the leaderboard of the runs, and each compared with the first, or the reason why they are not compared."""
    section = SubElement(main, "section")
    datasets = list(dict.fromkeys(map(run_facts.dataset, runs)))
    add(section, "h1", f"{_named(runs)} on {datasets[0] if len(datasets) == 1 else 'different datasets'}")
    _leaderboard(section, leaderboard(runs, compared), is_warning=isinstance(compared, str))
    if isinstance(compared, str):
        return
    if len(compared.contrasts) == 1 and (faster := median_latency(compared.contrasts[0])) is not None:
        section.insert(2, add(Element("div"), "p", faster, class_="verdict"))
    if len(runs) > 2:
        add_charts(section, {"models": _models_chart(runs, compared)})
    for warning in dict.fromkeys(warning for contrast in compared.contrasts for warning in contrast.warnings):
        add(section, "p", run_results.sentence(warning), class_="warning")
    for line in run_facts.incomplete_in_several(runs, labels(runs)):
        add(section, "p", line)
    for contrast in compared.contrasts:
        first, second = contrast.first, contrast.second
        title = f"{second.label} {second.name} compared with {first.label} {first.name}"
        if len(compared.contrasts) == 1:
            add(section, "h2", title)
            _contrast(section, contrast)
        else:
            folded = add_folded(section, title)
            add(folded, "p", run_results.sentence(contrast.all.words), class_="verdict")
            _contrast(folded, contrast)


def _named(runs: Sequence[RunContents]) -> str:
    """The runs in a few words: two by their models, or by their files if they have one model."""
    if len(runs) > 2:
        return counted(len(runs), "run")
    names = [run.model for run in runs]
    if len(set(names)) == 1:
        names = [run.path.stem for run in runs]
    return " and ".join(f"{name} ({label})" for name, label in zip(names, labels(runs), strict=True))


def _models_chart(runs: Sequence[RunContents], compared: Comparison) -> Chart:
    names = [f"{label} {run.model}" for label, run in zip(labels(runs), runs, strict=True)]
    return AccuracyAgainstLatency([run.measures for run in runs], list(map(safe_text.name, names)), compared)


def add_previous(section: Element, contrast: Contrast, heading: str) -> None:
    """Add what has changed since the last run of the same dataset."""
    add(section, heading, "What changed since the last run of this dataset")
    for line in previous_run.sentences(contrast):
        add(section, "p", line)
    _times(section, contrast)


def _leaderboard(section: Element, board: Leaderboard, *, is_warning: bool) -> None:
    add(section, "p", board.finding, class_="warning" if is_warning else "verdict")
    table = add_table(section, board.notes[0], class_="leaderboard")
    add_headings(table, board.headings)
    add_rows(table, board.rows)
    for note in board.notes[1:]:
        add(section, "p", run_results.sentence(note), class_="faint")


def _contrast(section: Element, contrast: Contrast) -> None:
    first, second = contrast.first, contrast.second
    add(section, "p", run_results.sentence(differing(first.label, second.label, contrast.differs)))
    if line := left_out(contrast.left_out, first.label, second.label):
        add(section, "p", run_results.sentence(line))
    table = add_table(
        section,
        f"accuracy, and {second.label} − {first.label} in points, over turns answered and scored in both, of "
        "conversations with the same content; least: smallest difference that this many turns show in 4 of 5 cases",
    )
    alone = (f"only {run.label} right" for run in (first, second))
    difference = f"{second.label} − {first.label} (95 % interval)"
    add_headings(table, ("turns", "pairs", first.label, second.label, difference, "p", "corrected p", "least", *alone))
    add_rows(table, _rows(contrast))
    _times(section, contrast)
    add_charts(section, catalogue.contrast_charts(contrast))
    more = len(contrast.by_tag[MOST_TAGS:]) + contrast.tags_left_out
    if more:
        add(section, "p", f"For {counted(more, 'more tag')} see 'evalkit compare --json'.", class_="faint")


def _rows(contrast: Contrast) -> Iterator[tuple[str, ...]]:
    yield _row("all", contrast.all)
    if contrast.left_out.failed:
        yield _row("all, failed turns as not right", contrast.with_failures)
    yield from (_row(f"turn {effect.label}", effect) for effect in contrast.by_turn)
    yield from (_row(f"tag {effect.label}", effect) for effect in contrast.by_tag[:MOST_TAGS])


def _row(name: str, effect: Effect) -> tuple[str, ...]:
    shares = (MISSING if share is None else percent(share) for share in (effect.first, effect.second))
    shown = points_with_interval(effect.difference)
    p_values = map(p_value, (effect.p, effect.corrected_p))
    alone = (f"{count:,}" for count in (effect.only_first, effect.only_second))
    return name, f"{effect.pairs:,}", *shares, shown, *p_values, decidable(effect.smallest_decidable), *alone


def _times(section: Element, contrast: Contrast) -> None:
    first, second, times = contrast.first.label, contrast.second.label, contrast.times[0]
    if not any(times.pairs.values()):
        return
    table = add_table(section, "times in ms, over turns that both runs have")
    add_headings(table, ("time", "pairs", first, second, f"{second} − {first} (95 % interval)"))
    add_rows(table, ((name, *cells) for name, cells in time_rows(times)))
    if note := lower_bounds(times, first, second):
        add(section, "p", run_results.sentence(note), class_="faint")
