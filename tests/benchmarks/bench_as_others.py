"""``evalkit show --as`` beside the tools themselves: the same requests, the same endpoint, each tool run twice.

    python tests/benchmarks/bench_as_others.py [--aiperf PATH] [--guidellm PATH] [--requests N] [--base-url URL]

Each PATH is the tool's command; nothing is installed. The endpoint is the scripted server (first token after 50 ms,
then one every 10 ms, 20 in all) or the one at URL, and four requests run in parallel. A figure of ``show --as`` agrees
if it is no further from the nearer of the tool's two runs than these are from each other, or than 3 %. Times are
medians, since a tool's first requests open connections; rates are over the whole run. aiperf gets a tokenizer without
words from a folder and counts the tokens that the server reports; guidellm does so by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from pathlib import Path

import processes
import questions
import report

from evalkit.scripted.server import Law, Script, serve

CONCURRENCY = 4
LEAST = 0.03
MODEL = "scripted"
AIPERF = {
    "ttft": ("time_to_first_token", "p50"),
    "itl": ("inter_token_latency", "p50"),
    "latency": ("request_latency", "p50"),
    "output_tokens_per_s": ("output_token_throughput", "avg"),
    "requests_per_s": ("request_throughput", "avg"),
}
GUIDELLM = {
    "ttft": ("time_to_first_token_ms", "median", 1.0),
    "itl": ("inter_token_latency_ms", "median", 1.0),
    "tpot": ("time_per_output_token_ms", "median", 1.0),
    "latency": ("request_latency", "median", 1e3),
    "output_tokens_per_s": ("output_tokens_per_second", "mean", 1.0),
    "requests_per_s": ("requests_per_second", "mean", 1.0),
}
WORDLESS = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "<eos>": 1}, "unk_token": "[UNK]"},
}
ALONE = {"PYTHONPATH": ""}  # a tool imports what it came with
Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--aiperf", type=Path, help="the command aiperf")
    parser.add_argument("--guidellm", type=Path, help="the command guidellm")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--base-url", help="an endpoint that is running already")
    parser.add_argument("--model", default=MODEL)
    parsed = parser.parse_args()
    asking = {"aiperf": (parsed.aiperf, aiperf), "guidellm": (parsed.guidellm, guidellm)}
    tools = {name: (path, ask) for name, (path, ask) in asking.items() if path is not None}
    if not tools:
        print("nothing to compare with: give --aiperf PATH or --guidellm PATH")
        return
    print(report.machine() + "\n")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        base_url = parsed.base_url
        if base_url is None:
            law = Law(ttft_ms=50, itl_ms=10, tokens=20)
            base_url = stack.enter_context(serve(Script(law=law), process=True)).base_url
        run = evalkit(base_url, parsed.model, parsed.requests, folder)
        rows = []
        for name, (path, ask) in tools.items():
            theirs = [ask(path, base_url, parsed.model, parsed.requests, folder / f"{name}{n}") for n in (1, 2)]
            rows += compared(name, theirs, shown(run, name))
    print(report.table(("tool", "figure", "first run", "second run", "show --as", "ours", "agrees"), rows))


def compared(tool: str, theirs: list[Figures], figures: list[dict]) -> list[tuple[object, ...]]:
    rows = []
    for figure in figures:
        metric = figure["metric"]
        if metric not in theirs[0]:
            continue
        statistic = "mean" if metric.endswith("_per_s") else "p50"
        value, ours = figure["theirs"][statistic], figure["ours"][statistic]
        first, second = (each[metric] for each in theirs)
        noise = max(abs(first - second), LEAST * max(first, second))
        good = min(abs(value - first), abs(value - second)) <= noise
        rows.append((tool, metric, *(f"{each:.2f}" for each in (first, second, value, ours)), report.met(good)))
    return rows


def evalkit(base_url: str, model: str, requests: int, folder: Path) -> Path:
    data, file = questions.write(folder / "questions.jsonl", requests), folder / "run.evalkit"
    flags = ["--base-url", base_url, "--model", model, "--concurrency", CONCURRENCY, "--no-check", "--out", file]
    processes.run(processes.evalkit("run", data, *flags, "--json"), codes=(0, 1))
    return file


def shown(run: Path, tool: str) -> list[dict]:
    return json.loads(processes.run(processes.evalkit("show", run, "--as", tool, "--json")).output)["figures"]


def prompts(path: Path, requests: int, name: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({name: questions.question(n)}) + "\n" for n in range(requests)))
    return path


def aiperf(command: Path, base_url: str, model: str, requests: int, folder: Path) -> Figures:
    data, tokenizer = prompts(folder / "prompts.jsonl", requests, "text"), folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text(json.dumps(WORDLESS))
    words = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "eos_token": "<eos>"}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(words))
    flags = ["--url", base_url.removesuffix("/v1"), "--model", model, "--endpoint-type", "chat", "--streaming"]
    flags += ["--input-file", data, "--custom-dataset-type", "single_turn", "--tokenizer", tokenizer]
    flags += ["--use-server-token-count", "--concurrency", CONCURRENCY, "--request-count", requests]
    flags += ["--ui-type", "none", "--artifact-dir", folder]
    processes.run([command, "profile", *flags], timeout_s=300, env=ALONE)
    found = json.loads((folder / "profile_export_aiperf.json").read_text())
    return {metric: found[name][statistic] for metric, (name, statistic) in AIPERF.items()}


def guidellm(command: Path, base_url: str, model: str, requests: int, folder: Path) -> Figures:
    data, out = prompts(folder / "prompts.jsonl", requests, "prompt"), folder / "report.json"
    backend = f"kind=openai_http,target={base_url.removesuffix('/v1')},model={model},validate_backend=false"
    flags = ["--backend", backend, "--profile", f"kind=concurrent,streams={CONCURRENCY}"]
    flags += ["--constraint", f"kind=max_requests,count={requests}", "--data", f"kind=json_file,path={data}"]
    processes.run(
        [command, "run", *flags, "--output", f"kind=json,path={out}", "--disable-progress"], timeout_s=300, env=ALONE
    )
    found = json.loads(out.read_text())["benchmarks"][0]["metrics"]
    return {metric: found[name]["successful"][which] * unit for metric, (name, which, unit) in GUIDELLM.items()}


if __name__ == "__main__":
    main()
