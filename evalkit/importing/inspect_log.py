"""Logs of inspect: ``.eval``, a zip with a file for each sample, and ``.json``, one object."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.conversation import ToolCall
from evalkit.datasets.field_checks import label_in, list_in, object_in, text_in, within
from evalkit.errors import DatasetError, Failure
from evalkit.importing import chat_messages
from evalkit.importing.imported_answer import ImportedAnswer, Source, score_of
from evalkit.importing.json_lines import parsed
from evalkit.importing.log_zip import LogZip
from evalkit.record import Answer, Score, Usage

_HEADERS = ("header.json", "_journal/start.json")  # the second of a log whose run did not end
LARGEST_LOG = 256_000_000  # bytes of a log in JSON, and of each file of an .eval log
_ATTACHMENT = re.compile(r"attachment://([0-9a-f]{32})")
_FINISH = {"max_tokens": "length", "model_length": "length", "unknown": None}
_LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}  # correct, partial, incorrect, no answer
_WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?")
_CHANGED = ("temperature", "top_p", "max_tokens", "seed", "reasoning_effort")


def read(path: Path, score: str | None = None) -> Source:
    """A log; ``score`` names a scorer, with ``.KEY`` a value of one that gives several; None: the first."""
    if path.suffix == ".json":
        log = object_in(_whole_file(path))
        samples = log.get("samples")
        if not isinstance(samples, list) or not samples:
            raise DatasetError("is missing or empty: the log has no samples", field="samples")
        return _source(log, score, lambda: iter((number, None, each) for number, each in enumerate(samples)))
    log_zip = LogZip(path, largest=LARGEST_LOG)
    header = next((name for name in _HEADERS if name in log_zip.names), None)
    if header is None:
        raise DatasetError("holds neither header.json nor _journal/start.json: it is not a log of inspect")
    log = object_in(_entry(log_zip, header))
    return _source(log, score, lambda: _entries(log_zip))


def _source(log: Mapping[str, Any], score: str | None, samples: Any) -> Source:
    about, results = _object(log.get("eval")), _object(log.get("results"))
    if not about:
        raise DatasetError("is missing: this is not a log of inspect", field="eval")
    config = _object(about.get("model_generate_config"))
    source = Source(
        "inspect",
        lambda: iter(()),
        model=about["model"] if isinstance(about.get("model"), str) else None,
        base_url=about["model_base_url"] if isinstance(about.get("model_base_url"), str) else None,
        params={name: config[name] for name in _CHANGED if config.get(name) is not None},
        about={key: about[name] for key, name in (("task", "task"), ("date", "created")) if name in about},
        scorer=score or _headline(results),
    )
    if isinstance(log.get("status"), str):
        source.about["status"] = log["status"]
    source.answers = lambda: _answers(samples(), source)
    return source


def _object(value: Any) -> dict[str, Any]:
    """The value, if it is an object; logs of runs that did not end lack some."""
    return value if isinstance(value, dict) else {}


def _headline(results: Mapping[str, Any]) -> str | None:
    """The scorer whose accuracy inspect shows first."""
    headline, scores = results.get("headline"), results.get("scores")
    if isinstance(headline, dict) and isinstance(headline.get("score"), str):
        return str(headline["score"])
    names = [each.get("name") for each in scores if isinstance(each, dict)] if isinstance(scores, list) else []
    return next((name for name in names if isinstance(name, str)), None)


def _answers(samples: Iterator[tuple[int, str | None, Any]], source: Source) -> Iterator[ImportedAnswer]:
    for number, entry, sample in samples:
        place = f"samples[{number}]" if entry is None else entry
        try:
            yield _answer(object_in(sample), source, place)
        except DatasetError as error:
            raise within(place, error) from None


def _answer(sample: Mapping[str, Any], source: Source, place: str) -> ImportedAnswer:
    try:
        name = label_in(sample.get("id"))
    except DatasetError as error:
        raise within("id", error) from None
    epoch = sample.get("epoch", 1)
    if type(epoch) is not int or not 1 <= epoch <= 1_000_000:
        raise DatasetError("must be a whole number, 1 or more", field="epoch")
    messages = _messages(sample, source)
    target = sample.get("target")
    row = chat_messages.row_of(name, messages, None if target in ("", []) else target)
    failure = _failure(sample.get("error"))
    answer, usage = (None, None) if failure else _output(sample, source)
    return ImportedAnswer(
        name, row, answer, failure, repeat=epoch, exchange=() if failure else chat_messages.exchange_of(messages),
        usage=usage, score=None if failure else _score(sample, source), place=place,
    )  # fmt: skip


def _messages(sample: Mapping[str, Any], source: Source) -> list[dict[str, Any]]:
    """The messages of a sample as chat messages; those of its input if it ended before any was recorded."""
    found = sample.get("messages") or sample.get("input")
    if isinstance(found, str):
        found = [{"role": "user", "content": found}]
    texts = _object(sample.get("attachments"))
    messages = []
    for number, value in enumerate(_as_list(found, "messages")):
        try:
            messages.append(_message(object_in(value), texts, source))
        except DatasetError as error:
            raise within(f"messages[{number}]", error) from None
    return messages


def _as_list(value: Any, field: str) -> list[Any]:
    try:
        return list_in(value, "a text or a list of messages")
    except DatasetError as error:
        raise within(field, error) from None


def _message(value: Mapping[str, Any], texts: Mapping[str, Any], source: Source) -> dict[str, Any]:
    content = value.get("content")
    if type(content) is str and "tool_calls" not in value and "tool_call_id" not in value:  # the usual case
        return {"role": value.get("role"), "content": _attached(content, texts)}
    text, _ = chat_messages.text_and_reasoning(value.get("content"), source.notes)
    message: dict[str, Any] = {"role": value.get("role"), "content": _attached(text, texts)}
    if isinstance(value.get("tool_calls"), list):
        message["tool_calls"] = [_call(object_in(call), texts) for call in value["tool_calls"]]
        if not message["tool_calls"]:
            del message["tool_calls"]
    if isinstance(value.get("tool_call_id"), str):
        message["tool_call_id"] = value["tool_call_id"]
    return message


def _call(call: Mapping[str, Any], texts: Mapping[str, Any]) -> dict[str, Any]:
    arguments = call.get("arguments", {})
    if isinstance(arguments, dict):
        arguments = {
            key: _attached(value, texts) if isinstance(value, str) else value for key, value in arguments.items()
        }
    return chat_messages.call_of(text_in(call.get("function")), arguments, call.get("id"))


def _attached(text: str, texts: Mapping[str, Any]) -> str:
    """The text with its attachments, which a log stores once."""
    if "attachment://" not in text:
        return text
    return _ATTACHMENT.sub(lambda found: str(texts.get(found[1], found[0])), text)


def _failure(error: Any) -> Failure | None:
    if error is None:
        return None
    message = error.get("message") if isinstance(error, dict) else None
    text = message[:2_000] if isinstance(message, str) and message else "the sample ended with an error"
    return Failure("cancelled" if text.startswith("CancelledError") else "server", text)


def _output(sample: Mapping[str, Any], source: Source) -> tuple[Answer, Usage | None]:
    output = sample.get("output")
    if not isinstance(output, dict):
        raise DatasetError("must be an object, the output of the model", field="output")
    choices = output.get("choices")
    usage = _usage(output.get("usage"))
    if not isinstance(choices, list) or not choices:
        completion = output.get("completion")
        return Answer(completion if isinstance(completion, str) else ""), usage
    if len(choices) > 1:
        source.notes["samples have several answers: only the first is stored"] += 1
    try:
        choice = object_in(choices[0])
        value = object_in(choice.get("message"))
        text, reasoning = chat_messages.text_and_reasoning(value.get("content"), source.notes)
        texts = _object(sample.get("attachments"))
        calls = tuple(ToolCall.from_json(_call(object_in(call), texts)) for call in value.get("tool_calls") or ())
    except DatasetError as error:
        raise within("output.choices[0]", error) from None
    reason = choice.get("stop_reason")
    finish = _FINISH.get(reason, reason) if isinstance(reason, str) else None
    return Answer(_attached(text, texts), reasoning, None, calls, finish), usage


def _usage(value: Any) -> Usage | None:
    if not isinstance(value, dict):
        return None
    names = ("input_tokens", "output_tokens", "reasoning_tokens", "input_tokens_cache_read", "input_tokens_cache_write")
    usage = Usage(*(_count(value.get(name)) for name in names))
    if usage.prompt_tokens is None:
        return usage
    # inspect's input leaves out what was read from the cache or written to it; in older logs of several providers and
    # of evalkit it does not, and their total is input and output alone
    cached = (usage.cached_tokens or 0) + (usage.cache_write_tokens or 0)
    total = _count(value.get("total_tokens"))
    if total == usage.prompt_tokens + (usage.output_tokens or 0) and cached <= usage.prompt_tokens:
        return usage
    return usage._replace(prompt_tokens=usage.prompt_tokens + cached)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None


def _score(sample: Mapping[str, Any], source: Source) -> Score | None:
    found = dict(_scores(sample.get("scores")))
    for name in found:
        source.scorers[name] += 1
    if source.scorer is None and found:
        source.scorer = next(iter(found))
    if source.scorer not in found:
        return None
    value, about = found[source.scorer]
    reason = about.get("explanation")
    score = score_of(source.scorer, _number(value), about.get("answer"), reason if isinstance(reason, str) else None)
    if score.value is None:
        source.notes[f"samples have no score of {source.scorer} from 0 to 1"] += 1
    return score


def _scores(scores: Any) -> Iterator[tuple[str, tuple[Any, Mapping[str, Any]]]]:
    """The scores of a sample by name; a scorer with several values gives one for each, ``SCORER.KEY``."""
    for name, about in scores.items() if isinstance(scores, dict) else ():
        if isinstance(about, dict):
            value = about.get("value")
            yield name, (value, about)
            if type(value) is dict:
                for key, part in value.items():
                    yield f"{name}.{key}", (part, about)


def _number(value: Any) -> Any:
    """A value as a number, as inspect's metric ``accuracy`` counts it."""
    if not isinstance(value, str):
        return value
    known = _LETTERS.get(value, _WORDS.get(value.lower()))
    if known is not None:
        return known
    return float(value) if _NUMBER.fullmatch(value) else value


def _whole_file(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_LOG + 1)
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror}") from None
    if len(data) > LARGEST_LOG:
        raise DatasetError(
            f"a log in JSON can have at most {LARGEST_LOG:,} bytes: make it an .eval file, with "
            "'inspect log convert --to eval'"
        )
    return parsed(data.removeprefix(codecs.BOM_UTF8))


def _entry(log_zip: LogZip, name: str) -> Any:
    """A file of the zip as JSON."""
    raw = log_zip.read(name)
    if len(raw) > LARGEST_LOG:
        raise DatasetError(f"has more than {LARGEST_LOG:,} bytes", field=name)
    try:
        return parsed(raw)
    except DatasetError as error:
        raise within(name, error) from None


def _entries(log_zip: LogZip) -> Iterator[tuple[int, str | None, Any]]:
    samples = [name for name in log_zip.names if name.startswith("samples/") and name.endswith(".json")]
    if not samples:
        raise DatasetError("holds no samples")
    with log_zip:
        for number, name in enumerate(samples):
            yield number, name, _entry(log_zip, name)
