"""Evaluations: ask a dataset of an endpoint, go on with a run, ask a single conversation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import queue
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from evalkit import __version__
from evalkit.analysis import price_file
from evalkit.client import request_body
from evalkit.client.transport import Transport
from evalkit.conversation import Conversation
from evalkit.endpoint import Endpoint
from evalkit.engine import session_thread
from evalkit.engine.asking import dataset_fingerprint, tool_functions
from evalkit.engine.asking.dialogue import Asker, Dialogue
from evalkit.engine.asking.process import Task
from evalkit.engine.launch import Launched
from evalkit.engine.saving import half_answers, spool
from evalkit.engine.saving.progress import Progress
from evalkit.engine.session_thread import Display, Watcher
from evalkit.errors import RunFileError, SettingsError
from evalkit.process.interrupts import Interrupts
from evalkit.record import TurnRecord
from evalkit.run import Run
from evalkit.runfile import file_names, scorings, store, trusted_endpoint
from evalkit.runfile.store import RunFile
from evalkit.scorers import own_functions, scoring
from evalkit.scorers.own_functions import setting_of
from evalkit.scorers.registry import Scorer
from evalkit.settings import Settings

T = TypeVar("T")


def evaluate(
    data: Path | str,
    endpoint: Endpoint,
    *,
    name: str | None = None,
    out: Path | str | None = None,
    check: bool = True,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    watch: Watcher | str | None = None,
    **settings: Any,
) -> Run:
    """Ask a dataset of an endpoint, score and time every turn, keep all in a run file.

    The work goes on in a thread of its own, so that this can be called in a script and in a notebook alike. An
    interrupt lets what is in flight end for a few seconds, commits it, and raises ``KeyboardInterrupt``; a second one
    ends the asking process at once, a third leaves at once. ``resume`` goes on, and scores what was not scored yet.

    Parameters
    ----------
    data : path-like
        A dataset file; ``datasets`` tells the shapes.
    endpoint : Endpoint
    name : str, optional
        Of the run; the file is ``runs/NAME.evalkit``. Default: dataset, model and time.
    out : path-like, optional
        The run file itself, in place of ``name``.
    check : bool
        Read the whole dataset before the first request.
    functions : mapping, optional
        Function name to Python function, called when the model calls a tool: each call on a thread of its own, 128 at
        a time. Their names and versions belong to the run.
    watch : callable or "widget", optional
        Called with the ``Progress`` about ten times a second; when it returns ``True`` itself the run stops, as for an
        interrupt, and is returned. ``widget``: shown in JupyterLab with a button that stops it, elsewhere now and then
        a line.
    **settings
        Those of ``Settings``: ``history``, ``repeats``, ``concurrency``, ``stream``, ``scorer``, ``rate``,
        ``arrivals``, ``arrivals_seed``, ``rpm``, ``tpm``, ``retries``, ``max_tool_rounds``, ``limit``, ``columns``,
        ``max_tokens_total``, ``max_time_s``, ``max_cost``, ``price``, ``until_ci``. ``scorer`` may also be a
        ``ScorerSpec``, a Python function of the answer's text and the target (``functions``), or a list of such.
        Without a ``price`` it is that of the user's price file, if that is there and has the model.

    Returns
    -------
    Run

    Raises
    ------
    DatasetError, SettingsError, RunFileError
        Bad input; nothing was asked, unless ``check`` is off.
    EndpointError
        No turn was answered and all first ones failed the same way.
    """
    if settings.get("price") is None:
        settings["price"] = price_file.price_if_known(endpoint.model)
    tools = dict(functions or {})
    tool_functions.check(tools)
    asked, known = _settings({**settings, "functions": tool_functions.versions(tools) or None})
    display = _display(watch)
    Transport.check(endpoint)
    request_body.request_body((), model=endpoint.model, stream=asked.stream, params=endpoint.params)
    with Launched() as launched, file_names.new_run_file(data, endpoint.model, name=name, out=out) as path:
        from evalkit.engine import runner  # noqa: F401 - takes as long as the asking process to start: side by side

        with scoring.found_once(known):
            checker = scoring.turn_checker(asked.default_scorer)
            dataset, _ = dataset_fingerprint.of(Path(data), asked, check=check, check_turn=checker)
        with Interrupts() as interrupts:
            runfile = RunFile.create(
                path.absolute(),  # a scorer may change the working folder
                name=name or path.stem,
                settings=asked.to_json(),
                dataset=dataset,
                endpoint=endpoint.to_json(),
            )
            going = _Going(launched, interrupts, runfile, endpoint, asked, known, tools, display)
            return _run(going, path, dataset)


def resume(
    path: Path | str,
    *,
    endpoint: Endpoint | None = None,
    scorer: Any = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    watch: Watcher | str | None = None,
) -> Run:
    """Go on with a run: ask what is missing and, once more, what failed or may be half; never what else is answered.

    A run that has reached its ``until_ci`` is left as it is. If a run was scored anew (``Run.score``) and answers are
    added now, its own scores count again: make that scoring anew.

    Parameters
    ----------
    path : path-like
        The run file.
    endpoint : Endpoint, optional
        The same endpoint, with other time limits or, if it is the embedded one, at another port. Needed unless the
        environment names its address, or it is on this machine and needs no key: nothing is sent to an address that
        only a file names.
    scorer : str, ScorerSpec, mapping, callable or a sequence of those, optional
        The same scorer. Needed when it is a Python function: nothing in a run file makes code run.
    functions : mapping, optional
        The same functions. Needed when the run was begun with some.
    watch : callable or "widget", optional
        As for ``evaluate``.

    Raises
    ------
    RunFileError
        The file cannot be used, is being written, or its dataset, endpoint, scorer or functions are not what they were.
    SettingsError
        The run's scorer is a Python function, and it was not given again.
    DatasetError, EndpointError
        As for ``evaluate``.
    """
    display = _display(watch)
    tools = dict(functions or {})
    tool_functions.check(tools)
    with Launched() as launched:
        from evalkit.engine import runner  # noqa: F401

        with closing(store.open_to_read(path)) as reader:
            info, versions = store.run_info(reader), scorings.own_versions(reader)
            settings, known = _same_scorer(path, info["settings"], scorer, versions)
            _same_functions(path, settings.functions or {}, tool_functions.versions(tools))
            dataset = dataset_fingerprint.same(path, reader, info["dataset"], settings)
            endpoint = _same_endpoint(path, trusted_endpoint.stored_endpoint(path, info["endpoint"]), endpoint)
        with Interrupts() as interrupts:
            runfile = RunFile.open(Path(path).absolute())
            try:
                spool.recover(runfile)
                half_answers.take_back(runfile, settings)
                kept, scored = runfile.answered(), runfile.scored()
            except BaseException:
                runfile.close()
                raise
            going = _Going(launched, interrupts, runfile, endpoint, settings, known, tools, display)
            return _run(going, path, dataset, resumed=True, kept=kept, scored=scored)


@dataclass(frozen=True, slots=True)
class _Going:
    """What a session needs; its run file is closed by the session."""

    launched: Launched
    interrupts: Interrupts
    runfile: RunFile
    endpoint: Endpoint
    settings: Settings
    known: Mapping[str, Scorer]
    tools: Mapping[str, Callable[..., Any]]
    display: Display


def _run(
    going: _Going,
    path: Path | str,
    dataset: dataset_fingerprint.Known,
    *,
    resumed: bool = False,
    kept: int = 0,
    scored: tuple[int, float] = (0, 0.0),
) -> Run:
    """Hold the session, and close its run file on every way out."""
    from evalkit.engine.runner import Runner

    settings, runfile = going.settings, going.runfile
    try:
        with scoring.found_once(going.known):
            every = scoring.scores_all(settings.default_scorer)
        task = Task(
            going.endpoint, settings, Path(dataset["path"]), dataset, runfile.path,
            resumed=resumed, kept=kept > 0, functions=tuple(going.tools), scores_all=every,
        )  # fmt: skip
        total, (number, right) = dataset_fingerprint.turns_to_ask(dataset, settings), scored
        progress = Progress(total=total, kept=kept, scored=number, right=right)
        default = settings.default_scorer
        runner = Runner(
            runfile, task, going.launched, progress, lambda turn, answer: scoring.score(turn, answer, default=default),
            going.known, going.tools, about=_about(),
        )  # fmt: skip
    except BaseException:
        runfile.close()
        raise
    outcome = session_thread.hold(runner, runfile, progress, going.display, going.interrupts)
    moved = Path(path).absolute() != runfile.path  # the working folder is another now
    return Run(runfile.path if moved else path, outcome)


@contextmanager
def stored_endpoint(path: Path | str, *, base_url: str | None = None, key_env: str | None = None) -> Iterator[Endpoint]:
    """The endpoint of a run: the embedded one, started again, or what the file names and the user names too.

    Raises
    ------
    RunFileError
        Only the file names it; see ``trusted_endpoint.trusted``.
    """
    from evalkit.endpoint import local_endpoint

    kept = Run(path).info["endpoint"]
    if kept["source"] != "embedded":
        yield trusted_endpoint.trusted(
            path, trusted_endpoint.stored_endpoint(path, kept), base_url=base_url, key_env=key_env
        )
        return
    if base_url or key_env:
        raise RunFileError(f"{path} was run against the embedded model: leave out --base-url and --api-key-env")
    limits = {name: kept[name] for name in ("params", "timeout_s", "ttft_timeout_s", "connect_timeout_s")}
    with local_endpoint(**limits) as endpoint:
        yield endpoint


def converse(
    conversation: Conversation,
    endpoint: Endpoint,
    *,
    stream: bool = True,
    functions: Mapping[str, Callable[..., Any]] | None = None,
) -> Iterator[TurnRecord]:
    """Ask one conversation, and yield each turn as it ends; nothing is stored or scored.

    Parameters
    ----------
    conversation : Conversation
    endpoint : Endpoint
    stream : bool
        Ask for streams.
    functions : mapping, optional
        Function name to Python function, called when the model calls a tool.
    """
    records: queue.SimpleQueue[TurnRecord | BaseException | None] = queue.SimpleQueue()
    left = threading.Event()

    async def keep(record: TurnRecord) -> bool:
        records.put(record)
        return not left.is_set()

    async def ask() -> None:
        async with Transport(endpoint) as transport:
            dialogue = Dialogue(
                Asker(transport, endpoint, stream=stream),
                conversation,
                functions=tool_functions.in_threads(functions or {}),
            )
            await dialogue.ask(keep)

    def work() -> None:
        try:
            _run_loop(ask())
        except BaseException as error:
            records.put(error)
        else:
            records.put(None)

    threading.Thread(target=work, name="evalkit-converse", daemon=True).start()
    try:
        while (item := records.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()


def _settings(settings: Mapping[str, Any]) -> tuple[Settings, Mapping[str, Scorer]]:
    """Settings, and the scorers that their names, and those of rows, mean from now on."""
    scorer = settings.get("scorer")
    try:
        asked = Settings(**{**settings, "scorer": setting_of(scorer)})
    except TypeError as error:
        known = ", ".join(name for name in Settings.__dataclass_fields__ if name != "functions")
        raise SettingsError(f"{error}. The settings are: {known}") from None
    return asked, scoring.registered(own_functions.own(scorer))


def _same_scorer(
    path: Path | str, kept: Mapping[str, Any], given: Any, versions: Mapping[str, str]
) -> tuple[Settings, Mapping[str, Scorer]]:
    """The settings of a run and its scorers, once the one that is given again is seen to be its own."""
    again = setting_of(given)
    settings, _ = _settings(kept)
    if again is not None and _settings({"scorer": again})[0].default_scorer != settings.default_scorer:
        begun = "the scorers of its targets" if settings.scorer is None else f"the scorer {json.dumps(settings.scorer)}"
        raise RunFileError(
            f"{path} was begun with {begun}, and now {json.dumps(again)} is named: go on with what it was begun with"
        )
    known = scoring.registered(own_functions.own(given))
    for name, version in versions.items():
        now = known[name].version if name in known else version
        if ":" in name and now not in (version, "unknown"):
            raise RunFileError(
                f"{path} was scored by {name}, which is another function now: one run has one scorer. Go on with the "
                f"old one, then score all by the new one, without a call: evalkit score {path} --scorer {name}"
            )
    return settings, known


def _same_functions(path: Path | str, kept: Mapping[str, str], given: Mapping[str, str]) -> None:
    """See that a run's functions are given again: what a model is given belongs to what is measured."""
    missing, more = sorted(set(kept) - set(given)), sorted(set(given) - set(kept))
    if missing:
        raise RunFileError(
            f"{path} was begun with the functions {', '.join(sorted(kept))}, and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not given: go on in Python, "
            "with evalkit.resume(…, functions={…})"
        )
    if more:
        raise RunFileError(f"{path} was begun without the functions {', '.join(more)}: start a new run with them")
    changed = [name for name in sorted(kept) if given[name] != kept[name]]
    if changed:
        raise RunFileError(
            f"{path} was begun with another version of the functions {', '.join(changed)}: "
            "go on with the old ones, or start a new run"
        )


