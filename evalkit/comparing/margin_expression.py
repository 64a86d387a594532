"""How much worse than the baseline a run may be, as it is written: ``accuracy -2%``, ``ttft_p95 +10%``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from evalkit.errors import SettingsError
from evalkit.inputs import quantities, suggestions

EXAMPLES = "'accuracy -2%', 'ttft_p95 +10%', 'cost +5%'"
EVERY_TAG = "*"
_EXAMPLES = {"share": "2%", "time": "10%", "cost": "5%"}

_LEFT_SIDE = re.compile(r"\s*(?P<metric>\w+)(?:\[(?:(?P<turn>\d{1,9})|tag=(?P<tag>[^\]]+))\])?\s*", re.ASCII)
_SIGN = re.compile(r"(?P<sign>[+\-−])")
_POINTS = {"%": Decimal("0.01"), "points": Decimal("0.01"), "point": Decimal("0.01"), "pp": Decimal("0.01")}


class MarginMetric(NamedTuple):
    """What a margin can limit.

    Parameters
    ----------
    kind : str
        ``share`` (the margin is in percentage points), ``time`` (in percent of the baseline, or in ms) or ``cost`` (in
        percent of the baseline).
    sign : int
        1: a rise is worse; -1: a drop is worse.
    quantile : float or None
        Of a time.
    by_part : bool
        Whether it exists for a turn index and for a tag.
    """

    kind: str
    sign: int
    quantile: float | None = None
    by_part: bool = True


METRICS = {
    "accuracy": MarginMetric("share", -1),
    "accuracy_all": MarginMetric("share", -1),
    "errors": MarginMetric("share", 1),
    **{
        f"{metric}_p{100 * quantile:g}": MarginMetric("time", 1, quantile)
        for metric in ("ttft", "latency")
        for quantile in (0.5, 0.95, 0.99)
    },
    "cost": MarginMetric("cost", 1),
}


@dataclass(frozen=True, slots=True)
class Margin:
    """How much worse one metric may be.

    Parameters
    ----------
    text : str
        As it was written.
    metric : str
        A name in ``METRICS``.
    turn : int or None
        Only turns with this index; None: all turns.
    tag : str or None
        Only conversations with this tag, or with each tag in turn (``EVERY_TAG``); None: all conversations.
    amount : float
        Above 0: a share for percentage points, a ratio minus 1 for percent of the baseline, or ms.
    relative : bool
        Whether the amount is relative to the baseline.
    """

    text: str
    metric: str
    turn: int | None
    tag: str | None
    amount: float
    relative: bool

    @property
    def sign(self) -> int:
        """1: a rise is worse; -1: a drop is worse."""
        return METRICS[self.metric].sign

    @property
    def text_of_tag(self) -> str:
        """As it was written, with the tag in place of ``*``."""
        return self.text.replace(f"[tag={EVERY_TAG}]", f"[tag={self.tag}]")

    @property
    def left(self) -> str:
        """The metric, with its turn index or tag."""
        part = f"[{self.turn}]" if self.turn is not None else f"[tag={self.tag}]" if self.tag is not None else ""
        return f"{self.metric}{part}"


def parse(text: str) -> Margin:
    """Parse a margin: ``METRIC``, optionally ``[TURN]`` or ``[tag=NAME]``, a sign, a number and its unit.

    Of accuracies and errors ``2%`` are two percentage points; of times and costs ``10%`` are a tenth of the baseline's.

    Raises
    ------
    SettingsError
        The text is not a margin; the message names the position and what is possible there.
    """
    left = _LEFT_SIDE.match(text)
    if left is None:
        raise _error_at(text, 0, f"there is no metric; there are: {', '.join(METRICS)}")
    name = left["metric"]
    if name not in METRICS:
        near = suggestions.nearest_name(name, METRICS, cutoff=0.6)
        hint = "" if near is None else f" (did you mean {near}?)"
        raise _error_at(text, left.start("metric"), f"no margin is possible for {name!r}{hint}; there are: "
                        f"{', '.join(METRICS)}")  # fmt: skip
    metric = METRICS[name]
    turn = None if left["turn"] is None else int(left["turn"])
    if turn == 0:
        raise _error_at(text, left.start("turn"), "turns are counted from 1")
    sign = _SIGN.match(text, left.end())
    example = f"{name} {'+' if metric.sign > 0 else '-'}{_EXAMPLES[metric.kind]}"
    if sign is None:
        raise _error_at(
            text, left.end(), f"after {text[: left.end()].strip()!r} there is no sign: write how much worse it may be, "
            f"as in {example!r}",
        )  # fmt: skip
    if (sign["sign"] == "+") != (metric.sign > 0):
        direction = "higher" if metric.sign > 0 else "lower"
        raise _error_at(text, sign.start(), f"{name} is worse when it is {direction}: write {example!r}")
    amount, relative = _parse_amount(text, sign.end(), name)
    return Margin(text.strip(), name, turn, left["tag"], amount, relative)


def _parse_amount(text: str, start: int, name: str) -> tuple[float, bool]:
    """The amount, and whether it is relative."""
    kind = METRICS[name].kind
    found = quantities.NUMBER.fullmatch(text, start)
    if found is None:
        raise _error_at(text, start, f"{text[start:].strip()!r} is not a number with its unit, such as "
                        f"{_example_of(kind)}")  # fmt: skip
    relative = kind != "share" and found["unit"] == "%"
    units = _POINTS | {"": Decimal(1)} if kind == "share" else {"%": Decimal("0.01")}
    if kind == "time":
        units = units | quantities.MS
    unit = units.get(found["unit"])
    if unit is None:
        problem = f"the unit {found['unit']!r} does not fit" if found["unit"] else "a unit is missing"
        raise _error_at(text, found.start("unit"), f"{problem}: write {_example_of(kind)}")
    amount = float(Decimal(found["number"]) * unit)
    if amount == 0:
        raise _error_at(
            text, found.start("number"), "with a margin of 0 no number of conversations can show that a run is no "
            f"worse: allow more, such as {_example_of(kind)}",
        )  # fmt: skip
    if kind == "share" and amount >= 1:
        raise _error_at(text, found.start("number"), "the margin must be below 100 points: write 2% or 0.02 for two "
                        "points")  # fmt: skip
    if amount == float("inf"):
        raise _error_at(text, found.start("number"), "the number is too large")
    return amount, relative


def _example_of(kind: str) -> str:
    meaning = {
        "share": "2% (percentage points)",
        "time": "10% (of the baseline) or 50ms",
        "cost": "5% (of the baseline)",
    }
    return meaning[kind]


def _error_at(text: str, position: int, problem: str) -> SettingsError:
    return SettingsError(f"margin {text!r}, character {position + 1}: {problem}")
