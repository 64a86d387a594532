"""A judge's calls as a run of their own: a dataset and a run file next to the judged run.

So a judge's answers are stored before they are used, timed, and paid for once: a prompt that the same judge has
answered in any of these files, with the same text and parameters, is not sent again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple

import orjson

from evalkit.conversation import Conversation, Turn, canonical
from evalkit.endpoint import Endpoint
from evalkit.engine.session_thread import Watcher
from evalkit.engine.stopping.giving_up import LASTING
from evalkit.errors import REFUSED_PARAMETER, EndpointError, Failure, SettingsError
from evalkit.evaluation import converse, evaluate, resume
from evalkit.judging.cases import Case
from evalkit.judging.reply import read_reply
from evalkit.judging.rubric import Rubric
from evalkit.run import Run
from evalkit.runfile import schema, store, trusted_endpoint
from evalkit.runfile.file_names import shortened
from evalkit.runfile.store import SUFFIX
from evalkit.settings import Settings

# forms of a judge's answer, tried in this order: by a JSON schema that limits the reason, by one that does not (some
# endpoints refuse the limit), or by the prompt alone
FORMS = ("bounded", "json", "plain")
_TURN_OF_PROMPT = """
    SELECT status, answer, refusal, finish_reason, error_kind, error_message FROM turn WHERE conversation = ?"""
# a turn that the end of a session cut off counts as not sent
_SENT_PROMPTS = f"""
    SELECT c.row, c.position, t.status = 'answered' FROM turn t JOIN conversation c ON c.position = t.conversation
    WHERE NOT {schema.INTERRUPTED} ORDER BY c.position"""  # noqa: S608 - SQL of our own


class Decision(NamedTuple):
    """A judge's decision on a case.

    Parameters
    ----------
    case : str
        The case's id.
    choice : str or None
        None if there is none; ``reason`` says why.
    reason : str or None
    failed : bool
        The call failed, so there is no reply.
    """

    case: str
    choice: str | None
    reason: str | None
    failed: bool = False


class _SentPrompt(NamedTuple):
    """Where a prompt was sent: the run file, and the position in it."""

    path: Path
    position: int
    answered: bool


@dataclass(frozen=True, slots=True)
class JudgeRun:
    """Cases that were sent to a judge.

    Parameters
    ----------
    path : Path
        The newest of the judge's run files that contain their prompts; its dataset is next to it.
    form : str
        How the form of the answers was enforced: one of ``FORMS``.
    stopped : bool
        The user stopped it: some cases were not sent to the judge.
    temperature_refused : bool
        It refuses temperature 0 and runs at its own.
    """

    path: Path
    form: str
    stopped: bool
    temperature_refused: bool
    _prompts: Callable[[], Iterator[tuple[str, bytes]]] = field(repr=False)  # id and prompt key of each case
    _sent: Mapping[bytes, _SentPrompt] = field(repr=False)

    def answered(self) -> int:
        """How many cases the judge has answered."""
        return sum(prompt in self._sent and self._sent[prompt].answered for _, prompt in self._prompts())

    def decisions(self, rubric: Rubric) -> Iterator[Decision]:
        """The judge's decision on every case that was sent, in the order of the cases."""
        with contextlib.ExitStack() as stack:
            opened = {
                path: stack.enter_context(store.reading(path))
                for path in {prompt.path for prompt in self._sent.values()}
            }
            for case, prompt in self._prompts():
                sent = self._sent.get(prompt)
                if sent is None:
                    continue
                status, answer, refusal, finish, kind, message = (
                    opened[sent.path].execute(_TURN_OF_PROMPT, (sent.position,)).fetchone()
                )
                if status == "answered":
                    yield Decision(case, *read_reply(answer or refusal or "", rubric.choices, finish))
                else:
                    yield Decision(case, None, f"the judge's call failed: {kind}: {message}", failed=True)


