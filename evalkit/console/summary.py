"""The output of ``evalkit run``, ``resume``, ``show`` and ``demo``: table, charts, trust in the times, failures."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from evalkit.analysis.terminal_sketch import PARTS, sketch
from evalkit.console.small_charts import NARROW_PARTS, show_accuracy, show_sketch
from evalkit.console.sparklines import Glyphs, glyphs
from evalkit.console.terminal import LONGEST, NARROW, failure_line, one_line, plain_table, printable
from evalkit.run import Run
from evalkit.runfile import resume_command
from evalkit.runfile.plain_text import plain
from evalkit.stats.quantiles import expected_level
from evalkit.wording import checkup_concerns, numbers, run_results, run_sentences, turn_table
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
    columns = [each for each in turn_table.columns(result, "*") if each.short != "accuracy"]  # a chart shows it
    table = plain_table("turn", right=tuple(column.short for column in columns[1:]))
    for cells in turn_table.rows(columns):
        table.add_row(*cells)
    console.print(table)
    if result["imported"] is None:
        _notes_on_times(console, result)
    parts = NARROW_PARTS if console.width < NARROW else PARTS
    show_sketch(console, sketch(run.path, parts), draw)
    show_accuracy(console, result, draw)
    for line in run_sentences.notes(result):
        console.print(line, soft_wrap=True)
    for line, warning in run_sentences.reliability(
        result,
        run.info,
        resume=resume_command.command(run.path),
        quoted=lambda text: one_line(text, LONGEST).plain,
    ):
        console.print(Text(plain(line), style="yellow" if warning else ""), soft_wrap=True)
    if result["scoring"]:
        note = f"these are the scores of scoring {result['scoring']}: see 'evalkit score {run.path} --list'"
        console.print(printable(note), soft_wrap=True)
    for kind, message, count in run.failures():
        console.print(failure_line(kind, message, count), soft_wrap=True)
    if result["imported"] is None:
        wall, pace = numbers.duration(result["wall_s"]), number(result["turns_per_s"])
        answered = "" if result["answered"] == result["turns"] else "answered "
        console.print(f"{result['turns']} turns in {wall}: {pace} {answered}turns/s")
    if (tokens := run_results.token_parts(result["tokens"])) is not None:
        console.print(tokens)
    if result["cost"] is not None:
        console.print(run_results.cost(result["cost"]))
    console.print(printable(f"run file: {run.path}"), soft_wrap=True)
    if result["checkup"] is not None:
        kept = checkup_concerns.kept(result["checkup"])
        command = shlex.join(["evalkit", "check", "--of", str(run.path)])
        console.print(printable(f"checkup of the endpoint, kept in it: {kept}; '{command}' prints it"), soft_wrap=True)
    for gate in result.get("gates", ()):
        verdict, style = ("met", "green") if gate["met"] else ("MISSED", "red")
        console.print(
            Text(f"gate {verdict}: ", style=style) + printable(f"{gate['gate']}: {gate['words']}"), soft_wrap=True
        )


def _notes_on_times(console: Console, result: Mapping[str, Any]) -> None:
    note = "; * client-bound, see below" if result["trust"]["client_bound_metrics"] else ""
    console.print(turn_table.NOTE + note, style="dim")
    if (low := low_p95(result)) is not None:
        console.print(low, style="dim")


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
