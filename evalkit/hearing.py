"""What a judge is asked is a run like any other: a dataset and a run file beside what is judged, then read.

So a judge's answers are kept before they are used, timed, and paid for once: what a judge was asked already, in the
same words and with the same parameters, is not asked again.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple

import orjson

from evalkit import store
from evalkit.conversation import Conversation, Turn
from evalkit.endpoint import Endpoint
from evalkit.errors import EndpointError, SettingsError
from evalkit.evaluation import Watcher, converse, evaluate, resume
from evalkit.filenames import cut
from evalkit.rubric import Rubric
from evalkit.ruling import read_ruling
from evalkit.run import Run
from evalkit.settings import Settings
from evalkit.store import SUFFIX
from evalkit.surrender import LASTING

# of a judge's answer, tried in this order: held to a JSON schema that bounds the reason, to one that does not (some
# endpoints refuse the bound), or only asked for
FORMS = ("bounded", "json", "plain")
_HEARD = """
    SELECT c.id, t.status, t.answer, t.refusal, t.finish_reason, t.error_kind, t.error_message
    FROM turn t JOIN conversation c ON c.position = t.conversation ORDER BY t.conversation"""


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


@dataclass(frozen=True, slots=True)
class Hearing:
    """Cases as they were put to a judge.

    Parameters
    ----------
    path : Path
        The judge's run file; its dataset lies beside it.
    form : str
        How the answers were held to their form: one of ``FORMS``.
    """

    path: Path
    form: str

    def answered(self) -> int:
        """How many cases the judge has answered."""
        with store.reading(self.path) as connection:
            return int(connection.execute("SELECT count(*) FROM turn WHERE status = 'answered'").fetchone()[0])

    def heard(self, rubric: Rubric) -> Iterator[Heard]:
        """What the judge said of every case, in their order."""
        with store.reading(self.path) as connection:
            for case, status, answer, refusal, finish, kind, message in connection.execute(_HEARD):
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
    """Put cases to a judge, or go on where that was broken off.

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
        Called with the ``Progress`` about ten times a second.

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
    stem = stem.with_name(cut(stem.name))
    with _draft(stem) as draft:
        before = _held_before(stem, draft, cases, rubric, endpoint)
        if before is None:
            form = _form(rubric, endpoint, stream=stream)
            _write(draft, cases(), rubric, form)
            data = _reserved(stem)
            draft.replace(data)
    if before is None:
        path = data.with_suffix(SUFFIX)
        evaluate(data, endpoint, out=path, concurrency=concurrency, stream=stream, watch=watch)
        return Hearing(path, form)
    if before.answered() != Run(before.path).planned:
        resume(before.path, endpoint=endpoint, watch=watch)
    return before


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


def _write(path: Path, cases: Iterator[Case], rubric: Rubric, form: str) -> None:
    """The judge's dataset."""
    with path.open("wb") as file:
        for case in cases:
            # in the order of the fields: a judge held to a schema fills them in as they stand, the reason first
            file.write(orjson.dumps(_conversation(case, rubric, form).to_json()) + b"\n")


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


def _held_before(
    stem: Path, draft: Path, cases: Callable[[], Iterator[Case]], rubric: Rubric, endpoint: Endpoint
) -> Hearing | None:
    """The hearing in which the same was put to the same judge."""
    of_judge = [path for path in _datasets(stem) if _same_judge(path.with_suffix(SUFFIX), endpoint)]
    for form in FORMS if of_judge else ():
        _write(draft, cases(), rubric, form)
        for data in of_judge:
            if filecmp.cmp(data, draft, shallow=False):
                return Hearing(data.with_suffix(SUFFIX), form)
    return None


def _same_judge(path: Path, endpoint: Endpoint) -> bool:
    if not path.exists():  # it was stopped before anything was asked
        return False
    kept = Endpoint.from_json(Run(path).info["endpoint"])
    same_place = kept.base_url == endpoint.base_url or kept.source == endpoint.source == "embedded"
    return same_place and kept.model == endpoint.model and kept.params == endpoint.params


def _datasets(stem: Path) -> list[Path]:
    pattern = re.compile(rf"{re.escape(stem.name)}\.judge-(\d+)\.jsonl")
    numbered = [(int(found[1]), path) for path in stem.parent.iterdir() if (found := pattern.fullmatch(path.name))]
    return [path for _, path in sorted(numbered)]


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