def judge_cases(
    stem: Path,
    cases: Callable[[], Iterator[Case]],
    rubric: Rubric,
    endpoint: Endpoint,
    *,
    nothing: str = "there is nothing to judge",
    concurrency: int = 4,
    stream: bool = True,
    watch: Watcher | None = None,
) -> JudgeRun:
    """Send cases to a judge: those whose prompts it has not answered yet.

    An interrupted run of the judge is resumed if all its unanswered prompts are needed now. The remaining prompts are a
    new run. A prompt that several cases share is sent once.

    Parameters
    ----------
    stem : Path
        The judge's files are ``STEM.judge-N.jsonl`` and ``STEM.judge-N.evalkit``.
    cases : callable
        Returns all the cases each time it is called.
    rubric : Rubric
    endpoint : Endpoint
        The judge, at temperature 0 unless its parameters set another (None: at its own) or it refuses that.
    nothing : str
        The message of the error if there is no case.
    concurrency : int
        Cases in parallel.
    stream : bool
        Request streams.
    watch : callable, optional
        Called with the ``Progress`` about ten times a second. If it returns ``True`` no further case is sent, and the
        result is ``stopped``.

    Raises
    ------
    SettingsError
        There is nothing to judge, or ``concurrency`` is out of range.
    EndpointError
        The judge cannot be used.
    RunFileError
        The judge's run file cannot be used, or is being written.
    """
    Settings(concurrency=concurrency)  # checks it before anything is written or sent
    set_here = "temperature" not in endpoint.params
    if set_here:
        endpoint = endpoint.with_params(temperature=0)
    if next(cases(), None) is None:
        raise SettingsError(nothing)
    stem = stem.with_name(shortened(stem.name))
    files = _files(stem, endpoint)
    if set_here and not files and (found := _files(stem, _at_own_temperature(endpoint))):
        endpoint, files = _at_own_temperature(endpoint), found
    sent = _sent_prompts(files)
    form = _form_before(cases, rubric, sent)
    if form is None:
        form, endpoint = _form(rubric, endpoint, stream=stream, set_here=set_here)
    temperature_refused = set_here and endpoint.params["temperature"] is None

    def prompts() -> Iterator[tuple[str, bytes]]:
        return ((case.id, _key(_conversation(case, rubric, form).to_json())) for case in cases())

    missing = {prompt for _, prompt in prompts() if prompt not in sent or not sent[prompt].answered}
    used, stopped = None, False
    for path in files:
        pending = _pending(path, sent)
        if stopped or not pending or not pending <= missing:
            continue
        stopped = resume(path, endpoint=endpoint, watch=watch).outcome == "stopped"
        used, missing = path, missing - pending
    if missing and not stopped:
        data = _dataset(stem, cases, rubric, form, missing)
        used = data.with_suffix(SUFFIX)
        files.append(used)
        run = evaluate(data, endpoint, out=used, concurrency=concurrency, stream=stream, watch=watch)
        stopped = run.outcome == "stopped"
    if used is not None:
        sent = _sent_prompts(files)
    paths = {sent[prompt].path for _, prompt in prompts() if prompt in sent}
    newest = max(paths, key=files.index) if paths else used or files[-1]
    return JudgeRun(newest, form, stopped, temperature_refused, prompts, sent)


def _key(row: Mapping[str, object]) -> bytes:
    """A hash of all that is sent of a row, so without its id and group."""
    body = {name: value for name, value in row.items() if name not in ("id", "group")}
    return hashlib.blake2b(canonical(body), digest_size=16).digest()


def _sent_prompts(files: Sequence[Path]) -> dict[bytes, _SentPrompt]:
    """Where each prompt was sent, by its key: the first place with an answer, else the last."""
    sent: dict[bytes, _SentPrompt] = {}
    for path in files:
        with store.reading(path) as connection:
            for row, position, answered in connection.execute(_SENT_PROMPTS):
                prompt = _key(orjson.loads(row))
                if prompt not in sent or not sent[prompt].answered:
                    sent[prompt] = _SentPrompt(path, position, bool(answered))
    return sent


def _pending(path: Path, sent: Mapping[bytes, _SentPrompt]) -> set[bytes]:
    """Prompts of a run's dataset that have no answer; empty if the dataset does not exist any more."""
    try:
        with path.with_suffix(".jsonl").open("rb") as rows:
            prompts = {_key(orjson.loads(row)) for row in rows}
    except (OSError, ValueError):
        return set()
    return {prompt for prompt in prompts if prompt not in sent or not sent[prompt].answered}


def _form_before(cases: Callable[[], Iterator[Case]], rubric: Rubric, sent: Mapping[bytes, _SentPrompt]) -> str | None:
    """The form in which some of the cases were sent before."""
    for form in FORMS if sent else ():
        if any(_key(_conversation(case, rubric, form).to_json()) in sent for case in cases()):
            return form
    return None


