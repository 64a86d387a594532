"""What ``--fail-under`` and ``--junit`` make of a run: its gates, a file for build servers, the exit code."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import SettingsError

if TYPE_CHECKING:
    from evalkit.analysis.measures import RunMeasures
    from evalkit.gates.gates import Gate, GateResult
    from evalkit.run import Run


def check(parsed: argparse.Namespace, *taken: Path | None) -> None:
    """See, before anything is asked, that the JUnit file can be written, and not over one of these files."""
    if parsed.junit is not None:
        from evalkit.gates import junit

        junit.check_path(parsed.junit, [path for path in taken if path is not None])


def results(parsed: argparse.Namespace, measures: RunMeasures) -> list[GateResult]:
    """Hold a run against the gates; a command without such flags has none."""
    gates = _given(parsed)
    if not gates:
        return []
    from evalkit.gates.gates import evaluate

    return evaluate(gates, measures)


def warn(parsed: argparse.Namespace, measures: RunMeasures) -> None:
    """Say it when gates were checked on a run that has not ended."""
    if not _given(parsed):
        return
    from evalkit.console.terminal import say
    from evalkit.gates.gates import warning_of

    if (warning := warning_of(_given(parsed), measures)) is not None:
        say(f"warning: {warning}")


def refuse_with_conversation(parsed: argparse.Namespace) -> None:
    """Refuse gates and a JUnit file, which are of a whole run, where one conversation is printed."""
    for flag, given in (("--fail-under", parsed.fail_under), ("--junit", parsed.junit)):
        if given:
            raise SettingsError(f"{flag} is of the whole run: leave --conversation out, or {flag}")


def write_junit(parsed: argparse.Namespace, run: Run, measures: RunMeasures | None = None) -> None:
    """Write the JUnit file, if one is wanted."""
    if (out := getattr(parsed, "junit", None)) is not None:
        from evalkit.gates import junit

        measures = measures or run.measures()
        junit.write(run.path, out, measures, results(parsed, measures))


def exit_code(parsed: argparse.Namespace, result: Mapping[str, Any]) -> int:
    """1: a gate is missed, or turns failed and no gate says how many may; the end of a session is no failure."""
    if any(not gate["met"] for gate in result["gates"]):
        return 1
    failed = sum(result["errors"].values()) - result.get("interrupted", 0)
    return 1 if failed > 0 and not any(gate.limits_errors for gate in _given(parsed)) else 0


def _given(parsed: argparse.Namespace) -> Sequence[Gate]:
    return getattr(parsed, "fail_under", ())
