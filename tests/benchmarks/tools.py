"""Other runners, each in a virtual environment of its own: how it is installed, and how it asks a local endpoint.

None of them may reach for anything but the endpoint: what they would fetch from a hub is switched off, and their data
lies beside them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import processes
import questions
import report

# their versions are pinned, so that no older one with fewer requirements replaces one that is not available
NO_TORCH = "torch<0.1"  # a tool that needs it is skipped: several GB, and nothing of it is measured here
SUMS_YAML = """\
task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["###"], max_gen_toks: 64}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
SUMS_PY = """\
from inspect_ai import Task, task
from inspect_ai.dataset import json_dataset
from inspect_ai.scorer import includes
from inspect_ai.solver import generate


@task
def sums():
    return Task(dataset=json_dataset({data!r}), solver=generate(), scorer=includes())
"""


@dataclass(frozen=True)
class Asking:
    """Which questions are run against which endpoint."""

    base_url: str
    model: str
    samples: int
    concurrency: int
    stream: bool
    folder: Path


@dataclass(frozen=True)
class Tool:
    """One of them: ``command`` writes the files it needs and returns the words to run it with."""

    name: str
    packages: tuple[str, ...]
    streams: tuple[bool, ...]
    command: Callable[[Asking, Path], list[object]]
    slow: bool = False
    scores: bool = True


def lm_eval(asking: Asking, scripts: Path) -> list[object]:
    rows(asking.folder / "sums.jsonl", asking.samples, "question", "answer")
    (asking.folder / "sums.yaml").write_text(SUMS_YAML.format(data=asking.folder / "sums.jsonl"))
    url = f"{asking.base_url}/chat/completions"
    arguments = {"model": asking.model, "base_url": url, "num_concurrent": asking.concurrency, "max_retries": 1}
    words = [scripts / "lm-eval", "run", "--model", "local-chat-completions", "--model_args", json.dumps(arguments)]
    words += ["--tasks", "sums", "--include_path", asking.folder, "--apply_chat_template"]
    return [*words, "--log_samples", "--output_path", asking.folder / "out"]


def inspect_ai(asking: Asking, scripts: Path) -> list[object]:
    rows(asking.folder / "sums.jsonl", asking.samples, "input", "target")
    (asking.folder / "sums.py").write_text(SUMS_PY.format(data=str(asking.folder / "sums.jsonl")))
    # it takes a comma for the end of a model's name
    words = [scripts / "inspect", "eval", "sums.py", "--model", f"openai-api/known/{asking.model.replace(',', ';')}"]
    words += ["--max-connections", asking.concurrency, "--max-samples", asking.concurrency]
    return [*words, "--display", "none", "--log-dir", asking.folder / "logs"]


def evalscope(asking: Asking, scripts: Path) -> list[object]:
    with (asking.folder / "sums.txt").open("w") as file:
        for number in range(asking.samples):
            file.write(json.dumps([{"role": "user", "content": questions.question(number)}]) + "\n")
    words = [scripts / "evalscope", "perf", "--model", asking.model, "--api", "openai", "--api-key", "none"]
    words += ["--url", f"{asking.base_url}/chat/completions", "--parallel", asking.concurrency]
    words += ["--number", asking.samples, "--dataset", "line_by_line", "--dataset-path", asking.folder / "sums.txt"]
    words += ["--stream" if asking.stream else "--no-stream", "--max-tokens", 64, "--no-test-connection"]
    return [*words, "--outputs-dir", asking.folder / "out"]


def rows(path: Path, samples: int, asked: str, target: str) -> None:
    with path.open("w") as file:
        for number in range(samples):
            file.write(json.dumps({asked: questions.question(number), target: questions.TARGET}) + "\n")


TOOLS = (
    Tool("inspect-ai", ("inspect-ai==0.3.285", "openai>=3.50"), (False,), inspect_ai, slow=True),
    Tool("lm-eval", ("lm-eval[api]==0.4.13",), (False,), lm_eval),
    Tool("evalscope", ("evalscope[perf]==1.14.1",), (False, True), evalscope, scores=False),
)


def environment(folder: Path, base_url: str) -> dict[str, str]:
    """Variables for all of them: where to ask, nothing from a hub, and what they keep goes into the folder."""
    offline = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
    kept = ("HF_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "MODELSCOPE_CACHE")
    return {
        **dict.fromkeys(offline, "1"),
        **{name: str(folder / "kept") for name in kept},
        "KNOWN_BASE_URL": base_url,
        "KNOWN_API_KEY": "none",
        "OPENAI_API_KEY": "none",
        "PYTHONPATH": "",
    }


def installed(tool: Tool, cache: Path) -> Path | None:
    """The folder of its commands, installed if it is not there yet; None, with a message, when it is not available."""
    home = cache / tool.name
    ready = home / f".ready-{tool.packages[0].rpartition('==')[2]}"
    if not ready.exists():
        report.say(f"installing {tool.name} in {home}; this takes a minute or two, once")
        constraints = cache / "constraints.txt"
        cache.mkdir(parents=True, exist_ok=True)
        constraints.write_text(NO_TORCH + "\n")
        pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        try:
            processes.run([sys.executable, "-m", "venv", "--clear", home])
            processes.run([*pip, "--constraint", constraints, *tool.packages], timeout_s=1200)
        except (processes.Failed, OSError, subprocess.SubprocessError) as error:
            report.say(f"{tool.name} could not be installed: {str(error).strip().splitlines()[-1]}")
            return None
        ready.touch()
    return home / "bin"
