"""How long an import of answers takes.

    python tests/benchmarks/bench_importing.py [--rows 100000]

A file of each form is written, and imported by the command. Goal: 100,000 rows in less than 10 s, for forms whose
scores are taken; plain answers without a score are scored too, which takes as long as their scorer.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import report

GOAL_S = 10.0
Row = Callable[[int], dict[str, Any]]


def question(n: int) -> str:
    return f"What is {n} + {n % 97}? Think step by step and give the number at the end."


def answer(n: int) -> str:
    return f"Let us add {n} and {n % 97}. The result is {n + n % 97 + (n % 5 == 0)}."


def scored(n: int) -> dict[str, Any]:
    return {**unscored(n), "score": int(n % 5 != 0)}


def unscored(n: int) -> dict[str, Any]:
    return {"id": f"q{n}", "question": question(n), "target": n + n % 97, "answer": answer(n), "tags": ["sum"]}


def lm_eval(n: int) -> dict[str, Any]:
    arguments = {"gen_args_0": {"arg_0": question(n), "arg_1": {"until": ["\n\n"], "do_sample": False}}}
    return {
        "doc_id": n, "doc": {"question": question(n)}, "target": str(n + n % 97), "arguments": arguments,
        "resps": [[answer(n)]], "filtered_resps": [str(n + n % 97)], "filter": "strict-match",
        "metrics": ["exact_match"], "doc_hash": "0" * 64, "exact_match": float(n % 5 != 0),
    }  # fmt: skip


def batch_request(n: int) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": question(n)}], "temperature": 0}
    return {"custom_id": f"q{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def batch_answer(n: int) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": answer(n)}, "finish_reason": "stop"}
    body = {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 24, "completion_tokens": 15}}
    return {"id": f"b{n}", "custom_id": f"q{n}", "response": {"status_code": 200, "body": body}, "error": None}


def sample(n: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer(n), "source": "generate"}
    return {
        "id": f"q{n}", "epoch": 1, "input": question(n), "target": str(n + n % 97),
        "messages": [{"role": "user", "content": question(n)}, message],
        "output": {"model": "m", "choices": [{"message": message, "stop_reason": "stop"}]},
        "scores": {"match": {"value": "C" if n % 5 else "I", "answer": str(n)}},
    }  # fmt: skip


def lines(path: Path, row: Row, rows: int) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row(n)) + "\n" for n in range(rows))
    return path


def eval_log(path: Path, rows: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as log:
        log.writestr("header.json", json.dumps({"status": "success", "eval": {"task": "sums", "model": "m"}}))
        for n in range(rows):
            log.writestr(f"samples/q{n}_epoch_1.json", json.dumps(sample(n)))
    return path


def files(folder: Path, rows: int) -> Iterator[tuple[str, list[Path | str], bool]]:
    """The name of each form, the arguments of the command, and whether the goal is for it."""
    yield "plain answers with scores", [lines(folder / "scored.jsonl", scored, rows)], True
    yield "lm-eval samples", [lines(folder / "samples_sums_1.jsonl", lm_eval, rows)], True
    yield "inspect log, .eval", [eval_log(folder / "log.eval", rows)], True
    requests = lines(folder / "requests.jsonl", batch_request, rows)
    yield "batch output with its input", [lines(folder / "out.jsonl", batch_answer, rows), "--data", requests], True
    yield "plain answers, scored by number", [lines(folder / "unscored.jsonl", unscored, rows)], False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parsed = parser.parse_args()
    print(f"{parsed.rows} rows; {report.machine()}\n")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for number, (form, arguments, aimed) in enumerate(files(Path(name), parsed.rows)):
            report.say(form)
            command = [sys.executable, "-m", "evalkit.cli", "import", *map(str, arguments)]
            began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            subprocess.run([*command, "--out", f"{name}/{number}.evalkit"], check=True, capture_output=True)
            took = time.monotonic() - began
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            goal = report.met(took < GOAL_S) if aimed else "–"
            rows.append([form, f"{took:.1f}", f"{used.ru_utime - before:.1f}", f"{used.ru_maxrss / 1024:.0f}", goal])
    print(report.table(["form", "s", "s of processor time", "MB at most so far", "under 10 s"], rows))


if __name__ == "__main__":
    main()