def _display(watch: Watcher | str | None) -> Display:
    """What shows a run while it goes."""
    if watch is None or callable(watch):
        return lambda _path, _progress: nullcontext(watch)
    if watch != "widget":
        raise SettingsError(f"watch is {watch!r}: it must be 'widget' or a function that takes the progress")
    from evalkit.widgets import display as widgets_display

    return widgets_display.watching


def _run_loop(work: Coroutine[Any, Any, T]) -> T:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as loop:
        return loop.run(work)


def _same_endpoint(path: Path | str, kept: Endpoint, given: Endpoint | None) -> Endpoint:
    if given is None:
        return trusted_endpoint.trusted(path, kept)
    if given.model != kept.model:
        raise RunFileError(
            f"{path} was begun with the model {kept.model!r}, and now {given.model!r} is named: "
            "one run is of one model. Start a new run for the other"
        )
    if given.base_url != kept.base_url and not given.source == kept.source == "embedded":
        raise RunFileError(
            f"{path} was begun at {kept.base_url}, and now {given.base_url} is named: start a new run for the other"
        )
    if given.params != kept.params:
        raise RunFileError(
            f"{path} was begun with the parameters {kept.params}, and now they are {given.params}: "
            "one run has one set of them. Start a new run"
        )
    return given


def _about() -> dict[str, Any]:
    """Versions and machine, for the run file."""
    versions = {"evalkit": __version__, "python": platform.python_version()}
    for package in ("httptools", "orjson", "uvloop", "xllamacpp"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    machine = {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count()}
    return {"versions": versions, "machine": machine}
