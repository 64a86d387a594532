"""Samples of the lm-evaluation-harness: ``samples_TASK_DATE.jsonl``, written by ``--log_samples``.

A line is a document with its requests, the responses, and the metrics after one filter; a task with several filters has
a line for each. A score is called as in the results of the harness: ``exact_match,strict-match``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from evalkit.datasets.field_checks import label_in, object_in, within
from evalkit.errors import DatasetError
from evalkit.importing import chat_messages
from evalkit.importing.imported_answer import ImportedAnswer, Source, score_of
from evalkit.importing.json_lines import at_line, objects, parsed
from evalkit.record import Answer

_OWN_KEYS = {
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash",
    "target_hash",
}  # fmt: skip
_LARGEST_RESULTS = 64_000_000  # bytes
_MOST_REQUESTS = 10_000  # of a document


def read(path: Path, score: str | None = None) -> Source:
    """A file of samples; ``score`` as the harness calls it, None: the first metric with a value for each document."""
    _, first = next(objects(path), (0, {}))
    source = Source("lm-eval", lambda: iter(()), about={"task": _task(path)})
    _read_results(path, source)
    source.scorer = score or _first_score(first)
    source.answers = lambda: _answers(path, source)
    return source


def _task(path: Path) -> str:
    name = path.name.removesuffix(".gz").removesuffix(".jsonl").removeprefix("samples_")
    return name.rpartition("_")[0] or name


def _read_results(path: Path, source: Source) -> None:
    """What the file of results next to the samples says about the model, if there is one."""
    date = path.name.removesuffix(".gz").removesuffix(".jsonl").rpartition("_")[2]
    results = path.with_name(f"results_{date}.json")
    try:
        if results.stat().st_size > _LARGEST_RESULTS:
            return
        found = parsed(results.read_bytes())
    except (OSError, DatasetError):
        return
    config = found.get("config") if isinstance(found, dict) else None
    if not isinstance(config, dict):
        return
    name, arguments = found.get("model_name"), config.get("model_args")
    source.model = name if isinstance(name, str) and name else None
    if isinstance(arguments, dict) and isinstance(arguments.get("base_url"), str):
        source.base_url = arguments["base_url"]
    for key, value in (("version", found.get("lm_eval_version")), ("date", found.get("date"))):
        if isinstance(value, str | int | float):
            source.about[key] = value


def _filter(value: Mapping[str, Any]) -> str:
    named = value.get("filter")
    return named if isinstance(named, str) else "none"


def _metrics(value: Mapping[str, Any]) -> list[str]:
    """The metrics of a line; older files do not list them."""
    listed = value.get("metrics")
    names = listed if isinstance(listed, list) else [key for key in value if key not in _OWN_KEYS]
    return [name for name in names if isinstance(name, str) and name in value]


def _first_score(value: Mapping[str, Any]) -> str | None:
    names = _metrics(value)
    numbers = [name for name in names if isinstance(value[name], int | float)]
    return f"{(numbers or names)[0]},{_filter(value)}" if names else None


def _answers(path: Path, source: Source) -> Iterator[ImportedAnswer]:
    metric, _, chosen = (source.scorer or "").partition(",")
    for line, value in objects(path):
        try:
            for name in _metrics(value):
                source.scorers[f"{name},{_filter(value)}"] += 1
            if not chosen:
                chosen = _filter(value)
            if _filter(value) == chosen:
                yield _answer(value, metric, source, line)
        except DatasetError as error:
            raise at_line(error, line) from None


def _answer(value: Mapping[str, Any], metric: str, source: Source, line: int) -> ImportedAnswer:
    try:
        name = label_in(value.get("doc_id"))
    except DatasetError as error:
        raise within("doc_id", error) from None
    requests, responses = _requests(value.get("arguments")), value.get("resps")
    if not isinstance(responses, list) or not responses:
        raise DatasetError("must be a list with the responses of the model", field="resps")
    first = responses[0]
    if isinstance(first, list) and first and isinstance(first[0], list):
        text = _likeliest(requests, responses)
        source.notes["answers are the likeliest continuation: the model was asked for probabilities, not for text"] += 1
    else:
        generated = first if isinstance(first, list) else [first]
        if not generated or not isinstance(generated[0], str):
            raise DatasetError("must hold the text of a response", field="resps[0]")
        text = generated[0]
        if len(generated) > 1:
            source.notes["documents have several responses: only the first is stored; the score is that of all"] += 1
    score = None
    if metric and metric in value:
        filtered = value.get("filtered_resps")
        extracted = filtered[0] if isinstance(filtered, list) and len(filtered) == 1 else None
        score = score_of(f"{metric},{_filter(value)}", value[metric], extracted)
        if score.value is None:
            source.notes[f"documents have no {metric} of their own from 0 to 1"] += 1
    return ImportedAnswer(name, _row(name, value, requests), Answer(text), score=score, line=line)


def _requests(value: Any) -> list[list[Any]]:
    """The arguments of each request; older files have lists, newer ones objects with numbered keys."""
    if isinstance(value, dict):
        found: Any = list(value.values())
    else:
        found = value
    if not isinstance(found, list) or not found or len(found) > _MOST_REQUESTS:
        raise DatasetError("must hold the requests that were sent", field="arguments")
    requests = [list(part.values()) if isinstance(part, dict) else part for part in found]
    if not all(isinstance(part, list) and part for part in requests):
        raise DatasetError("must hold a list or an object for each request", field="arguments")
    return requests


def _likeliest(requests: list[list[Any]], responses: list[Any]) -> str:
    """The continuation with the highest log-likelihood, as ``acc`` compares it with the target."""
    try:
        scores = [float(response[0][0]) for response in responses]
        text = requests[max(range(len(scores)), key=scores.__getitem__)][1]
    except (TypeError, ValueError, LookupError):
        raise DatasetError("must hold a log-likelihood for each request", field="resps") from None
    if not isinstance(text, str):
        raise DatasetError("must hold the continuation of each request", field="arguments")
    return text.strip()


def _row(name: str, value: Mapping[str, Any], requests: list[list[Any]]) -> dict[str, Any]:
    prompt = requests[0][0]
    if isinstance(prompt, list) and len(prompt) == 1:  # chat messages as JSON, in a list
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise DatasetError("must begin with the prompt, a text", field="arguments")
    target = value.get("target")
    if prompt.startswith('[{"role"') and (messages := _messages(prompt)) is not None:
        try:
            return chat_messages.row_of(name, messages, target)
        except DatasetError as error:
            raise DatasetError(error.problem, field="arguments") from None
    turn: dict[str, Any] = {"user": prompt if prompt.strip() else "(empty prompt)"}
    if target is not None:
        turn["target"] = target
    return {"id": name, "turns": [turn]}


def _messages(text: str) -> list[dict[str, Any]] | None:
    try:
        return [object_in(message) for message in orjson.loads(text)]
    except (orjson.JSONDecodeError, DatasetError):
        return None
