"""The exercises of notebook 06: charts of latency and accuracy."""

from checks import Function, Value

_UP_TO_100 = [float(number) for number in range(1, 101)]

EXERCISES = {
    "06.1": Function(
        [
            ((_UP_TO_100,), 95.05, "of the numbers 1 to 100 the p95 is just above 95: see numpy.quantile."),
            ((_UP_TO_100[::-1],), 95.05, "the order of the times must not matter."),
            ((_UP_TO_100[:20],), 19.05, "twenty times are enough for a p95."),
            ((_UP_TO_100[:19],), None, "nineteen times are too few: return None, neither 0 nor NaN."),
            ((_UP_TO_100[:30] + [None] * 5,), 28.55, "leave out each None; it is not a time of 0 ms."),
            ((_UP_TO_100[:15] + [None] * 10,), None, "count the times that are left, not the length of the list."),
            (([],), None, "a list without any time has no p95: return None."),
        ]
    ),
    "06.2": Value(
        float,
        "9afd3b7eb8ee0a57",
        "choose three things: the turns from 3 on, the finish reason that is not a cut-off, then the median of "
        "latency_ms.",
        {
            "96d25f60540827e6": "all turns are in it: choose those from turn 3 on; cut-off answers are among them.",
            "449da8d1e2aa6988": "all turns are in it: choose those from turn 3 on; only the cut-off answers are in it.",
            "a2cddb8a03c05546": "all turns are in it: choose those from turn 3 on; that is the mean, not the median.",
            "67e3c7e000ac3146": "all turns are in it: choose those from turn 3 on.",
            "b8419036856cf545": "turn 2 is still among them; cut-off answers are among them.",
            "9b6eed3dfaa5b09c": "turn 2 is still among them; only the cut-off answers are in it.",
            "98c6934e885ecd5b": "turn 2 is still among them; that is the mean, not the median.",
            "7c930cd746963fa4": "turn 2 is still among them.",
            "03f6ef513b2fe643": "turn 3 is missing from it; cut-off answers are among them.",
            "701485ef53bdf075": "turn 3 is missing from it; only the cut-off answers are in it.",
            "9b852e95a734f69b": "turn 3 is missing from it; that is the mean, not the median.",
            "ca8c83a9fe81f809": "turn 3 is missing from it.",
            "d1154bfbaaaddb46": "only turn 3 is in it, not the later ones; cut-off answers are among them.",
            "2a5cd55f5896b416": "only turn 3 is in it, not the later ones; only the cut-off answers are in it.",
            "30e1819741ebd211": "only turn 3 is in it, not the later ones; that is the mean, not the median.",
            "b64aa7c61afce75a": "only turn 3 is in it, not the later ones.",
            "43e98658c562c3f2": "cut-off answers are among them; that is the mean, not the median.",
            "c9c67f995d73604d": "cut-off answers are among them.",
            "ec7639817f747787": "only the cut-off answers are in it; that is the mean, not the median.",
            "ced21c6fd29fa45a": "only the cut-off answers are in it.",
            "673fb6bb75a6c9f2": "that is the mean, not the median.",
            "76374b7b9f5c3a25": "that is the p95, not the median.",
            "a7a118f620ac7d40": "that is the time to first token, not the latency.",
            "c946e5ee06cf2929": "the unit is ms, not seconds.",
        },
        digits=0,
    ),
    "06.3": Value(
        tuple,
        "afe668fe80d13c52",
        "give a pair of two texts, each as it is spelled above.",
        {
            "1df1ffcef16efb1c": "the figure is the one, the reason is another: the bars do begin at 0.",
            "67b7c4b81401bc0d": "the figure is the one, the reason is another: 30 answers give a mean and an interval.",
            "809ad7f891855a8a": "the figure is the one, the reason is another: a slow client delays all.",
            "ca015f484f652bd6": "its bars begin at 0. Which answers does each figure call wrong?",
            "d73d565b0f2b2e78": "look again at which answers that figure leaves out, and says so.",
            "21b17e8181f37b26": "30 answers give a mean, with an interval. Which answers does each figure call wrong?",
            "6e3364e91d426022": "a slow client delays all answers. Which answers does each figure call wrong?",
        },
    ),
    "06.4": Function(
        [
            ((0.25, 10, 0.25), 10, "called with (0.25, 10, 0.25): the same width needs the same number."),
            (
                (0.25, 12, 0.125),
                48,
                "called with (0.25, 12, 0.125): half the width, so the *square root* of the number must double. "
                "By how much does the number itself grow, and is it an int?",
            ),
            (
                (0.5, 20, 0.125),
                320,
                "called with (0.5, 20, 0.125): right for half the width, but this is a quarter of it: use the ratio.",
            ),
            (
                (0.125, 80, 0.25),
                20,
                "called with (0.125, 80, 0.25): a wider interval needs fewer conversations than there were.",
            ),
            (
                (0.25, 10, 0.2),
                16,
                "called with (0.25, 10, 0.2): the formula gives 15.6; round up to a whole number (math.ceil).",
            ),
            (
                (0.25, 9, 0.2),
                15,
                "called with (0.25, 9, 0.2): the formula gives 14.06, and 14 are too few: round up (math.ceil).",
            ),
        ]
    ),
}
