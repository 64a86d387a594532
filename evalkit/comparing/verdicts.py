"""Whether a run is better, no worse or worse than the baseline, by margins, or whether it is too early to say.

A run is **no worse** if the interval of the change ends before the margin (a non-inferiority test), **better** if it
ends before 0, and **worse** if it begins beyond 0 and reaches the margin. Otherwise nobody **can tell**. With several
margins, tags or runs each interval has a higher confidence, so that all of them together are right in 95 % of cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from evalkit.comparing.changes import Change
from evalkit.comparing.margin_expression import EXAMPLES, METRICS, Margin
from evalkit.errors import SettingsError
from evalkit.inputs import suggestions
from evalkit.stats.multiple_tests import bonferroni
from evalkit.stats.power import assured_for_difference, clusters_without_a_difference
from evalkit.wording import verdicts as wording

if TYPE_CHECKING:
    import pandas as pd

BETTER, NO_WORSE, WORSE, CANNOT_TELL = "better", "no worse", "worse", "cannot tell"
FAIL_ON = ("worse", "not-shown")
CORRECTION = "Bonferroni"
CONFIDENCE, POWER, ASSURANCE = 0.95, 0.8, 0.8
_CONSTANT_IN = 10  # clusters
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one metric of one run.

    Parameters
    ----------
    first, second : str
        Labels of the baseline and of the run.
    margin : Margin
    result : str
        ``better``, ``no worse``, ``worse`` or ``cannot tell``.
    change : Change
        The change with its interval.
    noun : str
        The kind of cluster: ``conversation`` or ``group``.
    more : int or None
        With ``cannot tell``: how many more conversations or groups would probably tell. None: not available.
    words : str
        The verdict as a sentence.
    """

    first: str
    second: str
    margin: Margin
    result: str
    change: Change
    noun: str
    more: int | None
    words: str = ""

    def fails(self, fail_on: str) -> bool:
        """Whether it fails a build: ``worse`` or missing, or with ``not-shown`` also ``cannot tell``."""
        return self.result == WORSE or self.missing or (fail_on == "not-shown" and self.result == CANNOT_TELL)

    @property
    def missing(self) -> bool:
        """Whether nothing is known of the metric, which fails a build as a gate on a missing metric does."""
        estimate = self.change.change
        return estimate.value is estimate.low is estimate.high is None

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it; missing values are None."""
        estimate = self.change.change
        return {
            "first": self.first,
            "second": self.second,
            "margin": self.margin.text,
            "metric": self.margin.left,
            "unit": wording.unit(self.margin),
            "verdict": self.result,
            "first_value": self.change.first,
            "second_value": self.change.second,
            "change": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "allowed": self.margin.sign * self.margin.amount,
            "pairs": estimate.n,
            "clusters": self.change.clusters,
            "more": self.more,
            "reason": estimate.reason,
            "words": self.words,
        }


@dataclass(frozen=True, slots=True)
class Verdicts:
    """All verdicts of a comparison.

    Parameters
    ----------
    verdicts : tuple of Verdict
        For each run after the first, one for each margin.
    confidence : float
        Of each interval; together they are right in 95 % of cases (Bonferroni).
    notes : tuple of str
        What the verdicts leave out.
    """

    verdicts: tuple[Verdict, ...]
    confidence: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Verdicts({'; '.join(each.words for each in self.verdicts)})"

    def failing(self, fail_on: str = "worse") -> list[Verdict]:
        """The verdicts that fail a build.

        Raises
        ------
        SettingsError
            ``fail_on`` is neither ``worse`` nor ``not-shown``.
        """
        if fail_on not in FAIL_ON:
            near = suggestions.nearest_name(fail_on, FAIL_ON, cutoff=0.6)
            hint = "" if near is None else f" (did you mean {near!r}?)"
            raise SettingsError(f"fail_on is {fail_on!r}{hint}: write 'worse' or 'not-shown'")
        return [each for each in self.verdicts if each.fails(fail_on)]

    @property
    def base(self) -> str:
        """A sentence about all intervals: what margins mean, and how they are corrected."""
        return wording.base(len(self.verdicts), self.confidence, self.verdicts[0].noun)

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "confidence": self.confidence,
            "correction": CORRECTION if len(self.verdicts) > 1 else None,
            "limits": [each.to_json() for each in self.verdicts],
            "notes": list(self.notes),
        }

    def table(self) -> pd.DataFrame:
        """One row per verdict, with the keys of ``to_json`` as columns; missing numbers are NaN."""
        import pandas as pd

        frame = pd.DataFrame([each.to_json() for each in self.verdicts])
        numbers = ("first_value", "second_value", "change", "low", "high", "allowed", "more")
        return frame.astype(dict.fromkeys(numbers, "float64"))


def level(count: int) -> float:
    """The confidence of each of so many intervals."""
    return bonferroni(CONFIDENCE, count)


def decide(change: Change, margin: Margin) -> str:
    """The verdict on a change; see the top of this file."""
    low, high = _worse_by(change, margin)
    if high < 0:
        return BETTER
    if high < margin.amount:
        return NO_WORSE
    return WORSE if low > 0 else CANNOT_TELL


def more_clusters(change: Change, margin: Margin, confidence: float) -> int | None:
    """How many more clusters would tell, probably: in four of five cases, if nothing changed or as much as allowed.

    The total is that of ``evalkit plan`` for a difference as large as the margin. If there are already that many, the
    change is probably between 0 and the margin: then the total is for the distance from the observed change to the
    farther of both.

    Returns
    -------
    int or None
        At least 1. None: the variance is not known.
    """
    if change.clusters < 2 or change.change.value is None:
        return None
    if change.spread is None:
        # no cluster differs: as many without a difference as rule out the margin
        none_differs = change.constant and not change.change.value and METRICS[margin.metric].kind == "share"
        total = clusters_without_a_difference(margin.amount, confidence) if none_differs else 0
        return total - change.clusters if total > change.clusters else None
    worse_by = margin.sign * change.change.value
    for distance in (margin.amount, max(margin.amount - worse_by, worse_by)):
        total = assured_for_difference(distance, change.spread, POWER, ASSURANCE, 1 - confidence)
        if total > change.clusters:
            return total - change.clusters
    return None


def verdict(first: str, second: str, margin: Margin, change: Change, noun: str, confidence: float) -> Verdict:
    """The verdict of a margin, in words."""
    result = decide(change, margin)
    more = more_clusters(change, margin, confidence) if result == CANNOT_TELL else None
    found = Verdict(first, second, margin, result, change, noun, more)
    return replace(
        found, words=wording.verdict(second, margin, result, change.change, more=more, noun=noun, confidence=confidence)
    )


def check_margins(margins: Sequence[Margin]) -> None:
    """Refuse no margin, and one metric named twice."""
    if not margins:
        raise SettingsError(f"a verdict needs at least one margin, such as {EXAMPLES}")
    named: set[str] = set()
    for margin in margins:
        if margin.left in named:
            raise SettingsError(f"margin {margin.text!r}: {margin.left} has a margin already. Omit one of them")
        named.add(margin.left)


def _worse_by(change: Change, margin: Margin) -> tuple[float, float]:
    """The interval of how much worse the metric is; infinite where a limit is missing.

    A change that is the same in many clusters has no interval, and counts as it is.
    """
    low, high = change.change.low, change.change.high
    if low is high is None and change.constant and change.clusters >= _CONSTANT_IN:
        value = change.change.value or 0.0
        low = high = 0.0 if abs(value) < _ROUNDING else value
    if margin.sign < 0:
        low, high = (None if limit is None else -limit for limit in (high, low))
    return (-math.inf if low is None else low), (math.inf if high is None else high)
