"""Evaluations: ask a dataset of an endpoint, go on with a run, ask a single conversation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from evalkit import __version__, prices, resumption, scorers, source, spool, wire
from evalkit.asking import Task
from evalkit.conversation import Conversation
from evalkit.dialogue import Asker, Dialogue, in_threads
from evalkit.endpoint import Endpoint
from evalkit.errors import RunFileError, SettingsError
from evalkit.functions import setting_of
from evalkit.launch import Launched
from evalkit.record import TurnRecord
from evalkit.run import Run
from evalkit.settings import Settings
from evalkit.store import SUFFIX, RunFile
from evalkit.transport import Transport
from evalkit.writer import Progress

if TYPE_CHECKING:
    from evalkit.runner import Runner

RUNS_FOLDER = Path("runs")
T = TypeVar("T")
Watcher = Callable[[Progress], bool | None]  # true: stop the run
Display = Callable[[Path, Progress], AbstractContextManager[Watcher | None]]


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
    interrupt lets what is in flight end for a few seconds, commits it, and raises ``KeyboardInterrupt``; ``resume``
    goes on.

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
        Function name to Python function, called when the model calls a tool.
    watch : callable or "widget", optional
        Called with the ``Progress`` about ten times a second; when it returns true the run stops, as for an interrupt,
        and is returned. ``widget``: shown in JupyterLab with a button that stops it, elsewhere now and then a line.
    **settings
        Those of ``Settings``: ``history``, ``repeats``, ``concurrency``, ``stream``, ``scorer``, ``rate``,
        ``arrivals``, ``rpm``, ``tpm``, ``retries``, ``max_tool_rounds``, ``limit``, ``columns``, ``max_tokens_total``,
        ``max_time_s``, ``max_cost``, ``price``, ``until_ci``. ``scorer`` may also be a ``ScorerSpec``, a Python
        function of the answer's text and the target (``functions``), or a list of such. Without a ``price`` it is
        that of the user's price file, if that is there and has the model.

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
        settings["price"] = prices.price_if_known(endpoint.model)
    asked = _settings(settings)
    display = _display(watch)
    Transport.check(endpoint)
    wire.request_body((), model=endpoint.model, stream=asked.stream, params=endpoint.params)
    with Launched() as launched:
        from evalkit.runner import Runner  # takes as long as the asking process to start: side by side

        dataset, total = source.of(Path(data), asked, check=check)
        named = RUNS_FOLDER / f"{_file_name(name)}{SUFFIX}" if name else default_path(data, endpoint)
        path = Path(out) if out else named
        runfile = RunFile.create(
            path,
            name=name or path.stem,
            settings=asked.to_json(),
            dataset=dataset,
            endpoint=endpoint.to_json(),
        )
        progress = Progress(total=total)
        names, every = tuple(functions or ()), scorers.scores_all(asked.default_scorer)
        task = Task(endpoint, asked, Path(data).resolve(), path.resolve(), functions=names, scores_all=every)
        runner = Runner(runfile, task, launched, progress, functions, about=_about())
        return _session(runner, runfile, progress, display)


def resume(
    path: Path | str,
    *,
    endpoint: Endpoint | None = None,
    scorer: Any = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    watch: Watcher | str | None = None,
) -> Run:
    """Go on with a run: ask what is missing and, once more, what failed; never what is answered.

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
    watch : callable or "widget", optional
        As for ``evaluate``.

    Raises
    ------
    RunFileError
        The file cannot be used, is being written, or its dataset, endpoint or scorer is not what it was.
    SettingsError
        The run's scorer is a Python function, and it was not given again.
    DatasetError, EndpointError
        As for ``evaluate``.
    """
    display = _display(watch)
    with Launched() as launched:
        from evalkit.runner import Runner

        runfile = RunFile.open(Path(path))
        try:
            info = runfile.info()
            settings = _same_scorer(path, info["settings"], scorer)
            total = source.same(runfile, info["dataset"], settings)
            endpoint = _same_endpoint(path, resumption.kept_endpoint(path, info["endpoint"]), endpoint)
            spool.recover(runfile)
            kept = runfile.answered()
        except BaseException:
            runfile.close()
            raise
        progress = Progress(total=total, kept=kept)
        data, out = Path(info["dataset"]["path"]), Path(path).resolve()
        names, every = tuple(functions or ()), scorers.scores_all(settings.default_scorer)
        task = Task(endpoint, settings, data, out, resumed=True, kept=kept > 0, functions=names, scores_all=every)
        runner = Runner(runfile, task, launched, progress, functions, about=_about())
        return _session(runner, runfile, progress, display)


@contextmanager
def stored_endpoint(path: Path | str, *, base_url: str | None = None, key_env: str | None = None) -> Iterator[Endpoint]:
    """The endpoint of a run: the embedded one, started again, or what the file names and the user names too.

    Raises
    ------
    RunFileError
        Only the file names it; see ``resumption.trusted``.
    """
    from evalkit.endpoint import local_endpoint

    kept = Run(path).info["endpoint"]
    if kept["source"] != "embedded":
        yield resumption.trusted(path, resumption.kept_endpoint(path, kept), base_url=base_url, key_env=key_env)
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
                Asker(transport, endpoint, stream=stream), conversation, functions=in_threads(functions or {})
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


def default_path(data: Path | str, endpoint: Endpoint) -> Path:
    """The run file of an unnamed run: dataset, model and time."""
    name = f"{_file_name(Path(data).stem)}-{_file_name(endpoint.model)}-{time.strftime('%Y%m%d-%H%M%S')}"
    return RUNS_FOLDER / f"{name}{SUFFIX}"


def _settings(settings: Mapping[str, Any]) -> Settings:
    try:
        return Settings(**{**settings, "scorer": setting_of(settings.get("scorer"))})
    except TypeError as error:
        known = ", ".join(Settings.__dataclass_fields__)
        raise SettingsError(f"{error}. The settings are: {known}") from None


def _same_scorer(path: Path | str, kept: Mapping[str, Any], given: Any) -> Settings:
    """The settings of a run, once the scorer that is given again is seen to be its own."""
    again = setting_of(given)
    settings = _settings(kept)
    if again is not None and _settings({"scorer": again}).default_scorer != settings.default_scorer:
        begun = "the scorers of its targets" if settings.scorer is None else f"the scorer {json.dumps(settings.scorer)}"
        raise RunFileError(
            f"{path} was begun with {begun}, and now {json.dumps(again)} is named: go on with what it was begun with"
        )
    return settings


class _Session(threading.Thread):
    """One session of a run, on a thread of its own.

    Wait for ``ended``, not with ``join``: a join that a signal interrupts takes the thread for dead
    (CPython 3.11 and 3.12), and an interpreter that ends under a running event loop crashes.
    """

    def __init__(self, runner: Runner) -> None:
        super().__init__(name="evalkit-run", daemon=True)
        self._runner = runner
        self.ended = threading.Event()
        self.outcome: str | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.outcome = self._runner.run()
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()


def _display(watch: Watcher | str | None) -> Display:
    """What shows a run while it goes."""
    if watch is None or callable(watch):
        return lambda _path, _progress: nullcontext(watch)
    if watch != "widget":
        raise SettingsError(f"watch is {watch!r}: it must be 'widget' or a function that takes the progress")
    from evalkit import widgets

    return widgets.watching


def _session(runner: Runner, runfile: RunFile, progress: Progress, display: Display) -> Run:
    """Run the session while this thread shows progress and hears interrupts."""
    session = _Session(runner)
    interrupted: type[KeyboardInterrupt] | None = None
    with contextlib.closing(runfile), display(runfile.path, progress) as watch:
        session.start()
        try:
            while not session.ended.is_set():
                try:
                    session.ended.wait(0.1)
                    if watch is not None and watch(progress) and not progress.stopping:
                        runner.stop()
                except KeyboardInterrupt as error:
                    interrupted = type(error)
                    runner.stop()
        finally:
            _end(session, runner)
        if session.error is not None:
            raise session.error
        if interrupted is not None:
            raise interrupted
    return Run(runfile.path, session.outcome)


def _end(session: _Session, runner: Runner) -> None:
    """Wait for the session also when ``watch`` raised: nothing may write into a closed run file."""
    while not session.ended.is_set():
        with contextlib.suppress(KeyboardInterrupt):
            runner.stop()
            session.ended.wait()


def _run_loop(work: Coroutine[Any, Any, T]) -> T:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as loop:
        return loop.run(work)


def _same_endpoint(path: Path | str, kept: Endpoint, given: Endpoint | None) -> Endpoint:
    if given is None:
        return resumption.trusted(path, kept)
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


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "run"


def _about() -> dict[str, Any]:
    """Versions and machine, for the run file."""
    versions = {"evalkit": __version__, "python": platform.python_version()}
    for package in ("httptools", "orjson", "uvloop", "xllamacpp"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    machine = {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count()}
    return {"versions": versions, "machine": machine}
