"""What the numbers of a report mean, in a sentence or two each; docs/metrics.md has all of it."""

DEFINITIONS = {
    "turn": "One user message and the answer it asks for, by its place in its conversation. "
    "Turn 1 stands apart: connections and caches are cold.",
    "answered": "Turns that have an answer, of those that are finished. A failed call is an error, never a wrong one.",
    "errors": "Turns whose call failed: no answer came, or only a part.",
    "accuracy": "Mean score of the turns that were answered and scored; with scores of 0 and 1 the share of right "
    "answers. The 95 % interval is Wilson's score interval on the effective sample size: turns of one conversation "
    "resemble each other.",
    "TTFT": "Time to first token: from just before the request is written to the read that brought the first token. "
    "Missing where nothing is streamed. Of a stream that came nearly at once it is the time of the whole answer.",
    "TPOT": "Time per output token: from the first arrival to the last, by the tokens after the first, as the server "
    "counts them.",
    "latency": "From just before the request is written to the last token; not streamed: to the end of the body. "
    "Retries and pauses are not in it.",
    "turn time": "From the moment a turn was due to the end of its answer: waits for a slot, retries, pauses and "
    "rounds of tools included. Time lost to retries: from the first try of a request to its last.",
    "p50": "Half of the values are at most this.",
    "p95": "95 of 100 values are at most this; missing below 20 values. Of few values it is too low: of 20 "
    "it is that of percentile 91 on average, of 100 that of 94. Time-outs count as lower bounds.",
    "trust": "How far the times are the endpoint's: a client too busy to read in time reports its own slowness. "
    "Client-bound: a metric of which more than a twentieth may be the client's, by the 99th percentile of how late its "
    "event loop was, beside the metric's median. An accuracy never is.",
}
