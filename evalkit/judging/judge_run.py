"""What a judge is asked is a run like any other: a dataset and a run file beside what is judged, then read.

So a judge's answers are kept before they are used, timed, and paid for once: a prompt that this judge has answered in
any of these files, in the same words and with the same parameters, is not sent again, whatever else was asked with it.
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
from evalkit.errors import EndpointError, SettingsError
from evalkit.evaluation import converse, evaluate, resume
from evalkit.judging.reply import read_ruling
from evalkit.judging.rubric import Rubric
from evalkit.run import Run
from evalkit.runfile import schema, store, trusted_endpoint
from evalkit.runfile.file_names import shortened
from evalkit.runfile.store import SUFFIX
from evalkit.settings import Settings

# of a judge's answer, tried in this order: held to a JSON schema that bounds the reason, to one that does not (some
# endpoints refuse the bound), or only asked for
FORMS = ("bounded", "json", "plain")
_HEARD = """
    SELECT status, answer, refusal, finish_reason, error_kind, error_message FROM turn WHERE conversation = ?"""
# what the end of a session cut off was not asked yet
_ASKED = f"""
    SELECT c.row, c.position, t.status = 'answered' FROM turn t JOIN conversation c ON c.position = t.conversation
    WHERE NOT {schema.INTERRUPTED} ORDER BY c.position"""  # noqa: S608 - SQL of our own


class Case(NamedTuple):
    """Something to judge: its id, the content of the rubric's fields, and its cluster for statistics."""

    id: str
    material: Mapping[str, str]
    group: str | None = None


class Heard(NamedTuple):
    """What a judge said of a case.

    Parameters
    ----------
    case : str
        The case's id.
    choice : str or None
        None: ``reason`` says why there is none.
    reason : str or None
    failed : bool
        The call failed, so that the judge said nothing.
    """

    case: str
    choice: str | None
    reason: str | None
    failed: bool = False


class _Place(NamedTuple):
    """Where a prompt was asked: the run file, and the place in it."""

    path: Path
    position: int
    answered: bool


@dataclass(frozen=True, slots=True)
class Hearing:
    """Cases as they were put to a judge.

    Parameters
    ----------
    path : Path
        The newest of the judge's run files that have their prompts; its dataset lies beside it.
    form : str
        How the answers were held to their form: one of ``FORMS``.
    stopped : bool
        Asking was stopped by hand: there are cases that were not put to the judge.
    """

    path: Path
    form: str
    stopped: bool
    _prompts: Callable[[], Iterator[tuple[str, bytes]]] = field(repr=False)  # of each case: its id, its prompt's key
    _places: Mapping[bytes, _Place] = field(repr=False)

    def answered(self) -> int:
        """How many cases the judge has answered."""
        return sum(prompt in self._places and self._places[prompt].answered for _, prompt in self._prompts())

    def heard(self, rubric: Rubric) -> Iterator[Heard]:
        """What the judge said of every case that was put to it, in their order."""
        with contextlib.ExitStack() as stack:
            opened = {
                path: stack.enter_context(store.reading(path))
                for path in {place.path for place in self._places.values()}
            }
            for case, prompt in self._prompts():
                place = self._places.get(prompt)
                if place is None:
                    continue
                status, answer, refusal, finish, kind, message = (
                    opened[place.path].execute(_HEARD, (place.position,)).fetchone()
                )
                if status == "answered":
                    yield Heard(case, *read_ruling(answer or refusal or "", rubric.choices, finish))
                else:
                    yield Heard(case, None, f"the judge's call failed: {kind}: {message}", failed=True)


def hold(
    stem: Path,
    cases: Callable[[], Iterator[Case]],
    rubric: Rubric,
    endpoint: Endpoint,
    *,
    nothing: str = "there is nothing to judge",
    concurrency: int = 4,
    stream: bool = True,
    watch: Watcher | None = None,
) -> Hearing:
    """Put cases to a judge: those whose prompts it has not answered yet.

    An earlier run of the judge that was broken off, all of whose open prompts are wanted now, is gone on with. What is
    left then is a new run. A prompt that several cases share is asked once.

    Parameters
    ----------
    stem : Path
        The judge's files are ``STEM.judge-N.jsonl`` and ``STEM.judge-N.evalkit``.
    cases : callable
        Gives all the cases, each time it is called.
    rubric : Rubric
    endpoint : Endpoint
        The judge. It is asked at temperature 0, unless its parameters say another.
    nothing : str
        What to say when there is no case.
    concurrency : int
        Cases at once.
    stream : bool
        Ask for streams.
    watch : callable, optional
        Called with the ``Progress`` about ten times a second; when it returns ``True`` asking ends, and what was asked
        is the hearing, which says that it was ``stopped``.

    Raises
    ------
    SettingsError
        There is nothing to judge, or a concurrency that cannot be.
    EndpointError
        The judge cannot be used.
    RunFileError
        The judge's run file cannot be used, or is being written.
    """
    Settings(concurrency=concurrency)  # refuses one that cannot be, before anything is written or asked
    if "temperature" not in endpoint.params:
        endpoint = endpoint.with_params(temperature=0)
    if next(cases(), None) is None:
        raise SettingsError(nothing)
    stem = stem.with_name(shortened(stem.name))
    files = _files(stem, endpoint)
    places = _places(files)
    form = _form_before(cases, rubric, places) or _form(rubric, endpoint, stream=stream)

    def prompts() -> Iterator[tuple[str, bytes]]:
        return ((case.id, _key(_conversation(case, rubric, form).to_json())) for case in cases())

    missing = {prompt for _, prompt in prompts() if prompt not in places or not places[prompt].answered}
    asked, stopped = None, False
    for path in files:
        pending = _pending(path, places)
        if stopped or not pending or not pending <= missing:
            continue
        stopped = resume(path, endpoint=endpoint, watch=watch).outcome == "stopped"
        asked, missing = path, missing - pending
    if missing and not stopped:
        data = _dataset(stem, cases, rubric, form, missing)
        asked = data.with_suffix(SUFFIX)
        files.append(asked)
        done = evaluate(data, endpoint, out=asked, concurrency=concurrency, stream=stream, watch=watch)
        stopped = done.outcome == "stopped"
    if asked is not None:
        places = _places(files)
    used = {places[prompt].path for _, prompt in prompts() if prompt in places}
    return Hearing(max(used, key=files.index) if used else asked or files[-1], form, stopped, prompts, places)


