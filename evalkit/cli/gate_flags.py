"""The flags ``--fail-under``, ``--gates`` and ``--junit``: gates, a file for build servers, and the exit code."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import SettingsError

if TYPE_CHECKING:
    from evalkit.analysis.measures import RunMeasures
    from evalkit.gates.gate_expression import Gate
    from evalkit.gates.gates import GateResult
    from evalkit.run import Run


def check(parsed: argparse.Namespace, *used: Path | None) -> None:
    """Read the gates file and check, before a request is sent, that the JUnit file can be written and is not in use."""
    if parsed.gates is not None:
        from evalkit.gates import gate_expression, gates_file

        parsed.fail_under = [*parsed.fail_under, *gates_file.read(parsed.gates).parsed("gates", gate_expression.parse)]
    check_junit(parsed, *used, parsed.gates)
    if parsed.junit_turns and parsed.junit is None:
        raise SettingsError("--junit-turns is about the JUnit file: add --junit OUT.xml, or omit it")


def check_junit(parsed: argparse.Namespace, *used: Path | None) -> None:
    """Check that the JUnit file can be written and is none of the files in use."""
    if parsed.junit is not None:
        from evalkit.gates import junit

        junit.check_path(parsed.junit, [path for path in used if path is not None])


def results(parsed: argparse.Namespace, measures: RunMeasures) -> list[GateResult]:
    """Check a run against its gates; a command without such flags has none."""
    gates = _given(parsed)
    if not gates:
        return []
    from evalkit.gates.gates import results_of

    return results_of(gates, measures)


def warn_if_unfinished(parsed: argparse.Namespace, measures: RunMeasures) -> None:
    """Print a warning when gates were checked on a run that has not ended."""
    if not _given(parsed):
        return
    from evalkit.console.terminal import print_message
    from evalkit.gates.gates import warning_if_unfinished

    if (warning := warning_if_unfinished(_given(parsed), measures)) is not None:
        print_message(f"warning: {warning}")


def refuse_with(parsed: argparse.Namespace, other: str) -> None:
    """Refuse gates and a JUnit file beside a flag that prints something else; ``other`` says what, with its flag."""
    for flag, given in (("--fail-under", parsed.fail_under), ("--gates", parsed.gates), ("--junit", parsed.junit)):
        if given:
            raise SettingsError(f"{flag} needs the whole run, but {other}: omit one")


def write_junit(parsed: argparse.Namespace, run: Run, measures: RunMeasures | None = None) -> None:
    """Write the JUnit file, if its flag was given."""
    if (out := getattr(parsed, "junit", None)) is not None:
        from evalkit.gates import junit

        measures = measures or run.measures()
        junit.write(run.path, out, measures, results(parsed, measures), fail_turns=parsed.junit_turns)


def exit_code(parsed: argparse.Namespace, result: Mapping[str, Any]) -> int:
    """1 when a gate is missed, or turns failed and no gate limits errors; turns that were interrupted do not count."""
    if any(not gate["met"] for gate in result["gates"]):
        return 1
    failed = sum(result["errors"].values()) - result.get("interrupted", 0)
    return 1 if failed > 0 and not any(gate.limits_errors for gate in _given(parsed)) else 0


def _given(parsed: argparse.Namespace) -> Sequence[Gate]:
    return getattr(parsed, "fail_under", ())
