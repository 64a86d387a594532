"""The exercises of notebook 08."""

from checks import Function, Value

_LATE = "count from the time when a request was due, whenever it was sent."
_NONE = "a request that never ended has no latency: keep None in its place, so that the lists stay side by side."

_GOOD = {"ttft_ms": 300, "latency_ms": 1500, "error_kind": None}
_SLOW = {"ttft_ms": 300, "latency_ms": 2001, "error_kind": None}
_LATE_START = {"ttft_ms": 501, "latency_ms": 900, "error_kind": None}
_ON_THE_LIMIT = {"ttft_ms": 500, "latency_ms": 2000, "error_kind": None}
_UNKNOWN = {"ttft_ms": None, "latency_ms": 900, "error_kind": None}
_FAILED = {"ttft_ms": 200, "latency_ms": 400, "error_kind": "server"}

EXERCISES = {
    "08.1": Value(
        float,
        "7fb8b0e79aa75344",
        "how long is one whole round of a pupil, and which share of it is spent waiting for an answer?",
        hints={
            "fc95624b315471d0": "that would be so if nobody ever read: a pupil who reads has no request in flight.",
            "fc7680540b840515": "that is the turns per second; the law has one more factor.",
            "bf688e28c7fb1a02": "the wait for the answer is part of the round too.",
            "34a08b7cfb4c9810": "those are the pupils who are reading. The question is about the others.",
            "5da3e2b452454254": "a round has a time of reading too, not only the wait.",
        },
    ),
    "08.2": Function(
        cases=[
            (
                ([0, 1000], [0, 1000], [700, 1900]),
                [700, 900],
                "return a list with end − due of each request, in order.",
            ),
            (([0, 1000, 2000], [0, 3000, 6000], [3000, 6000, 9000]), [3000, 5000, 7000], _LATE),
            (([0, 1000], [0, 1500], [400, None]), [400, None], _NONE),
            (([], [], []), [], "no requests give an empty list."),
        ]
    ),
    "08.3": Value(
        int,
        "5ae1492fde832398",
        "compute the growth of the throughput from each row to the next. Where is it below 10 % for the first time?",
        hints={
            "561eac7d1eaf1ad7": "that row is the first saturated one: a saturated step is never the knee itself.",
            "0502b9d00ff09ea1": "that is far beyond the knee. Where does more load begin to buy only waiting?",
            "71fc56e4625abb28": "latency is always lowest at the lowest load. Look where throughput stops growing.",
            "b4ea27b19f41de05": "from this row to the next, throughput still grows by more than 10 %.",
            "dc5740f5ddde3158": "from this row to the next, throughput still grows by more than 10 %.",
        },
    ),
    "08.4": Function(
        cases=[
            (
                ([_GOOD, _GOOD, _SLOW, _LATE_START], 4),
                0.5,
                "two of these four turns met both objectives, in 4 seconds.",
            ),
            (([_ON_THE_LIMIT], 1), 1.0, "a time that is exactly its limit is within it."),
            (([_GOOD, _FAILED], 1), 1.0, "a failed turn meets no objective, however quickly it failed."),
            (([_GOOD, _UNKNOWN], 2), 0.5, "a turn whose time is not known (None) does not meet the objective."),
            (([], 10), 0.0, "no turns are a goodput of 0."),
        ]
    ),
}
