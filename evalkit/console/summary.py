"""The output of ``evalkit run``, ``resume``, ``show`` and ``demo``: table, charts, trust in the times, failures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from evalkit.analysis import caveats
from evalkit.analysis.terminal_sketch import PARTS, sketch
from evalkit.console.small_charts import NARROW_PARTS, show_accuracy, show_sketch
from evalkit.console.sparklines import Glyphs, glyphs
from evalkit.console.terminal import LONGEST, NARROW, failure_line, one_line, plain_table, printable
from evalkit.run import Run
from evalkit.runfile import resume_command
from evalkit.stats.quantiles import expected_level
from evalkit.wording import incomplete_answers, numbers, run_results
from evalkit.wording.imported import imported
from evalkit.wording.numbers import number


def summary(console: Console, run: Run, result: Mapping[str, Any], draw: Glyphs | None = None) -> None:
    """Print a run: a table by turn index, charts, then trust in the times, failures and the run file.

    Parameters
    ----------
    result : mapping
        The object of ``--json``.
    draw : Glyphs, optional
        Default: those that the locale can show.
    """
    draw = draw or glyphs()
    console.print(_title(run.info), soft_wrap=True)
    rows = [*result["by_turn"], {**result, "turn": "all"}]
    open_loop = any(value is not None for row in rows for value in row["schedule_latency_ms"].values())
    headings = (
        "answered", "errors", "TTFT p50", "p95", "TPOT p50", "latency p50", "p95",
        *(("from schedule p50", "p95") if open_loop else ()),
    )  # fmt: skip
    table = plain_table(
        "turn", right=tuple(run_results.marked_heading(each, result["trust"], "*") for each in headings)
    )
    for row in rows:
        table.add_row(*_cells(row, open_loop=open_loop))
    console.print(table)
    if (imported_from := imported(result["imported"])) is not None:
        console.print(one_line(imported_from, LONGEST), style="yellow", soft_wrap=True)
    else:
        _notes_on_times(console, result)
    parts = NARROW_PARTS if console.width < NARROW else PARTS
    show_sketch(console, sketch(run.path, parts), draw)
    show_accuracy(console, result, draw)
    console.print(run_results.accuracy_all(result))
    if result["until"] is None and (precision := run_results.precision(result)) is not None:
        console.print(precision)
    if result["doubt"] is not None:
        console.print(Text(f"doubtful interval: {result['doubt']}", style="yellow"), soft_wrap=True)
    conversations = result["conversations"]
    if len(result["by_turn"]) > 1 and conversations["n"] + conversations["incomplete"]:
        console.print(run_results.conversations(conversations))
    if result["repeats"] is not None:
        console.print(run_results.repeats(result["repeats"]))
    parameters, repeats = result["ignored_parameters"], int(run.info["settings"].get("repeats", 1))
    for line in (
        *run_results.answering_models(result["answering_models"], repeats),
        *run_results.ignored_parameters(parameters),
    ):
        console.print(Text(line, style="yellow"), soft_wrap=True)
    if result["scoring"]:
        note = f"these are the scores of scoring {result['scoring']}: see 'evalkit score {run.path} --list'"
        console.print(printable(note), soft_wrap=True)
    if result["until"] is not None:
        text, warning = run_results.accuracy_goal(result["until"])
        console.print(Text(text, style="yellow" if warning else ""), soft_wrap=True)
    if imported_from is None:
        text, warning = run_results.trust(result["trust"], run.info["settings"]["concurrency"])
        console.print(Text(text, style="yellow" if warning else ""))
    for kind, message, count in run.failures():
        console.print(failure_line(kind, message, count), soft_wrap=True)
    if result["arrivals"] is not None:
        console.print(run_results.arrivals(result["arrivals"]))
    if result["interrupted"]:
        console.print(run_results.cancelled_turns(result["interrupted"]), style="yellow", soft_wrap=True)
    for sentence in caveats.sentences(result["caveats"]):
        console.print(sentence, style="yellow", soft_wrap=True)
    if imported_from is None:
        wall, pace = numbers.duration(result["wall_s"]), number(result["turns_per_s"])
        answered = "" if result["answered"] == result["turns"] else "answered "
        console.print(f"{result['turns']} turns in {wall}: {pace} {answered}turns/s")
    if (tokens := run_results.token_parts(result["tokens"])) is not None:
        console.print(tokens)
    if result["cost"] is not None:
        console.print(run_results.cost(result["cost"]))
    for line in run_results.cut_off(parameters):
        console.print(Text(line, style="yellow"), soft_wrap=True)
    for line in (*incomplete_answers.effects(result), *incomplete_answers.sent_again(result)):
        console.print(line, soft_wrap=True)
    if again := incomplete_answers.how_to_send_again(result, resume_command.command(run.path)):
        console.print(printable(again), soft_wrap=True)
    if run.planned is not None and (missing := run.planned - result["turns"]) > 0:
        if result["until"] is not None and result["until"]["reached"]:
            console.print(f"{missing} of {run.planned} turns were not needed")
        else:
            console.print(f"{missing} of {run.planned} turns are still missing", style="yellow")
    console.print(printable(f"run file: {run.path}"), soft_wrap=True)
    for gate in result.get("gates", ()):
        verdict, style = ("met", "green") if gate["met"] else ("MISSED", "red")
        console.print(
            Text(f"gate {verdict}: ", style=style) + printable(f"{gate['gate']}: {gate['words']}"), soft_wrap=True
        )


def _notes_on_times(console: Console, result: Mapping[str, Any]) -> None:
    note = "; * client-bound, see trust" if result["trust"]["client_bound_metrics"] else ""
    console.print(f"times in ms; – means missing: too little data, or nothing to measure{note}", style="dim")
    if (low := low_p95(result)) is not None:
        console.print(low, style="dim")
    if result["answered"]:
        console.print(run_results.turn_time(result), soft_wrap=True)


def low_p95(result: Mapping[str, Any]) -> str | None:
    """A note on the p95 of the fewest turns of ``--json``; None where it is on average less than a point too low."""
    shown = [row for row in (*result["by_turn"], result) if row["latency_ms"]["p95"] is not None]
    # a time-out bounds its time, so it counts as a time
    fewest = min((row["answered"] + row["errors"].get("timeout", 0) for row in shown), default=0)
    level = expected_level(fewest, 0.95) if fewest else 1.0
    if level > 0.94:
        return None
    return (
        f"p95 of {fewest} times is on average only percentile {100 * level:.0f}: too few times to include the slowest"
    )


def _title(info: Mapping[str, Any]) -> Text:
    endpoint, settings = info["endpoint"], info["settings"]
    if settings.get("imported"):
        return one_line(f"{Path(settings['imported']['file']).name}: answers of {endpoint['model']}", LONGEST)
    params = "".join(f", {name} {value}" for name, value in endpoint["params"].items())
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(info["created_ns"] / 1e9))
    system = settings.get("system")
    prompt = "" if system is None else f', system prompt "{system}"' if system else ", no system prompt"
    return one_line(
        f"{Path(info['dataset']['path']).name} against {endpoint['model']} ({endpoint['base_url']}{params}); "
        f"{settings['history']} history, {settings['concurrency']} in parallel, started {when}{prompt}",
        LONGEST,
    )


def _cells(row: Mapping[str, Any], *, open_loop: bool) -> list[str]:
    ttft, tpot, latency, due = row["ttft_ms"], row["tpot_ms"], row["latency_ms"], row["schedule_latency_ms"]
    times = [ttft["p50"], ttft["p95"], tpot["p50"], latency["p50"], latency["p95"]]
    return [
        str(row["turn"]),
        f"{row['answered']}/{row['turns']}",
        str(sum(row["errors"].values())),
        *(number(value) for value in (*times, *((due["p50"], due["p95"]) if open_loop else ()))),
    ]
