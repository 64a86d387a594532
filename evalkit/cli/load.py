"""The commands that measure an endpoint, or this client itself, under load: ``load`` and ``calibrate``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, TypeVar

from evalkit.cli import shared_flags
from evalkit.errors import SettingsError

T = TypeVar("T", int, float)


def add_load(commands: Any) -> None:
    """Add ``evalkit load``."""
    parser = shared_flags.add_command(
        commands, "load", load,
        "Run a load test. The dataset is run under rising load; throughput, times and accuracy are measured at each "
        "step, until the endpoint is saturated.",
        "evalkit load data/primary_math.jsonl --concurrency 1,2,4,8 --slo ttft=200ms,tpot=50ms --max-tokens 64",
    )  # fmt: skip
    shared_flags.add_dataset(parser)
    shared_flags.add_endpoint(parser)
    shared_flags.add_sampling(parser)
    group = parser.add_argument_group("load")
    group.add_argument(
        "--concurrency", metavar="N,N,…",
        help="closed loop: conversations in parallel at each step (default: 1,2,4,… until saturation)",
    )  # fmt: skip
    group.add_argument("--rate", metavar="R,R,…", help="open loop: conversations started per second at each step")
    shared_flags.add_arrivals(group)
    group.add_argument(
        "--slo", metavar="METRIC=TIME,…", help="service-level objectives of a turn: ttft=200ms,tpot=50ms,latency=2s"
    )
    group.add_argument(
        "--warm-up", type=int, metavar="N",
        help="conversations left out at the start of a step (default: as many as run in parallel; with --rate, as "
        "many as start in a second)",
    )  # fmt: skip
    group.add_argument(
        "--per-step", type=int, metavar="N",
        help="conversations per step after the warm-up (default: 4 times the concurrency, or 10 seconds of the rate; "
        "at least 20)",
    )  # fmt: skip
    group.add_argument("--step-time", type=float, metavar="S", help="instead of --per-step: seconds per step")
    shared_flags.add_out(group, "FOLDER", "folder for the run files (default: runs/load-DATA-MODEL-TIME)")
    shared_flags.add_json(parser)


def add_calibrate(commands: Any) -> None:
    """Add ``evalkit calibrate``."""
    parser = shared_flags.add_command(
        commands, "calibrate", calibrate,
        "Measure what this client adds to the times on this machine. Its times are compared with those recorded by a "
        "local test server.",
        "evalkit calibrate --streams 1,16,64,256",
    )  # fmt: skip
    parser.add_argument("--streams", metavar="N,N,…", help="streams in parallel at each level (default: 1,16,64,256)")
    shared_flags.add_json(parser)


def load(parsed: argparse.Namespace) -> int:
    """Run ``evalkit load``."""
    from evalkit.console.load import show_sweep
    from evalkit.console.progress_line import progress_line
    from evalkit.console.terminal import print_result
    from evalkit.datasets import reader
    from evalkit.engine.asking import readiness
    from evalkit.loadtest import sweep
    from evalkit.loadtest.load_plan import LoadPlan
    from evalkit.loadtest.slo import Slo
    from evalkit.runfile import file_names

    settings: dict[str, Any] = {
        "concurrency": _numbers(parsed.concurrency, "--concurrency", int),
        "rate": _numbers(parsed.rate, "--rate", float),
        "arrivals": shared_flags.arrivals(parsed),
        "warm_up": parsed.warm_up,
        "per_step": parsed.per_step,
        "step_time_s": parsed.step_time,
        "seed": parsed.arrivals_seed,
    }
    # errors that can be found now are reported before a model is started
    LoadPlan.of(**settings)
    slo = Slo.of(parsed.slo)
    if parsed.no_stream and (unknown := [name for name in ("ttft", "tpot") if name in slo.limits_ms]):
        raise SettingsError(f"--slo {unknown[0]} and --no-stream exclude each other: only a stream has that time")
    next(iter(reader.read(parsed.data, limit=1)), None)
    interrupted: list[sweep.Sweep] = []
    with (
        shared_flags.endpoint(parsed) as endpoint,
        file_names.new_load_folder(parsed.data, endpoint.model, out=parsed.out) as folder,
    ):
        readiness.wait_until_ready(endpoint, parsed.wait_ready)
        try:
            with progress_line() as watch:
                result = sweep.load(
                    parsed.data, endpoint, slo=slo, out=folder, watch=watch, stream=not parsed.no_stream,
                    interrupted=interrupted.append, **settings,
                )  # fmt: skip
        except KeyboardInterrupt as stop:
            if any(folder.glob(f"*{file_names.SUFFIX}")):
                stop.add_note(f"stopped. Each step so far has a run file in {folder}: evalkit show {folder}/…")
            for unfinished in interrupted:
                if unfinished.measured:
                    print_result(unfinished, show_sweep, as_json=parsed.json)
            raise
    print_result(result, show_sweep, as_json=parsed.json)
    return 1 if any(step.failed for step in result.measured) else 0


def calibrate(parsed: argparse.Namespace) -> int:
    """Run ``evalkit calibrate``."""
    from evalkit.checkup import client_bias
    from evalkit.console.load import show_calibration
    from evalkit.console.progress_line import progress_line
    from evalkit.console.terminal import print_result

    streams = _numbers(parsed.streams, "--streams", int)
    with progress_line() as watch:
        result = client_bias.calibrate(client_bias.STREAMS if streams is None else streams, watch)
    print_result(result, show_calibration, as_json=parsed.json)
    return 0


def _numbers(text: str | None, flag: str, kind: Callable[[str], T]) -> tuple[T, ...] | None:
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        numbers = "whole numbers" if kind is int else "numbers"
        raise SettingsError(f"{flag} {text!r}: write {numbers} separated by commas, such as {flag} 1,2,4,8") from None
