"""Shell commands that repeat a run, with the same prices and the same scores."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from evalkit.client.request_as_code import KEY_VARIABLE, ReachedBy
from evalkit.runfile import raised_limits

if TYPE_CHECKING:
    from evalkit.report.run_contents import RunContents

RUN_FILE = Path("again.evalkit")  # that the commands write
_PRICES = "prices.toml"


def commands(run: RunContents) -> list[str]:
    """Return lines for a POSIX shell that repeat the run with the same prices, and score it as it is scored here.

    Settings without a flag are in a line that begins with ``#``.
    """
    settings, endpoint = run.info["settings"], run.info["endpoint"]
    if settings.get("imported"):
        own = [] if run.scores.command is None else [run.scores.command]
        return [_import_command(run), *own]
    lines = []
    if settings.get("price"):
        names = ("prompt", "output", "cached", "cache_write")
        prices = [f"{name} = {price}" for name, price in zip(names, settings["price"], strict=False)]
        prices.insert(0, f"[{json.dumps(endpoint['model'], ensure_ascii=False)}]")
        lines.append(shlex.join(["printf", r"%s\n", *prices]) + f" > {_PRICES}")
    lines.append(run_command(run))
    raised = raised_limits.raised_limits(settings)
    lines += [f"evalkit resume {RUN_FILE} --cut-off --max-tokens {limit.after}" for limit in raised]
    if run.scores.command is not None:
        in_python = run.scores.command.endswith(", in Python")
        lines.append(f"# {run.scores.command}" if in_python else run.scores.command)
    without_flag = [
        f"{name}={orjson.dumps(value).decode()}" for name, value in _settings_without_flag(endpoint, settings)
    ]
    return [*lines, f"# only in Python: {', '.join(without_flag)}"] if without_flag else lines


def _import_command(run: RunContents) -> str:
    """Return the command that imports the same scores and questions again."""
    imported, data = run.info["settings"]["imported"], run.info["dataset"].get("path")
    flags = {
        "--form": imported.get("form"),
        "--data": data if data != imported["file"] else None,
        "--score": imported.get("scorer") if imported.get("form") in ("inspect", "lm-eval") else None,
        "--model": run.info["endpoint"]["model"],
        "--out": str(RUN_FILE),
    }
    given = [word for name, value in flags.items() if value for word in (name, str(value))]
    return shlex.join(["evalkit", "import", imported["file"], *given])


def _settings_without_flag(endpoint: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield settings that differ from their defaults and have no flag."""
    for values, defaults in ((endpoint, {"connect_timeout_s": 10.0}), (settings, {"max_tool_rounds": 4})):
        yield from ((name, values[name]) for name, value in defaults.items() if values.get(name, value) != value)
    named = settings.get("scorer")
    if any(isinstance(each, dict) and each.keys() - {"name", "weight"} for each in _as_list(named)):
        yield "scorer", named
    if settings.get("functions"):
        yield "functions", settings["functions"]
    if settings.get("seed") is not None and settings.get("arrivals_seed") is not None:
        yield "seed", settings["seed"]
    if (settings.get("system") or "").startswith("@"):
        yield "system", settings["system"]


def run_command(run: RunContents) -> str:
    """Return the command that repeats the run, for a POSIX shell."""
    endpoint, settings, dataset = run.info["endpoint"], run.info["settings"], run.info["dataset"]
    words = ["evalkit", "run", dataset.get("path", "DATA")]
    if endpoint.get("source") != "embedded":
        words += ["--base-url", endpoint["base_url"], "--model", endpoint["model"]]
        if endpoint.get("key_env"):
            words += ["--api-key-env", KEY_VARIABLE]
        words += ReachedBy.for_report(endpoint).flags()
    for name, value in endpoint.get("params", {}).items():
        words += ["--param", f"{name}={orjson.dumps(value).decode()}"]
    streamed = settings.get("stream", True)
    limits = {
        "timeout": endpoint.get("timeout_s"),
        "ttft-timeout": endpoint.get("ttft_timeout_s") if streamed else None,
    }
    words += _flags(limits, {"timeout": 300.0})
    defaults = {"history": "own", "repeats": 1, "retries": 2, "arrivals": "constant"}
    names = ("limit", "repeats", "history", "concurrency", "rate", "arrivals", "rpm", "tpm", "retries")
    words += _flags({name: settings.get(name) for name in names}, defaults)
    system = settings.get("system")
    if system is not None and not system.startswith("@"):
        words.append(f"--system={system}")
    if settings.get("arrivals_seed") is not None:
        words += ["--seed", str(settings["arrivals_seed"])]
    elif settings.get("seed") is not None:
        words += ["--seed", str(settings["seed"])]
    words += [f"--scorer={scorer}" for scorer in scorer_names(settings.get("scorer"))]
    if settings.get("until_ci") is not None:
        words += ["--until", f"ci={settings['until_ci']}"]
    budgets = {"max-time": "max_time_s", "max-tokens-total": "max_tokens_total", "max-cost": "max_cost"}
    words += _flags({flag: settings.get(name) for flag, name in budgets.items()}, {})
    if settings.get("price"):
        words += ["--prices", _PRICES]
    words += [f"--column={field}={heading}" for field, heading in (settings.get("columns") or {}).items()]
    if not streamed:
        words.append("--no-stream")
    if run.scores.command is not None or settings.get(raised_limits.SETTING):
        words += ["--out", str(RUN_FILE)]
    return shlex.join(words)


def _flags(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    changed = {name: value for name, value in values.items() if value is not None and value != defaults.get(name)}
    return [word for name, value in changed.items() for word in (f"--{name}", str(value))]


def scorer_names(named: Any) -> Iterator[str]:
    """Yield scorers as ``--scorer`` accepts them; options of scorers can only be given in Python."""
    for each in _as_list(named):
        if isinstance(each, dict):
            yield str(each.get("name")) + (f"={each['weight']}" if "weight" in each else "")
        else:
            yield str(each)


def _as_list(named: Any) -> list[Any]:
    return named if isinstance(named, list) else [] if named is None else [named]
