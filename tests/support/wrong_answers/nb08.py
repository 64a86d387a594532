"""Wrong answers to the exercises of notebook 08: each gets a hint."""

WRONG = {
    "08.1": [None, "40", 300, 10, 300 / 26 * 4, 260, 75, 41],
    "08.2": [
        None,
        [700, 900],
        lambda due, sent, end: None,
        lambda due, sent, end: [last - first for first, last in zip(sent, end, strict=True)],
        lambda due, sent, end: [last - first for first, last in zip(due, end, strict=True)],
        lambda due, sent, end: [last - first for first, last in zip(due, end, strict=True) if last is not None],
        lambda due, sent, end: [0 if last is None else last - first for first, last in zip(due, end, strict=True)],
        lambda due, sent, end: (last if last is None else last - first for first, last in zip(due, end, strict=True)),
    ],
    "08.3": [None, "8", 16, 32, 1, 2, 4, 8.4],
    "08.4": [
        None,
        0.5,
        lambda turns, seconds: None,
        lambda turns, seconds: len(turns) / seconds,
        lambda turns, seconds: len([turn for turn in turns if turn["latency_ms"] <= 2000]) / seconds,
        lambda turns, seconds: (
            len([turn for turn in turns if (turn["ttft_ms"] or 0) < 500 and turn["latency_ms"] < 2000]) / seconds
        ),
        lambda turns, seconds: (
            len([turn for turn in turns if (turn["ttft_ms"] or 0) <= 500 and turn["latency_ms"] <= 2000]) / seconds
        ),
        lambda turns, seconds: (
            len(
                [
                    turn
                    for turn in turns
                    if turn["error_kind"] is None and (turn["ttft_ms"] or 0) <= 500 and turn["latency_ms"] <= 2000
                ]
            )
            / seconds
        ),
    ],
}
