"""What the terms of a report mean, in a sentence or two each; METRICS.md has the full definitions."""

DEFINITIONS = {
    "turn": "One user message and the answer it asks for, by its position in the conversation. "
    "Turn 1 is shown separately: connections and caches are cold.",
    "answered": "Turns that have an answer, of all finished turns. A failed call is an error, never a wrong answer.",
    "errors": "Turns whose call failed: there is no answer, or only part of one.",
    "accuracy": "Mean score of the turns that were answered and scored; with scores of 0 and 1, the share of right "
    "answers. The 95 % interval is Wilson's score interval on the effective sample size, since turns of one "
    "conversation resemble each other.",
    "TTFT": "Time to first token: from just before the request is written to the read that brought the first token. "
    "Missing without streaming. If a stream arrived almost all at once, it is the time of the whole answer.",
    "TPOT": "Time per output token: from the first arrival to the last, divided by the tokens after the first, as "
    "the server counts them.",
    "latency": "From just before the request is written to the last token; without streaming, to the end of the body. "
    "Retries and pauses are not included.",
    "turn time": "From the moment a turn was due to the end of its answer, including waits for a slot, retries, "
    "pauses and tool rounds. Time lost to retries: from the first try of a request to its last.",
    "p50": "Half of the values are at most this.",
    "p95": "95 of 100 values are at most this; missing below 20 values. With few values it is too low: on average it "
    "is percentile 91 with 20 values, and 94 with 100. Time-outs count as lower bounds.",
    "trust": "How much of the times is the endpoint's own: a client too busy to read in time measures its own "
    "slowness. A metric is client-bound if more than a twentieth of it may be the client's: the 99th percentile of "
    "event-loop lag, compared with the metric's median. Accuracy is never client-bound.",
}
