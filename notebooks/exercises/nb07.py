"""The exercises of notebook 07."""

from checks import Function, Value

EXERCISES = {
    "07.1": Value(
        float,
        "0710a91a8b8f9a2d",
        "write down the mean of the 200 differences first, then its standard error. "
        "Only questions that one of the two has right contribute to the mean.",
        {
            "f9d0c6626c277aaf": "that is the difference itself. Its interval reaches further down.",
            "ea943512282d82d1": "that is the other end of the interval.",
            "e92ef80e759c9807": "that interval treats the two as different questions. Pair them: few questions differ.",
            "968be574b15c1227": "nearly. The variance of the differences also needs the square of their mean.",
            "bb2813623f13a2df": "nearly. Keep all digits until the end, and round only the result.",
            "8df42b4fb097ea41": "nearly. The exercise asks for 1.96 standard errors, not for 2.",
            "79aaeda98aa3080e": "is that a share? The answer is expected in percentage points.",
            "71a55b673340122f": "that is A − B. Subtract the other way round.",
            "f7be2f3a436b7359": "the sign is that of A − B. Subtract the other way round.",
        },
        digits=1,
    ),
    "07.2": Function(
        [
            ((0.3, 1.0, 1.0), 0.3, "a perfect judge needs no correction."),
            ((0.5, 0.9, 0.8), 3 / 7, "solve passed = rate · TPR + (1 − rate) · (1 − TNR) for the rate."),
            ((0.1, 0.9, 0.8), 0.0, "it passed fewer than its own false alarms: no rate is below 0."),
            ((0.95, 0.9, 0.8), 1.0, "it passed more than a judge with this TPR can: no rate is above 1."),
            ((0.5, 0.5, 0.5), None, "a judge that guesses says nothing: return None, without a division by 0."),
            ((0.4, 0.3, 0.6), None, "TPR + TNR below 1 is worse than guessing: return None as well."),
        ]
    ),
    "07.3": Value(
        str,
        "8ab8f0fdae834d77",
        'answer with one letter: "a", "b", "c" or "d".',
        {
            "dfc1dc4de56bd7ad": "is a gain of 4 points outside the interval? Then 'equally good' goes too far.",
            "b26320280afa0411": "0 is inside the interval, so the sign of the gain is open.",
            "893b1dc4406ddd46": "look at the upper limit, and at what the team decided before.",
        },
    ),
    "07.4": Value(
        int,
        "8b29d2397c589518",
        "three parts: both runs as the pilot; difference=0.03, a share; and `power`, how often it must be found. "
        "Then read `conversations` of the first of `needs`.",
        {
            "a33b649c88b3e6b0": "that misses the difference in two of ten cases, which is the default.",
            "390cbb02ef3ffdc6": "that is the answer for 5 points, from the text above.",
            "f9611facd88cf8ae": "the power is right, and the difference is still 5 points.",
            "2187dfbc34b36ac4": "that plan has one pilot. Give `ek.plan` both runs: paired, they need far fewer.",
            "21e00d0d4cd43ed0": "that plan has one pilot. Give `ek.plan` both runs: paired, they need far fewer.",
            "500ad05ea9d0bd29": "the pilot of the brief prompt is another question: compare own with golden.",
            "aed7ba1a8a65f48d": "`precision` is about the width of an interval. To detect is `difference`.",
            "cebeef4d83ee4b8c": "the argument is how often it is found, not how often it is missed.",
            "cc202275f8d3e24f": "that misses the difference in one of twenty cases.",
            "6d382735166d289e": "that is `fewest`, which is enough in 10 % of cases: read `conversations`.",
            "ea30286913f5c573": "that is `most`: read `conversations`.",
            "a107b630f74478ba": "those are turns: read `conversations`.",
        },
    ),
}
