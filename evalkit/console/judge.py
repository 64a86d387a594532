"""The output of ``evalkit judge`` and ``evalkit judge-check``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.console.terminal import failure_line, plain_table, printable
from evalkit.judging.against_people import FAILED, UNPARSED, JudgeCheck, SelfAgreement
from evalkit.judging.correction import Correction
from evalkit.judging.judged_ranks import RankedPairs
from evalkit.judging.judging import Agreement, Judging
from evalkit.judging.pairwise import OUTCOMES, PairwiseJudging
from evalkit.run import Run
from evalkit.stats.estimate import Estimate
from evalkit.wording.numbers import MISSING, counted, percent

_WEIGHTED = (
    "labels chosen by whether judge and scorer differ: shares are weighted, so that they hold for all answers of the "
    "run; the table, kappa and alpha are of the labels as they are"
)


def show_judging(console: Console, done: Judging) -> None:
    """Print the verdicts of a judge on a run."""
    console.print(_title(str(done.run), done.judge, f"{done.judged} turns"), soft_wrap=True)
    rows = [*done.choices.items(), ("no readable choice", done.unparsed), ("call failed", done.failed)]
    console.print(_counts(rows, done.judged))
    console.print(f"mean score {_share(done.mean)}; unsure, unreadable and failed ones have no score", soft_wrap=True)
    if done.corrected is not None:
        _show_correction(console, done.corrected)
    reason = "it was a trial of the first turns"
    if done.mean.value is None:
        reason = "none of the judge's answers gave a score"
    if done.stopped:
        reason = "not every turn is judged"
    status = "they count now" if done.counts else f"they do not count: {reason}"
    console.print(f"scores: scoring {done.scoring} of the run file; {status}", soft_wrap=True)
    if done.agreement is not None:
        console.print(_agreement(done.agreement), soft_wrap=True)
    _ending(console, done)


def _show_correction(console: Console, found: Correction) -> None:
    own = "" if found.of_run == found.labelled else f", {found.of_run} of them of this run"
    own += ", weighted by how they were chosen" if found.weighted else ""
    failed = f", without {counted(found.failed, 'failed call')}" if found.failed else ""
    console.print(
        printable(f"corrected by {counted(found.labelled, 'labelled answer')}{own}{failed}: {_share(found.mean)}"),
        soft_wrap=True,
    )
    if not found.weighted:
        rogan_gladen = f"by the estimate of Rogan and Gladen: {_share(found.rogan_gladen)}"
        console.print(printable(rogan_gladen), style="dim", soft_wrap=True)
    if found.doubt is not None:
        console.print(printable(found.doubt), style="yellow", soft_wrap=True)


def show_pairing(console: Console, done: PairwiseJudging) -> None:
    """Print the verdicts of a judge on two runs."""
    console.print(_title(f"{done.run} against {done.against}", done.judge, f"{len(done.turns)} turns"), soft_wrap=True)
    table = plain_table("outcome", right=("turns", "share of those decided (95 % interval)"))
    names = {"win": f"{done.run.stem} is better", "loss": f"{done.against.stem} is better"}
    names |= {"inconsistent": "depends on the order shown"}
    names |= {"undecided": "no readable choice", "failed": "call failed"}
    for outcome in OUTCOMES:
        share = done.shares.get(outcome)
        cells = (str(done.outcomes[outcome]), MISSING if share is None else _share(share))
        table.add_row(printable(names.get(outcome, outcome)), *cells)
    console.print(table)
    console.print(f"same verdict in both orders: {_share(done.consistent)}", soft_wrap=True)
    console.print(f"the answer shown first was chosen: {_share(done.first_shown)}; without bias, 50%")
    _ending(console, done)


def show_ranked_pairs(console: Console, done: RankedPairs) -> None:
    """Print the verdicts of a judge on every two of several runs, and the ranking."""
    for judging in done.judgings:
        show_pairing(console, judging)
        console.print()
    ranking = done.ranking
    table = plain_table("run", "groups", right=("rating", "95 % interval"))
    for run in ranking.runs:
        rating, *limits = (MISSING if value is None else f"{value:.0f}" for value in (run.rating, run.low, run.high))
        table.add_row(printable(run.name), run.groups, rating, MISSING if run.low is None else " to ".join(limits))
    console.print(table)
    left = f", without {counted(ranking.left_out, 'pair')} that the judge did not decide" if ranking.left_out else ""
    console.print(
        f"ratings of Bradley and Terry on the scale of Elo, from {counted(ranking.pairs, 'judged pair')}{left}; "
        "runs with a common letter are not shown to differ",
        style="dim", soft_wrap=True,
    )  # fmt: skip
    if ranking.reason is not None:
        console.print(printable(ranking.reason), style="yellow", soft_wrap=True)


def show_check(console: Console, done: JudgeCheck) -> None:
    """Print how often a judge agrees with people."""
    console.print(_title(str(done.data), done.judge, counted(done.n, "labelled answer")), soft_wrap=True)
    columns = [*done.rubric.choices, UNPARSED, FAILED]
    table = plain_table("label", right=(f"judge: {columns[0]}", *columns[1:]))
    for label, row in done.confusion.items():
        table.add_row(printable(label), *(str(row[column]) for column in columns))
    console.print(table)
    undecided = done.unsure + done.count(UNPARSED)
    console.print(
        f"of {done.n}: {done.unsure} unsure, {done.count(UNPARSED)} without a readable choice, "
        f"{counted(done.count(FAILED), 'failed call')}"
    )
    if done.weighted:
        console.print(_WEIGHTED, soft_wrap=True)
    for name, estimate in (
        ("agreement on decided answers", _share(done.agreement)),
        ("Cohen's kappa", _coefficient(done.kappa)),
        (f"Krippendorff's alpha, {done.rubric.level}", _coefficient(done.alpha)),
        *((("true positive rate", _share(done.tpr)), ("true negative rate", _share(done.tnr))) * done.rubric.binary),
    ):
        console.print(f"{name}: {estimate}", soft_wrap=True)
    overall = f"agreement on all, counting {undecided} undecided as not agreeing: {_share(done.agreement_all)}"
    console.print(overall, soft_wrap=True)
    console.print(_compared_with_majority(done), soft_wrap=True)
    if done.self_agreement is not None:
        _show_self_agreement(console, done.self_agreement)
    if done.by_tag:
        console.print(_by_tag(done))
    _ending(console, done)


def _show_self_agreement(console: Console, found: SelfAgreement) -> None:
    without = f", without {counted(found.left_out, 'answer')} of a failed call" if found.left_out else ""
    console.print(f"same choice in all {found.repeats} repeats: {_share(found.same)}{without}", soft_wrap=True)
    console.print(f"Krippendorff's alpha over repeats: {_coefficient(found.alpha)}", soft_wrap=True)


def _by_tag(done: JudgeCheck) -> Table:
    rates = ("true positive rate", "true negative rate") * done.rubric.binary
    table = plain_table("tag", right=("answers", "agreement", *rates))
    for tag in done.by_tag:
        shares = (tag.agreement, tag.tpr, tag.tnr) if done.rubric.binary else (tag.agreement,)
        table.add_row(printable(tag.tag), str(tag.n), *map(_short_share, shares))
    return table


def _short_share(share: Estimate) -> str:
    return MISSING if share.value is None else f"{percent(share.value, 0)} of {share.n}"


def _compared_with_majority(done: JudgeCheck) -> Text:
    always = printable(f"always answering {done.majority_label} would agree on: {_share(done.majority)}")
    kappa = done.kappa
    if kappa.low is not None and kappa.low > 0:
        return always + "; this judge agrees beyond chance"
    return always + Text("; no evidence that this judge agrees with people beyond chance", style="yellow")


def _title(what: str, judge: Mapping[str, Any], of: str) -> Text:
    where = f" ({judge['base_url']})" if judge["base_url"] else ", embedded,"
    form = "" if judge["form"] != "plain" else "; it accepts no JSON schema, so its answers are parsed as text"
    if judge.get("temperature_refused"):
        form += "; it refuses temperature 0 and ran at its own, so its decisions may vary"
    return printable(f"{what}: {of} judged by {judge['model']}{where} with the rubric {judge['rubric']}{form}")


def _agreement(found: Agreement) -> Text:
    models = ", ".join(found.models)
    alpha = _coefficient(found.alpha)
    return printable(f"{len(found.scorings)} judgings with this rubric ({models}): alpha, {found.level}, {alpha}")


def _counts(rows: Iterable[tuple[str, int]], total: int) -> Table:
    table = plain_table("choice", right=("turns", "share"))
    for name, count in rows:
        table.add_row(printable(name), str(count), percent(count / total) if total else MISSING)
    return table


def _share(share: Estimate) -> str:
    if share.value is None:
        return f"{MISSING} ({share.reason})"
    limits = (
        f"({percent(share.low)} to {percent(share.high)})"
        if share.low is not None
        else f"(no interval: {share.reason})"
    )
    return f"{percent(share.value)} of {share.n} {limits}"


def _coefficient(found: Estimate) -> str:
    if found.value is None:
        return f"{MISSING} ({found.reason})"
    limits = f"({found.low:.2f} to {found.high:.2f})" if found.low is not None else f"(no interval: {found.reason})"
    return f"{found.value:.2f} {limits}"


def _ending(console: Console, done: Judging | PairwiseJudging | JudgeCheck) -> None:
    if done.stopped:
        console.print("stopped before everything was judged; run the same command again to continue", style="yellow")
    for kind, message, count in Run(done.judge_run).failures():
        console.print(failure_line(kind, message, count), soft_wrap=True)
    console.print(printable(f"the judge's run file: {done.judge_run}"), soft_wrap=True)