def _dataset(stem: Path, cases: Callable[[], Iterator[Case]], rubric: Rubric, form: str, prompts: set[bytes]) -> Path:
    """Write a new dataset of these prompts, each once."""
    left = set(prompts)
    with _draft(stem) as draft:
        with draft.open("wb") as file:
            for case in cases():
                row = _conversation(case, rubric, form).to_json()
                prompt = _key(row)
                if prompt in left:
                    left.remove(prompt)
                    # keys keep their order: a judge bound to a schema fills the fields in its order, the reason first
                    file.write(orjson.dumps(row) + b"\n")
        data = _reserved(stem)
        draft.replace(data)
    return data


@contextlib.contextmanager
def _draft(stem: Path) -> Iterator[Path]:
    """A temporary file for a dataset that has no number yet."""
    draft = stem.with_name(f".judge-draft-{os.getpid()}-{threading.get_ident()}.jsonl")
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        yield draft
    except OSError as error:
        raise SettingsError(f"the judge's files next to {stem} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _conversation(case: Case, rubric: Rubric, form: str) -> Conversation:
    as_json = form != "plain"
    params = {"response_format": rubric.response_format(bounded=form == "bounded")} if as_json else {}
    turn = Turn(rubric.prompt(case.material, as_json=as_json))
    return Conversation(case.id, (turn,), params=params, group=case.group)


def _form(rubric: Rubric, endpoint: Endpoint, *, stream: bool, set_here: bool) -> tuple[str, Endpoint]:
    """The first form that the endpoint does not refuse, tried with a probe; and the endpoint as it is to be used.

    A temperature that evalkit has set itself (``set_here``) is left out if the endpoint refuses it, or refuses a probe
    without a known cause and answers it without.
    """
    for form in FORMS[:-1]:
        failure = _probe(rubric, form, endpoint, stream)
        if set_here and failure is not None and failure.kind == "bad_request":
            named = failure.refused == REFUSED_PARAMETER and "temperature" in failure.message
            if named or failure.refused is None:
                without = _at_own_temperature(endpoint)
                second = _probe(rubric, form, without, stream)
                if named or second is None:
                    endpoint, failure, set_here = without, second, False
        if failure is None or failure.kind != "bad_request":
            return form, endpoint
    return FORMS[-1], endpoint


def _probe(rubric: Rubric, form: str, endpoint: Endpoint, stream: bool) -> Failure | None:
    probe = Case("probe", dict.fromkeys(rubric.fields, "one"))
    (record,) = converse(_conversation(probe, rubric, form), endpoint, stream=stream)
    failure = record.failure
    if failure is not None and failure.kind in LASTING:
        raise EndpointError(f"The judge cannot be used ({failure.kind}). {failure.message}")
    return failure


def _at_own_temperature(endpoint: Endpoint) -> Endpoint:
    return endpoint.with_params(temperature=None)


def _files(stem: Path, endpoint: Endpoint) -> list[Path]:
    """The run files of this judge, oldest first."""
    pattern = re.compile(rf"{re.escape(stem.name)}\.judge-(\d+){re.escape(SUFFIX)}")
    siblings = stem.parent.iterdir() if stem.parent.is_dir() else ()
    numbered = [(int(found[1]), path) for path in siblings if (found := pattern.fullmatch(path.name))]
    return [path for _, path in sorted(numbered) if judge_of(path) == _identity(endpoint)]


def judge_of(path: Path) -> tuple[str | None, str, bytes]:
    """The identity of the judge of a run file: its address, model, parameters and headers."""
    return _identity(trusted_endpoint.stored_endpoint(path, Run(path).info["endpoint"]))


def _identity(endpoint: Endpoint) -> tuple[str | None, str, bytes]:
    # the embedded endpoint has another port each time
    address = None if endpoint.source == "embedded" else endpoint.base_url
    headers = {name.lower(): value for name, value in endpoint.headers.items()}
    secret = sorted(map(str.lower, endpoint.headers_env))
    return address, endpoint.model, canonical({"params": dict(endpoint.params), "headers": headers, "secret": secret})


def _reserved(stem: Path) -> Path:
    """Create an empty dataset with the next free number, which no other process can use then."""
    for number in count(1):
        data = stem.with_name(f"{stem.name}.judge-{number}.jsonl")
        if not data.with_suffix(SUFFIX).exists():
            with contextlib.suppress(FileExistsError):
                data.touch(exist_ok=False)
                return data
    raise AssertionError("there is always a next number")


def stem_of(run: Path) -> Path:
    """The common beginning of the names of a judged run's judge files."""
    return run.with_suffix("") if run.suffix == SUFFIX else run
