"""What ``evalkit judge`` and ``evalkit judge-check`` show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.console.terminal import failure, printable
from evalkit.judging.against_people import FAILED, UNPARSED, JudgeCheck
from evalkit.judging.judging import Agreement, Judging
from evalkit.judging.pairwise import OUTCOMES, PairwiseJudging
from evalkit.run import Run
from evalkit.stats.estimate import Estimate
from evalkit.wording.numbers import MISSING, percent


def show_judging(console: Console, done: Judging) -> None:
    """Print what a judge said of a run."""
    console.print(_title(str(done.run), done.judge, f"{done.judged} turns"), soft_wrap=True)
    taken = [(choice, count) for choice, count in done.choices.items()]
    rows = [*taken, ("no choice that can be read", done.unparsed), ("call failed", done.failed)]
    console.print(_counts(rows, done.judged))
    console.print(f"mean score {_share(done.mean)}; unsure, unread and failed ones have no score", soft_wrap=True)
    why = "it was a trial of the first turns"
    if done.mean.value is None:
        why = "none of the judge's answers gave a score"
    if done.stopped:
        why = "not every turn is judged"
    count = "they count now" if done.counts else f"they do not count: {why}"
    console.print(f"scores: scoring {done.scoring} of the run file; {count}", soft_wrap=True)
    if done.agreement is not None:
        console.print(_agreement(done.agreement), soft_wrap=True)
    _ending(console, done)


def show_pairing(console: Console, done: PairwiseJudging) -> None:
    """Print what a judge said of two runs."""
    console.print(_title(f"{done.run} against {done.against}", done.judge, f"{len(done.turns)} turns"), soft_wrap=True)
    table = _table("outcome")
    table.add_column("turns", justify="right")
    table.add_column("share of those decided (95 % interval)", justify="right")
    names = {"win": f"{done.run.stem} is better", "loss": f"{done.against.stem} is better"}
    names |= {"inconsistent": "one in one order, another in the other"}
    names |= {"undecided": "no choice that can be read", "failed": "call failed"}
    for outcome in OUTCOMES:
        share = done.shares.get(outcome)
        cells = (str(done.outcomes[outcome]), MISSING if share is None else _share(share))
        table.add_row(printable(names.get(outcome, outcome)), *cells)
    console.print(table)
    console.print(f"same verdict in both orders: {_share(done.consistent)}", soft_wrap=True)
    console.print(f"the answer shown first was chosen: {_share(done.first_shown)}; without a bias one half")
    _ending(console, done)


def show_check(console: Console, done: JudgeCheck) -> None:
    """Print how far a judge agrees with people."""
    console.print(_title(str(done.data), done.judge, f"{done.n} labelled answers"), soft_wrap=True)
    columns = [*done.rubric.choices, UNPARSED, FAILED]
    table = _table("label")
    for column in columns:
        table.add_column(f"judge: {column}" if column == columns[0] else column, justify="right")
    for label, row in done.confusion.items():
        table.add_row(printable(label), *(str(row[column]) for column in columns))
    console.print(table)
    undecided = done.unsure + done.count(UNPARSED)
    console.print(
        f"of {done.n}: {done.unsure} unsure, {done.count(UNPARSED)} without a choice that can be read, "
        f"{done.count(FAILED)} failed calls"
    )
    for name, estimate in (
        ("agreement on those it decided", _share(done.agreement)),
        ("Cohen's kappa", _coefficient(done.kappa)),
        (f"Krippendorff's alpha, {done.rubric.level}", _coefficient(done.alpha)),
    ):
        console.print(f"{name}: {estimate}", soft_wrap=True)
    all_heard = f"agreement on all, {undecided} undecided as not agreeing: {_share(done.agreement_all)}"
    console.print(all_heard, soft_wrap=True)
    console.print(_beside_majority(done), soft_wrap=True)
    _ending(console, done)


def _beside_majority(done: JudgeCheck) -> Text:
    always = printable(f"always saying {done.majority_label} would agree on: {_share(done.majority)}")
    kappa = done.kappa
    if kappa.low is not None and kappa.low > 0:
        return always + "; this judge agrees beyond chance"
    return always + Text("; nothing shows that this judge agrees with people beyond chance", style="yellow")


def _title(what: str, judge: Mapping[str, Any], of: str) -> Text:
    where = f" ({judge['base_url']})" if judge["base_url"] else ", embedded,"
    form = "" if judge["form"] != "plain" else "; it takes no JSON schema, so answers are read as text"
    return printable(f"{what}: {of} judged by {judge['model']}{where} by the rubric {judge['rubric']}{form}")


def _agreement(found: Agreement) -> Text:
    models = ", ".join(found.models)
    alpha = _coefficient(found.alpha)
    return printable(f"{len(found.scorings)} judgings by this rubric ({models}): alpha, {found.level}, {alpha}")


def _counts(rows: Iterable[tuple[str, int]], total: int) -> Table:
    table = _table("choice")
    table.add_column("turns", justify="right")
    table.add_column("share", justify="right")
    for name, count in rows:
        table.add_row(printable(name), str(count), percent(count / total) if total else MISSING)
    return table


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first)
    return table


def _share(share: Estimate) -> str:
    if share.value is None:
        return f"{MISSING} ({share.reason})"
    limits = (
        f"({percent(share.low)} to {percent(share.high)})"
        if share.low is not None
        else f"(no interval: {share.reason})"
    )
    return f"{percent(share.value)} of {share.n} ({limits})"


def _coefficient(found: Estimate) -> str:
    if found.value is None:
        return f"{MISSING} ({found.reason})"
    limits = f"({found.low:.2f} to {found.high:.2f})" if found.low is not None else f"(no interval: {found.reason})"
    return f"{found.value:.2f} {limits}"


def _ending(console: Console, done: Judging | PairwiseJudging | JudgeCheck) -> None:
    if done.stopped:
        console.print("stopped by hand before everything was judged; the same command goes on", style="yellow")
    for kind, message, count in Run(done.judge_run).failures():
        console.print(failure(kind, message, count), soft_wrap=True)
    console.print(printable(f"the judge's run file: {done.judge_run}"), soft_wrap=True)
