"""Run a dataset against an endpoint, resume a run, run a single conversation."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.analysis import checkup_concerns, price_file
from evalkit.client import request_body
from evalkit.client.transport import Transport
from evalkit.cluster import asking_side
from evalkit.conversation import Conversation
from evalkit.endpoint import Endpoint
from evalkit.engine import session_thread
from evalkit.engine.asking import dataset_fingerprint, dialogue, readiness, single_conversation, tool_functions
from evalkit.engine.asking.session_task import SessionTask
from evalkit.engine.child_process import AskingSide, ChildProcess
from evalkit.engine.saving import cut_off_answers, retracted_answers, spool
from evalkit.engine.saving.progress import Progress
from evalkit.engine.session_thread import Display, Watcher
from evalkit.errors import CheckupWarning, RunFileError, SettingsError
from evalkit.process import about_session
from evalkit.process.interrupts import Interrupts
from evalkit.record import TurnRecord
from evalkit.run import Run
from evalkit.runfile import file_names, kept_checkup, raised_limits, scorings, store, trusted_endpoint
from evalkit.runfile.store import RunFile
from evalkit.scorers import own_functions, scoring
from evalkit.scorers.own_functions import setting_of
from evalkit.scorers.registry import Scorer
from evalkit.settings import Settings
from evalkit.wording import checkup_concerns as concerns_in_words


def evaluate(
    data: Path | str,
    endpoint: Endpoint,
    *,
    name: str | None = None,
    out: Path | str | None = None,
    check: bool = True,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    watch: Watcher | str | None = None,
    wait_ready: float | None = None,
    cluster: Any = None,
    checkup: Any = None,
    **settings: Any,
) -> Run:
    """Run a dataset against an endpoint; score and time every turn, and store everything in a run file.

    The work is done on another thread and in another process, so that you can call this in scripts and notebooks alike.
    An interrupt gives requests in flight a few seconds to end, commits them, and raises ``KeyboardInterrupt``; a second
    one cancels them, a third returns immediately. ``resume`` continues the run, and scores what was not scored yet.

    Parameters
    ----------
    data : path-like
        A dataset file; see ``datasets`` for the formats.
    endpoint : Endpoint
    name : str, optional
        Name of the run; the file is ``runs/NAME.evalkit``. Default: dataset, model and time.
    out : path-like, optional
        Path of the run file, instead of ``name``.
    check : bool
        Read the whole dataset before the first request.
    functions : mapping, optional
        Function name to Python function, called when the model calls a tool: each call on its own thread, at most 128
        in parallel. Their names and versions are part of the run.
    watch : callable or "widget", optional
        Called with the ``Progress`` about ten times a second and at the end; when it returns exactly ``True``, the run
        stops as on an interrupt, and is returned. ``widget``: a display in JupyterLab with a stop button; elsewhere a
        line of text from time to time.
    wait_ready : float, optional
        Seconds to wait for the endpoint before the first request: until it can be reached, does not answer 502, 503 or
        504, and has loaded its model. None: no wait, and a server that says it is loading is waited for up to 2 min.
    cluster : Client, Cluster or str, optional
        Send the requests from the workers of a Dask cluster: a ``distributed.Client``, the address of a scheduler, or
        ``local:4`` for four workers on this machine. The workers read the key from their own environment.
    checkup : path-like, mapping or Checkup, optional
        What ``check_endpoint`` found, or the JSON file of ``evalkit check -o`` or the object in it, of the same
        endpoint and model. It is kept in the run file. What it found refused or ignored that this run requests is a
        ``errors.CheckupWarning`` before the first request, and in every summary; ``stream_options`` is not sent if it
        was refused, unless it is a parameter of the endpoint.
    **settings
        Fields of ``Settings``: ``history``, ``repeats``, ``concurrency``, ``stream``, ``scorer``, ``system``, ``rate``,
        ``arrivals``, ``arrivals_seed``, ``rpm``, ``tpm``, ``retries``, ``max_tool_rounds``, ``limit``, ``columns``,
        ``max_tokens_total``, ``max_time_s``, ``max_cost``, ``price``, ``until_ci``, ``seed``. ``scorer`` may also be a
        ``ScorerSpec``, a Python function of the answer's text and the target (``scorers.own_functions``), or a list of
        these. ``price`` defaults to that of the user's price file, if there is one and it has the model.

    Returns
    -------
    Run

    Raises
    ------
    DatasetError, SettingsError, RunFileError
        Bad input; nothing was sent, unless ``check`` is off.
    EndpointError
        No turn was answered, and the first ones all failed in the same way; a quota is used up for longer than a run
        waits; or the endpoint was not ready within ``wait_ready``.
    """
    if settings.get("price") is None:
        settings["price"] = price_file.price_if_known(endpoint.model)
    tools = dict(functions or {})
    tool_functions.check(tools)
    run_settings, scorers = _settings_and_scorers({**settings, "functions": tool_functions.versions(tools) or None})
    if run_settings.seed is not None and "seed" in endpoint.params:
        raise SettingsError(
            f"seed {run_settings.seed} and the parameter seed {endpoint.params['seed']} exclude each other: the "
            "parameter gives every repeat the same seed, the setting another one. Give one of them"
        )
    kept = None if checkup is None else kept_checkup.take(checkup, endpoint)
    display = _display(watch)
    request_body.request_body((), model=endpoint.model, stream=run_settings.stream, params=endpoint.params)
    with (
        asking_side.opened(cluster, endpoint, run_settings, wait_ready) as child,
        file_names.new_run_file(data, endpoint.model, name=name, out=out) as path,
    ):
        from evalkit.engine import runner  # noqa: F401 - imported while the asking process starts, which takes as long

        with scoring.found_once(scorers):
            checker = scoring.turn_checker(run_settings.default_scorer)
            dataset, _ = dataset_fingerprint.take(Path(data), run_settings, check=check, check_turn=checker)
        asking_side.check_dataset(cluster, dataset)
        stored = run_settings.to_json()
        if kept is not None:
            kept = checkup_concerns.with_concerns(kept, endpoint, run_settings, Path(data), whole=check)
            stored[kept_checkup.SETTING] = kept.stored()
            for sentence in concerns_in_words.sentences(kept.to_json()):
                warnings.warn(sentence, CheckupWarning, stacklevel=2)
        with Interrupts() as interrupts:
            runfile = RunFile.create(
                path.absolute(),  # a scorer may change the working directory
                name=name or path.stem,
                settings=stored,
                dataset=dataset,
                endpoint=endpoint.to_json(),
            )
            parts = _SessionParts(child, interrupts, runfile, endpoint, run_settings, scorers, tools, display)
            return _run(parts, path, dataset, wait_ready=wait_ready)


def resume(
    path: Path | str,
    *,
    endpoint: Endpoint | None = None,
    scorer: Any = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    watch: Watcher | str | None = None,
    wait_ready: float | None = None,
    cut_off_max_tokens: int | None = None,
    cluster: Any = None,
) -> Run:
    """Resume a run: send missing turns, and again those that failed or may be incomplete; no other answered turn.

    A run that has reached its ``until_ci`` is left as it is. If a run was re-scored (``Run.score``) and answers are
    added now, its own scores are used again: re-score it afterwards.

    Parameters
    ----------
    path : path-like
        The run file.
    endpoint : Endpoint, optional
        The same endpoint; only its time limits may differ and, for the embedded one, its port. Needed unless the
        environment names its address, or it is on this machine and needs no key: nothing is sent to an address that
        only a file names.
    scorer : str, ScorerSpec, mapping, callable or a sequence of those, optional
        The same scorer. Needed when it is a Python function: nothing in a run file makes code run.
    functions : mapping, optional
        The same functions. Needed when the run was started with some.
    watch : callable or "widget", optional
    wait_ready : float, optional
        As for ``evaluate``.
    cut_off_max_tokens : int, optional
        Send answers that were cut off at a token limit again, and later ones that saw them, with this limit; it is
        that of all further requests of the run. The old answers stay as attempts, the new ones count.
    cluster : Client, Cluster or str, optional
        As for ``evaluate``; earlier sessions may have had another one, or none.

    Raises
    ------
    RunFileError
        The file cannot be used or is being written, or its dataset, endpoint, scorer or functions have changed.
    SettingsError
        The run's scorer is a Python function, and it was not given again; or the limit is not above that of the run.
    DatasetError, EndpointError
        As for ``evaluate``.
    """
    display = _display(watch)
    tools = dict(functions or {})
    tool_functions.check(tools)
    with ExitStack() as stack:
        child: AskingSide | None = stack.enter_context(ChildProcess()) if cluster is None else None
        from evalkit.engine import runner  # noqa: F401

        with closing(store.open_to_read(path)) as reader:
            info, versions = store.run_info(reader), scorings.own_versions(reader)
            stored = trusted_endpoint.stored_endpoint(path, info["endpoint"])
            higher = raised_limits.next_limit(reader, stored, info["settings"], cut_off_max_tokens)
            token_limit = raised_limits.last_limit(info["settings"]) if higher is None else higher.after
            settings, scorers = _check_scorer(path, raised_limits.without(info["settings"]), scorer, versions)
            _check_functions(path, settings.functions or {}, tool_functions.versions(tools))
            dataset = dataset_fingerprint.check_unchanged(path, reader, info["dataset"], settings)
            endpoint = trusted_endpoint.same_endpoint(path, stored, endpoint)
            endpoint = raised_limits.with_limit(endpoint, token_limit)
        asking_side.check_dataset(cluster, dataset)
        if child is None:
            child = stack.enter_context(asking_side.opened(cluster, endpoint, settings, wait_ready))
        else:
            readiness.wait_until_ready(endpoint, wait_ready)
        with Interrupts() as interrupts:
            runfile = RunFile.open(Path(path).absolute())
            try:
                spool.recover(runfile)
                if higher is not None:
                    cut_off_answers.retract_cut_off(runfile, settings, higher)
                retracted_answers.retract_incomplete(runfile, settings)
                answered, scored = runfile.answered(), runfile.scored()
            except BaseException:
                runfile.close()
                raise
            parts = _SessionParts(child, interrupts, runfile, endpoint, settings, scorers, tools, display)
            return _run(
                parts, path, dataset, resumed=True, answered=answered, scored=scored, wait_ready=wait_ready,
                token_limit=token_limit,
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _SessionParts:
    """What a session needs; the session closes the run file."""

    child: AskingSide
    interrupts: Interrupts
    runfile: RunFile
    endpoint: Endpoint
    settings: Settings
    scorers: Mapping[str, Scorer]
    tools: Mapping[str, Callable[..., Any]]
    display: Display


def _run(
    parts: _SessionParts,
    path: Path | str,
    dataset: dataset_fingerprint.Fingerprint,
    *,
    resumed: bool = False,
    answered: int = 0,
    scored: tuple[int, float] = (0, 0.0),
    wait_ready: float | None = None,
    token_limit: int | None = None,
) -> Run:
    """Run the session; its run file is closed however this ends."""
    from evalkit.engine.runner import Runner

    settings, runfile = parts.settings, parts.runfile
    try:
        with scoring.found_once(parts.scorers):
            scores_all = scoring.scores_all(settings.default_scorer)
        task = SessionTask(
            parts.endpoint, settings, Path(dataset["path"]), dataset, runfile.path,
            resumed=resumed, has_answers=answered > 0, functions=tuple(parts.tools), scores_all=scores_all,
            wait_ready=wait_ready, token_limit=token_limit,
            no_usage=kept_checkup.refuses_usage(runfile.info()["settings"]),
        )  # fmt: skip
        total, (scored_turns, right) = dataset_fingerprint.planned_turns(dataset, settings), scored
        progress = Progress(
            total=total, kept=answered, scored=scored_turns, right=right, dashboard=parts.child.dashboard
        )
        default = settings.default_scorer
        runner = Runner(
            runfile, task, parts.child, progress,
            lambda turn, answer, tools: scoring.score(turn, answer, default=default, tools=tools),
            parts.scorers, parts.tools, about=about_session.versions_and_machine(),
        )  # fmt: skip
    except BaseException:
        runfile.close()
        raise
    outcome = session_thread.run_session(runner, runfile, progress, parts.display, parts.interrupts)
    moved = Path(path).absolute() != runfile.path  # the working directory has changed
    return Run(runfile.path if moved else path, outcome)


def converse(
    conversation: Conversation,
    endpoint: Endpoint,
    *,
    stream: bool = True,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    history: str = "own",
    wait_ready: float | None = None,
) -> Iterator[TurnRecord]:
    """Run one conversation, and yield each turn as it ends; nothing is stored or scored.

    Parameters
    ----------
    conversation : Conversation
    endpoint : Endpoint
    stream : bool
        Request streams.
    functions : mapping, optional
        Function name to Python function, called when the model calls a tool.
    history : str
        ``own``: each turn sees the model's earlier answers, and none is sent after a failed one. ``golden``: it sees
        the golden answers of earlier turns.
    wait_ready : float, optional
        Seconds to wait first until the endpoint is ready, as for ``evaluate``.

    Raises
    ------
    SettingsError
        There is no such history, a function cannot be called, or the key or a parameter cannot be sent.
    DatasetError
        The history is golden, and a turn before the last has no golden answer.
    EndpointError
        The endpoint was not ready within ``wait_ready``.
    """
    Settings(history=history)
    tool_functions.check(functions or {})
    dialogue.check_history(conversation, history)
    Transport.check(endpoint)
    request_body.request_body((), model=endpoint.model, stream=stream, params=endpoint.params)
    readiness.wait_until_ready(endpoint, wait_ready)
    return single_conversation.records(conversation, endpoint, stream=stream, functions=functions, history=history)


def _settings_and_scorers(settings: Mapping[str, Any]) -> tuple[Settings, Mapping[str, Scorer]]:
    """The settings, and the scorers that names in them and in dataset rows refer to from now on."""
    scorer = settings.get("scorer")
    try:
        run_settings = Settings(**{**settings, "scorer": setting_of(scorer)})
    except TypeError as error:
        names = ", ".join(name for name in Settings.__dataclass_fields__ if name != "functions")
        raise SettingsError(f"{error}. The settings are: {names}") from None
    return run_settings, scoring.registered(own_functions.own(scorer))


def _check_scorer(
    path: Path | str, stored: Mapping[str, Any], given: Any, versions: Mapping[str, str]
) -> tuple[Settings, Mapping[str, Scorer]]:
    """The settings and scorers of a run, after a check that the scorer given is the run's."""
    given_setting = setting_of(given)
    settings, _ = _settings_and_scorers(stored)
    if (
        given_setting is not None
        and _settings_and_scorers({"scorer": given_setting})[0].default_scorer != settings.default_scorer
    ):
        used = "the scorers of its targets" if settings.scorer is None else f"the scorer {json.dumps(settings.scorer)}"
        raise RunFileError(
            f"{path} was started with {used}, but {json.dumps(given_setting)} is given: resume with the original scorer"
        )
    scorers = scoring.registered(own_functions.own(given))
    for name, version in versions.items():
        now = scorers[name].version if name in scorers else version
        if ":" in name and now not in (version, "unknown"):
            raise RunFileError(
                f"{path} was scored by {name}, and that function has changed: one run has one scorer. Resume with the "
                f"old one, then re-score everything with the new one: evalkit score {path} --scorer {name}"
            )
    return settings, scorers


def _check_functions(path: Path | str, stored: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Check that a run's functions are given again: they are part of what is measured."""
    missing, extra = sorted(set(stored) - set(given)), sorted(set(given) - set(stored))
    if missing:
        raise RunFileError(
            f"{path} was started with the functions {', '.join(sorted(stored))}, and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not given: resume in Python, "
            "with evalkit.resume(…, functions={…})"
        )
    if extra:
        raise RunFileError(f"{path} was started without the functions {', '.join(extra)}: start a new run with them")
    changed = [name for name in sorted(stored) if given[name] != stored[name]]
    if changed:
        raise RunFileError(
            f"{path} was started with another version of the functions {', '.join(changed)}: "
            "resume with the old ones, or start a new run"
        )


def _display(watch: Watcher | str | None) -> Display:
    """What displays a run while it is going on."""
    if watch is None or callable(watch):
        return lambda _path, _progress: nullcontext(watch)
    if watch != "widget":
        raise SettingsError(f"watch is {watch!r}: it must be 'widget' or a function of the progress")
    from evalkit.widgets import display as widgets_display

    return widgets_display.watching
