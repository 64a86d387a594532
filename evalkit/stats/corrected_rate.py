"""The rate behind the verdicts of an imperfect judge, from the mistakes that the judge makes on labelled answers."""

from __future__ import annotations

import math
from numbers import Integral

from scipy import special

from evalkit.errors import SettingsError
from evalkit.stats.checked_samples import check_level
from evalkit.stats.estimate import Estimate


def corrected_rate(
    passed: tuple[int, int],
    true_positives: tuple[int, int],
    true_negatives: tuple[int, int],
    *,
    confidence: float = 0.95,
) -> Estimate:
    """The share of right answers, corrected for the mistakes of the judge that counted them.

    The estimate of Rogan and Gladen (1978): ``(p + TNR − 1) / (TPR + TNR − 1)``, limited to 0 to 1, with the share p
    that the judge passed, its true positive rate TPR and its true negative rate TNR. The interval is that of Lang and
    Reiczigel (2014), which also accounts for the number of labelled answers behind TPR and TNR. All answers count as
    independent. The judge must make its mistakes on the new answers as often as on the labelled ones.

    Parameters
    ----------
    passed : (int, int)
        New answers: how many the judge passed, of how many.
    true_positives : (int, int)
        Answers that people labelled as right: how many the judge passed, of how many.
    true_negatives : (int, int)
        Answers that people labelled as wrong: how many the judge failed, of how many.
    confidence : float
        Two-sided level of the interval.

    Returns
    -------
    Estimate
        ``n`` is the number of new answers. No value if there are none; if TPR + TNR is at most 1, since such a judge is
        no better than chance; or if it passed so few or so many that verdicts and labels contradict each other: then
        the whole interval would be below 0 or above 1.

    Raises
    ------
    SettingsError
        A count is no whole number, is negative, or is larger than the number that it is a part of.
    ValueError
        ``confidence`` is not between 0 and 1.

    References
    ----------
    W. J. Rogan, B. Gladen, Am. J. Epidemiol. 107 (1978) 71–76.
    Z. Lang, J. Reiczigel, Prev. Vet. Med. 113 (2014) 13–22.

    Examples
    --------
    >>> corrected_rate((23, 150), (96, 100), (89, 100)).value  # doctest: +ELLIPSIS
    0.0509...
    """
    check_level(confidence)
    for part, whole in (passed, true_positives, true_negatives):
        if not (_is_count(part) and _is_count(whole) and part <= whole):
            raise SettingsError(f"{part!r} of {whole!r} is not a count and its total, such as (19, 30)")
    n = passed[1]
    if not (n and true_positives[1] and true_negatives[1]):
        return Estimate(None, None, None, n, "new answers, right and wrong labelled answers are all needed")
    rate, tpr, tnr = (part / whole for part, whole in (passed, true_positives, true_negatives))
    if tpr + tnr <= 1:
        return Estimate(None, None, None, n, "the judge is no better than chance: TPR + TNR is at most 1")
    value = min(max((rate + tnr - 1) / (tpr + tnr - 1), 0.0), 1.0)
    z = float(special.ndtri((1 + confidence) / 2))
    # pseudo-counts keep the variance of a rate of 0 or 1 above 0
    n_rate, rate = n + z * z, (passed[0] + z * z / 2) / (n + z * z)
    n_tpr, tpr = true_positives[1] + 2, (true_positives[0] + 1) / (true_positives[1] + 2)
    n_tnr, tnr = true_negatives[1] + 2, (true_negatives[0] + 1) / (true_negatives[1] + 2)
    if tpr + tnr <= 1:
        return Estimate(value, 0.0, 1.0, n)
    centre = (rate + tnr - 1) / (tpr + tnr - 1)
    of_tpr, of_tnr = tpr * (1 - tpr) / n_tpr, tnr * (1 - tnr) / n_tnr
    shift = 2 * z * z * (centre * of_tpr - (1 - centre) * of_tnr)
    variance = rate * (1 - rate) / n_rate + centre**2 * of_tpr + (1 - centre) ** 2 * of_tnr
    half = z * math.sqrt(variance) / (tpr + tnr - 1)
    if centre + shift + half <= 0 or centre + shift - half >= 1:
        few = "few" if centre < 0.5 else "many"
        return Estimate(None, None, None, n, f"the judge passed too {few} answers for its mistakes on labelled ones")
    low, high = (min(max(limit, 0.0), 1.0) for limit in (centre + shift - half, centre + shift + half))
    return Estimate(value, min(low, value), max(high, value), n)


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and int(value) >= 0
