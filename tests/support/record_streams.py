"""Record the streams of notebook 03 with the embedded model: ``data/course/03_*``.

    python tests/support/record_streams.py

Run it from the root of the repository, on a machine that does nothing else. It takes about a minute on two idle cores.
Then run notebook 03 again, and read what it says about these files.
"""

import json
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from portable_runs import make_portable

import evalkit as ek

FOLDER = Path("data/course")
SYSTEM = "You are a math teacher for primary school students."
QUESTIONS = {
    "sum": "What is the sum of 12 + 23?",
    "apples": "Draw three apples as emoji 🍎🍎🍎 and count them.",
    "share": "Explain to a child how to share 12 sweets between 3 friends.",
    "shapes": "What is the difference between a square and a rectangle?",
    "clock": "How do I read the time on a clock with two hands?",
    "story": "Make up a short story with the numbers 3, 4 and 7.",
    "half": "Why is one half more than one third?",
    "even": "How can I see that 246 is an even number?",
}
SETTINGS = {"temperature": 0, "max_tokens": 48}


def main():
    FOLDER.mkdir(exist_ok=True)
    data = FOLDER / "03_streams.jsonl"
    rows = [{"id": name, "system": SYSTEM, "turns": [{"user": text}]} for name, text in QUESTIONS.items()]
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    tables = [in_parallel(data, count) for count in (1, 2, 4, 8)]
    columns = ["parallel", "conversation", "at_ms", "events"]
    pd.concat(tables)[columns].round({"at_ms": 1}).to_csv(FOLDER / "03_streams.csv", index=False)
    make_portable(FOLDER / "03_streams.evalkit")
    raw_stream()


def in_parallel(data, count):
    """The arrivals of all answers; a server of its own, so that no prompt has been read before."""
    with TemporaryDirectory() as folder, ek.local_endpoint(params=SETTINGS) as endpoint:
        kept = FOLDER / "03_streams.evalkit"
        if count == 1:
            kept.unlink(missing_ok=True)
        run = ek.evaluate(data, endpoint, out=kept if count == 1 else Path(folder, "run.evalkit"), concurrency=count)
        print(run.summary().loc["all", ["ttft_p50_ms", "tpot_p50_ms", "latency_p50_ms"]].to_string())
        return run.arrivals().assign(parallel=count)


def raw_stream():
    """The bytes of one stream, as they come."""
    with ek.local_endpoint() as endpoint:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTIONS["sum"]}]
        streaming = {"stream": True, "stream_options": {"include_usage": True}}
        body = json.dumps({"model": endpoint.model, **streaming, **SETTINGS, "messages": messages})
        headers = {"Authorization": f"Bearer {endpoint.key()}", "Content-Type": "application/json"}
        request = urllib.request.Request(endpoint.url, body.encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            (FOLDER / "03_stream.txt").write_bytes(answer.read())


if __name__ == "__main__":
    main()
