"""A gate as it is written: ``accuracy>=0.8``, ``ttft_p95.high<=400ms`` or ``errors<=1%``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from evalkit.errors import SettingsError
from evalkit.gates.metrics import METRICS
from evalkit.inputs import quantities, suggestions

EXAMPLES = "accuracy>=0.8, accuracy.low>=0.75, ttft_p95<=400ms, errors<=1%"
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
BOUNDS = ("low", "high")

# units of a limit, and how many units of the metric one of them is
_UNITS = {
    "share": {"": Decimal(1), "%": Decimal("0.01")},
    "time": quantities.MS,
    "number": {"": Decimal(1)},
}
_LEFT_SIDE = re.compile(
    r"\s*(?P<metric>\w+)(?:(?P<of_k>[@^])(?P<k>k|\d{1,9}))?(?:\[(?P<turn>\d{1,9})\])?(?:\.(?P<bound>\w*))?\s*", re.ASCII
)
_OPERATOR = re.compile("|".join(map(re.escape, sorted(OPERATORS, key=len, reverse=True))))


@dataclass(frozen=True, slots=True)
class Gate:
    """One limit on a run.

    Parameters
    ----------
    text : str
        As it was written.
    metric : str
        A name in ``METRICS``.
    turn : int or None
        Only turns with this index; None: all turns.
    bound : str or None
        ``low`` or ``high``, a limit of the 95 % interval; None: the value itself.
    operator : str
        A name in ``OPERATORS``.
    limit : float
        In the unit of the metric: 0 to 1, ms, or a plain number.
    k : int or None
        Of ``pass@k`` and ``pass^k``; None: all repeats of the run.
    """

    text: str
    metric: str
    turn: int | None
    bound: str | None
    operator: str
    limit: float
    k: int | None = None

    @property
    def limits_errors(self) -> bool:
        """Whether it limits how many of all turns may fail."""
        return self.metric == "errors" and self.turn is None and self.operator in ("<=", "<")

    @property
    def limits_missing(self) -> bool:
        """Whether it requires that a part of the run has ended."""
        return self.metric == "complete" and self.operator in (">=", ">")

    @property
    def left(self) -> str:
        """The left-hand side: what is limited, without the limit."""
        turn = "" if self.turn is None else f"[{self.turn}]"
        metric = self.metric if self.k is None else f"{self.metric[:-1]}{self.k}"
        return f"{metric}{turn}{'' if self.bound is None else f'.{self.bound}'}"


def parse(text: str) -> Gate:
    """Parse a gate: ``METRIC``, optionally ``[TURN]`` and ``.low`` or ``.high``, an operator, a number and its unit.

    Raises
    ------
    SettingsError
        The text is not a gate; the message names the position and what is possible there.
    """
    comparison = _OPERATOR.search(text)
    if comparison is None:
        left = _LEFT_SIDE.match(text)
        raise _error_at(
            text, left.end() if left else 0, f"there is no comparison ({', '.join(OPERATORS)}), as in {EXAMPLES}; "
            "quote a gate in a shell",
        )  # fmt: skip
    name, k, turn, bound = _parse_left(text, comparison.start())
    limit = _parse_limit(text, comparison.end(), name)
    return Gate(text.strip(), name, turn, bound, comparison[0], limit, k)


def _parse_left(text: str, end: int) -> tuple[str, int | None, int | None, str | None]:
    found = _LEFT_SIDE.match(text, 0, end)
    if found is None:
        raise _error_at(text, 0, f"there is no metric before {text[end]!r}; there are: {', '.join(METRICS)}")
    name = found["metric"] if found["k"] is None else f"{found['metric']}{found['of_k']}k"
    if name not in METRICS:
        near = suggestions.nearest_name(name, METRICS, cutoff=0.6)
        hint = "" if near is None else f" (did you mean {near}?)"
        raise _error_at(
            text, found.start("metric"), f"there is no metric {name!r}{hint}; there are: {', '.join(METRICS)}"
        )
    if found.end() != end:
        raise _error_at(
            text, found.end(), f"{text[found.end() : end].strip()!r} is not understood: write {name}, "
            f"{name}[TURN], {name}.low or {name}[TURN].low, then {', '.join(OPERATORS)}",
        )  # fmt: skip
    metric, turn, bound = METRICS[name], found["turn"], found["bound"]
    k = None if found["k"] in (None, "k") else int(found["k"])
    if k == 0:
        raise _error_at(text, found.start("k"), "k is the number of repeats: 1 or more")
    if turn is not None and not metric.by_turn:
        raise _error_at(text, found.start("turn"), f"{name} is measured for the whole run only: omit [{turn}]")
    if turn is not None and int(turn) == 0:
        raise _error_at(text, found.start("turn"), "turns are counted from 1")
    if bound is not None and bound not in BOUNDS:
        raise _error_at(text, found.start("bound"), f"{bound!r} is not a limit of an interval: write low or high")
    if bound is not None and not metric.interval:
        raise _error_at(text, found.start("bound"), f"{name} has no interval: omit .{bound}")
    return name, k, None if turn is None else int(turn), bound


def _parse_limit(text: str, start: int, name: str) -> float:
    kind = METRICS[name].kind
    found = quantities.NUMBER.fullmatch(text, start)
    if found is None:
        raise _error_at(
            text, start, f"{text[start:].strip()!r} is not a number with its unit, such as {_example_of(kind)}"
        )
    unit = _UNITS[kind].get(found["unit"])
    if unit is None:
        problem = f"the unit {found['unit']!r} does not fit" if found["unit"] else "a time needs a unit"
        raise _error_at(text, found.start("unit"), f"{problem}: limit {name} by {_example_of(kind)}")
    limit = float(Decimal(found["number"]) * unit)
    if kind == "share" and limit > 1:
        raise _error_at(text, found.start("number"), f"{name} is at most 1 (100%): write {_example_of(kind)}")
    if limit == float("inf"):
        raise _error_at(text, found.start("number"), "the number is too large")
    return limit


def _example_of(kind: str) -> str:
    return {"share": "0.8 or 80%", "time": quantities.TIME_EXAMPLE, "number": "a plain number, such as 0.5"}[kind]


def _error_at(text: str, position: int, problem: str) -> SettingsError:
    return SettingsError(f"gate {text!r}, character {position + 1}: {problem}")