def _key(row: Mapping[str, object]) -> bytes:
    """What a prompt is known by: all that is sent of a row, and not whose it is."""
    sent = {name: value for name, value in row.items() if name not in ("id", "group")}
    return hashlib.blake2b(canonical(sent), digest_size=16).digest()


def _places(files: Sequence[Path]) -> dict[bytes, _Place]:
    """Key of every prompt that was asked to its place: the first that has an answer, else the last."""
    places: dict[bytes, _Place] = {}
    for path in files:
        with store.reading(path) as connection:
            for row, position, answered in connection.execute(_ASKED):
                prompt = _key(orjson.loads(row))
                if prompt not in places or not places[prompt].answered:
                    places[prompt] = _Place(path, position, bool(answered))
    return places


def _pending(path: Path, places: Mapping[bytes, _Place]) -> set[bytes]:
    """Prompts of a run's dataset that have no answer; none, when the dataset is gone."""
    try:
        with path.with_suffix(".jsonl").open("rb") as rows:
            prompts = {_key(orjson.loads(row)) for row in rows}
    except (OSError, ValueError):
        return set()
    return {prompt for prompt in prompts if prompt not in places or not places[prompt].answered}


def _form_before(cases: Callable[[], Iterator[Case]], rubric: Rubric, places: Mapping[bytes, _Place]) -> str | None:
    """The form in which some of the cases were put to the judge before."""
    for form in FORMS if places else ():
        if any(_key(_conversation(case, rubric, form).to_json()) in places for case in cases()):
            return form
    return None


def _dataset(stem: Path, cases: Callable[[], Iterator[Case]], rubric: Rubric, form: str, wanted: set[bytes]) -> Path:
    """A new dataset of these prompts, each once."""
    left = set(wanted)
    with _draft(stem) as draft:
        with draft.open("wb") as file:
            for case in cases():
                row = _conversation(case, rubric, form).to_json()
                prompt = _key(row)
                if prompt in left:
                    left.remove(prompt)
                    # in the order of the fields: a judge held to a schema fills them in as they stand, the reason first
                    file.write(orjson.dumps(row) + b"\n")
        data = _reserved(stem)
        draft.replace(data)
    return data


@contextlib.contextmanager
def _draft(stem: Path) -> Iterator[Path]:
    """Where a dataset may be written that is not yet known to be new."""
    draft = stem.with_name(f".judge-draft-{os.getpid()}-{threading.get_ident()}.jsonl")
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        yield draft
    except OSError as error:
        raise SettingsError(f"the judge's files beside {stem} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _conversation(case: Case, rubric: Rubric, form: str) -> Conversation:
    as_json = form != "plain"
    params = {"response_format": rubric.response_format(bounded=form == "bounded")} if as_json else {}
    turn = Turn(rubric.prompt(case.material, as_json=as_json))
    return Conversation(case.id, (turn,), params=params, group=case.group)


def _form(rubric: Rubric, endpoint: Endpoint, *, stream: bool) -> str:
    """The first form that the endpoint does not refuse, asked of something that is not to be judged."""
    probe = Case("probe", dict.fromkeys(rubric.fields, "one"))
    for form in FORMS[:-1]:
        (record,) = converse(_conversation(probe, rubric, form), endpoint, stream=stream)
        failure = record.failure
        if failure is not None and failure.kind in LASTING:
            raise EndpointError(f"The judge cannot be asked ({failure.kind}). {failure.message}")
        if failure is None or failure.kind != "bad_request":
            return form
    return FORMS[-1]


def _files(stem: Path, endpoint: Endpoint) -> list[Path]:
    """The run files of this judge, oldest first."""
    pattern = re.compile(rf"{re.escape(stem.name)}\.judge-(\d+){re.escape(SUFFIX)}")
    beside = stem.parent.iterdir() if stem.parent.is_dir() else ()
    numbered = [(int(found[1]), path) for path in beside if (found := pattern.fullmatch(path.name))]
    return [path for _, path in sorted(numbered) if who(path) == _judge(endpoint)]


def who(path: Path) -> tuple[str | None, str, bytes]:
    """What a judge is known by, of one of its run files: its address, model and parameters."""
    return _judge(trusted_endpoint.stored_endpoint(path, Run(path).info["endpoint"]))


def _judge(endpoint: Endpoint) -> tuple[str | None, str, bytes]:
    # the port of the embedded one is another each time
    where = None if endpoint.source == "embedded" else endpoint.base_url
    return where, endpoint.model, canonical(dict(endpoint.params))


def _reserved(stem: Path) -> Path:
    """A free name for a judge's dataset, which no other process can take any more."""
    for number in count(1):
        data = stem.with_name(f"{stem.name}.judge-{number}.jsonl")
        if not data.with_suffix(SUFFIX).exists():
            with contextlib.suppress(FileExistsError):
                data.touch(exist_ok=False)
                return data
    raise AssertionError("numbers do not end")


def stem_of(run: Path) -> Path:
    """Of a judged run file, what the names of its judges' files begin with."""
    return run.with_suffix("") if run.suffix == SUFFIX else run
