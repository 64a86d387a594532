"""What ``evalkit run``, ``resume``, ``show`` and ``demo`` print of a run: table, charts, trust, failures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.analysis import caveats
from evalkit.analysis.terminal_sketch import PARTS, sketch
from evalkit.console.small_charts import NARROW_PARTS, show_accuracy, show_sketch
from evalkit.console.sparklines import Glyphs, glyphs
from evalkit.console.terminal import LONGEST, NARROW, failure, one_line, printable
from evalkit.run import Run
from evalkit.stats.quantiles import expected_level
from evalkit.wording import numbers, run_results
from evalkit.wording.numbers import number


def summary(console: Console, run: Run, result: Mapping[str, Any], draw: Glyphs | None = None) -> None:
    """Print a run: a table by turn index, charts, then the trust line, the failures and the run file.

    Parameters
    ----------
    result : mapping
        The object of ``--json``.
    draw : Glyphs, optional
        Default: what the locale can show.
    """
    draw = draw or glyphs()
    console.print(_what_was_asked(run.info), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = [*result["by_turn"], {**result, "turn": "all"}]
    open_loop = any(value is not None for row in rows for value in row["schedule_latency_ms"].values())
    table.add_column("turn")
    for heading in (
        "answered", "errors", "TTFT p50", "p95", "TPOT p50", "latency p50", "p95",
        *(("from schedule p50", "p95") if open_loop else ()),
    ):  # fmt: skip
        table.add_column(run_results.marked(heading, result["trust"], "*"), justify="right")
    for row in rows:
        table.add_row(*_cells(row, open_loop=open_loop))
    console.print(table)
    bound = "; * client-bound, see trust" if result["trust"]["client_bound_metrics"] else ""
    console.print(f"times in ms; – means missing: too little data, or nothing to measure{bound}", style="dim")
    if (low := low_p95(result)) is not None:
        console.print(low, style="dim")
    if result["answered"]:
        console.print(run_results.turn_time(result), soft_wrap=True)
    parts = NARROW_PARTS if console.width < NARROW else PARTS
    show_sketch(console, sketch(run.path, parts), draw)
    show_accuracy(console, result, draw)
    console.print(run_results.accuracy_all(result))
    if result["doubt"] is not None:
        console.print(Text(f"doubtful interval: {result['doubt']}", style="yellow"), soft_wrap=True)
    conversations = result["conversations"]
    if len(result["by_turn"]) > 1 and conversations["n"] + conversations["incomplete"]:
        console.print(run_results.conversations(conversations))
    if result["repeats"] is not None:
        console.print(run_results.repeats(result["repeats"]))
    heeded, repeats = result["ignored_parameters"], int(run.info["settings"].get("repeats", 1))
    for line in (*run_results.answering_models(result["answering_models"], repeats), *run_results.ignored(heeded)):
        console.print(Text(line, style="yellow"), soft_wrap=True)
    if result["scoring"]:
        scores = f"these are the scores of scoring {result['scoring']}: see 'evalkit score {run.path} --list'"
        console.print(printable(scores), soft_wrap=True)
    if result["until"] is not None:
        text, warning = run_results.until(result["until"])
        console.print(Text(text, style="yellow" if warning else ""), soft_wrap=True)
    text, warning = run_results.trust(result["trust"], run.info["settings"]["concurrency"])
    console.print(Text(text, style="yellow" if warning else ""))
    for kind, message, count in run.failures():
        console.print(failure(kind, message, count), soft_wrap=True)
    if result["arrivals"] is not None:
        console.print(run_results.arrivals(result["arrivals"]))
    if result["interrupted"]:
        console.print(run_results.interrupted(result["interrupted"]), style="yellow", soft_wrap=True)
    for sentence in caveats.sentences(result["caveats"]):
        console.print(sentence, style="yellow", soft_wrap=True)
    wall, pace = numbers.duration(result["wall_s"]), number(result["turns_per_s"])
    answered = "" if result["answered"] == result["turns"] else "answered "
    console.print(f"{result['turns']} turns in {wall}: {pace} {answered}turns/s")
    if result["cost"] is not None:
        console.print(run_results.cost(result["cost"]))
    for line in run_results.cut_off(heeded):
        console.print(Text(line, style="yellow"), soft_wrap=True)
    if run.planned is not None and (missing := run.planned - result["turns"]) > 0:
        if result["until"] is not None and result["until"]["reached"]:
            console.print(f"{missing} of {run.planned} turns need not be asked")
        else:
            console.print(f"{missing} of {run.planned} turns are still to be asked", style="yellow")
    console.print(printable(f"run file: {run.path}"), soft_wrap=True)
    for gate in result.get("gates", ()):
        verdict, style = ("met", "green") if gate["met"] else ("MISSED", "red")
        told = printable(f"{gate['gate']}: {gate['words']}")
        console.print(Text(f"gate {verdict}: ", style=style) + told, soft_wrap=True)


def low_p95(result: Mapping[str, Any]) -> str | None:
    """How low the p95 of the fewest turns is on average, where it is a point too low or more; of ``--json``."""
    shown = [row for row in (*result["by_turn"], result) if row["latency_ms"]["p95"] is not None]
    # a time-out is a bound of its time, and counts
    few = min((row["answered"] + row["errors"].get("timeout", 0) for row in shown), default=0)
    level = expected_level(few, 0.95) if few else 1.0
    if level > 0.94:
        return None
    return f"p95 of {few} times is that of percentile {100 * level:.0f} on average: so few hold too few of the slowest"


def _what_was_asked(info: Mapping[str, Any]) -> Text:
    endpoint, settings = info["endpoint"], info["settings"]
    params = "".join(f", {name} {value}" for name, value in endpoint["params"].items())
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(info["created_ns"] / 1e9))
    asked = (
        f"{Path(info['dataset']['path']).name} asked of {endpoint['model']} ({endpoint['base_url']}{params}); "
        f"{settings['history']} history, {settings['concurrency']} at once, begun {when}"
    )
    return one_line(asked, LONGEST)


def _cells(row: Mapping[str, Any], *, open_loop: bool) -> list[str]:
    ttft, tpot, latency, due = row["ttft_ms"], row["tpot_ms"], row["latency_ms"], row["schedule_latency_ms"]
    times = [ttft["p50"], ttft["p95"], tpot["p50"], latency["p50"], latency["p95"]]
    return [
        str(row["turn"]),
        f"{row['answered']}/{row['turns']}",
        str(sum(row["errors"].values())),
        *(number(value) for value in (*times, *((due["p50"], due["p95"]) if open_loop else ()))),
    ]
