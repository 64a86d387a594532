"""Which form a file of answers has: recognised by its name and by the keys of its first line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from evalkit.datasets.dataset_file import open_dataset
from evalkit.errors import DatasetError
from evalkit.importing import answers_file, inspect_log, lm_eval_samples, openai_batch
from evalkit.importing.imported_answer import Source
from evalkit.importing.json_lines import objects

FORMS = {
    "answers": "one object a line with id, answer and question: a script of your own",
    "inspect": "a log of inspect, .eval or .json",
    "lm-eval": "samples of the lm-evaluation-harness: doc_id, arguments and resps",
    "openai-batch": "an output file of the OpenAI batch API: custom_id and response",
}


def read(path: Path, form: str | None = None, score: str | None = None) -> Source:
    """Open a file of answers in one of the ``FORMS``; None: the one that it looks like.

    Raises
    ------
    DatasetError
        It is of no known form, or cannot be read; the error names the file.
    """
    try:
        readers: Mapping[str, Callable[[], Source]] = {
            "answers": lambda: answers_file.read(path),
            "inspect": lambda: inspect_log.read(path, score),
            "lm-eval": lambda: lm_eval_samples.read(path, score),
            "openai-batch": lambda: openai_batch.read(path),
        }
        return readers[form or _form_of(path)]()
    except DatasetError as error:
        raise (
            error if error.path else DatasetError(error.problem, path=path, line=error.line, field=error.field)
        ) from None


def _form_of(path: Path) -> str:
    if path.suffix != ".eval":
        _refuse_what_is_not_there(path)
    if path.suffix in (".eval", ".json"):
        return "inspect"
    _, first = next(objects(path), (0, None))
    if first is None:
        raise DatasetError("holds no rows")
    keys = first.keys()
    if {"doc_id", "resps"} <= keys:
        return "lm-eval"
    if "custom_id" in keys and keys & {"response", "error"}:
        return "openai-batch"
    if {"custom_id", "body"} <= keys:
        raise DatasetError("holds the requests of a batch: name its output file, and this one with --data")
    if keys & {"answer", "error"}:
        return "answers"
    listed = "".join(f"\n  {name}: {about}" for name, about in FORMS.items())
    names = ", ".join(map(repr, first)) or "none"
    raise DatasetError(f"no form of answers has the keys {names[:200]}. The forms are:{listed}", line=1)


def _refuse_what_is_not_there(path: Path) -> None:
    open_dataset(path)[0].close()
