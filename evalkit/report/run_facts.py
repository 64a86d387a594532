"""What was run: the facts at the head of a report, and the sentences on its result.

HTML and Markdown show the same. Texts of strangers are plain here; a form that needs it makes them safe.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.wording import checkup_concerns, incomplete_answers, numbers, run_results, run_sentences
from evalkit.wording.comparison import shortened
from evalkit.wording.imported import form_of
from evalkit.wording.numbers import counted

if TYPE_CHECKING:
    from evalkit.report.run_contents import RunContents

BOUND = "\u00a0*"
BOUND_NOTE = "; * may be this client's own: see above"
Facts = list[tuple[str, str]]


def dataset(run: RunContents) -> str:
    """The name of the dataset's file."""
    path = run.info["dataset"].get("path")
    return Path(path).name if path else "a dataset without a name"


def dataset_size(run: RunContents) -> str:
    """The name and size of the dataset."""
    about = run.info["dataset"]
    counts = [counted(about[f"{noun}s"], noun) for noun in ("conversation", "turn") if about.get(f"{noun}s")]
    return ", ".join([dataset(run), *counts])


def started(run: RunContents) -> str:
    """When the run was started."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run.info["created_ns"] / 1e9))


def facts(run: RunContents) -> Facts:
    """What was run, against what, when and how: the name of each fact, and its text."""
    result, settings = run.result, run.info["settings"]
    found = [("dataset", dataset_size(run)), ("turns", _turns(run)), ("model", run.model), ("endpoint", _endpoint(run))]
    took = "" if result["imported"] or result["wall_s"] is None else f", took {numbers.duration(result['wall_s'])}"
    found.append(("started", f"{started(run)}{took}"))
    params = ", ".join(f"{name} {value}" for name, value in run.info["endpoint"].get("params", {}).items())
    found.append(("parameters", shortened(params) if params else "the endpoint's own"))
    if not result["imported"]:
        found.append(("settings", _settings(run)))
    if result["checkup"] is not None:
        found.append(("checkup", checkup_concerns.kept(result["checkup"])))
    if (system := settings.get("system")) is not None:
        found.append(("system prompt", shortened(system) or "none"))
    if run.scorers:
        found.append(("scored by", ", ".join(run.scorers)))
    if any(result["tokens"][name] for name in ("prompt", "output")):
        tokens = {f"{name}_tokens": count for name, count in result["tokens"].items()}
        found.append(("tokens", ", ".join(run_results.token_counts(tokens))))
    if result["cost"] is not None:
        found.append(("cost", run_results.cost(result["cost"]).removeprefix("cost: ")))
        found.append(("price", _price(result["cost"])))
    return found


def finding(run: RunContents, quoted: Callable[[str], str] = str) -> str:
    """The result in two sentences; ``quoted`` makes an untrusted name safe."""
    return run_results.verdict(run.result, quoted(run.model))


def reliability(run: RunContents, quoted: Callable[[str], str] = str) -> Iterator[tuple[str, bool]]:
    """Yield how far the numbers can be trusted, each sentence once, with whether it is a warning."""
    sentences = run_sentences.reliability(
        run.result,
        run.info,
        resume=shlex.join(["evalkit", "resume", run.path.name]),
        quoted=quoted,
    )
    yield from ((run_results.sentence(text), warning) for text, warning in sentences)


def incomplete_in_several(runs: Sequence[RunContents], labels: Sequence[str]) -> Iterator[str]:
    """Yield for each of several runs what incomplete answers change, and which were sent again."""
    for label, run in zip(labels, runs, strict=True):
        for line in (*incomplete_answers.effects(run.result), *incomplete_answers.sent_again(run.result)):
            yield f"{label}: {line}."


def reasons(run: RunContents) -> list[tuple[str, str, str]]:
    """What failed and why: the kind, the number of turns, and the reason."""
    rows = [(f"error: {kind}", f"{count:,}", message) for kind, message, count in run.failed]
    return rows + [(what, f"{count:,}", f"for example: {reason}") for what, reason, count in run.wrong]


def _price(cost: Mapping[str, Any]) -> str:
    names = {"prompt": "prompt", "cached": "cached", "cache_write": "written to the cache", "output": "output"}
    prices = [f"{cost[f'{key}_price']:g} {name}" for key, name in names.items() if cost[f"{key}_price"] is not None]
    return f"for a million tokens: {', '.join(prices)}"


def _turns(run: RunContents) -> str:
    result, repeats = run.result, int(run.info["settings"].get("repeats", 1))
    planned = result["planned"]
    of = f" of {planned:,}" if planned is not None and planned != result["turns"] else ""
    answered = "all" if result["answered"] == result["turns"] else f"{result['answered']:,}"
    times = "" if repeats == 1 else f", {repeats} repeats of each conversation"
    scored = result["accuracy"]["n"]
    return f"{result['turns']:,}{of} run, {answered} answered, {scored:,} scored{times}"


def _endpoint(run: RunContents) -> str:
    endpoint = run.info["endpoint"]
    if run.result["imported"]:
        return f"none: imported from {form_of(run.result['imported'])}"
    source = endpoint.get("source")
    if source == "embedded":
        return "the embedded model, on this machine"
    return str(endpoint.get("base_url"))


def _settings(run: RunContents) -> str:
    settings = run.info["settings"]
    parallel = settings["concurrency"]
    many = "as many in parallel as it answers without slowing down" if parallel == "auto" else f"{parallel} in parallel"
    if settings.get("rate") is not None:
        many = f"{settings['rate']:g} conversations started per second"
    seen = "the model's own answers" if settings["history"] == "own" else "the dataset's golden answers"
    streamed = "streamed" if settings.get("stream", True) else "not streamed"
    return f"{many}, {streamed}, later turns see {seen}"
