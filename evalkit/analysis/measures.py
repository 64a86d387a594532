"""A run in numbers: counts, accuracy and times by turn index, with their intervals, read from the run file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from evalkit.analysis import caveats, client_trust, costs, ignored_parameters
from evalkit.analysis.accuracy import by_conversation, by_scoring
from evalkit.analysis.accuracy import by_turn as accuracy_by_turn
from evalkit.analysis.accuracy.by_conversation import ConversationScores, RepeatScores
from evalkit.analysis.accuracy.by_tag import TagAccuracy, TagTally
from evalkit.analysis.accuracy.by_turn import Accuracy, TurnOutcomes
from evalkit.analysis.accuracy.incomplete_answers import IncompleteAnswers, incomplete_answers
from evalkit.analysis.answering_models import AnsweringModels, answering_models
from evalkit.analysis.caveats import NO_CAVEATS, Caveats
from evalkit.analysis.client_trust import Trust
from evalkit.analysis.costs import Cost, Price
from evalkit.analysis.ignored_parameters import IgnoredParameters
from evalkit.analysis.times import quantiles
from evalkit.analysis.times.quantiles import Retries, Sample, TurnTimes
from evalkit.engine.stopping.accuracy_goal import AccuracyGoal, GoalStatus
from evalkit.errors import SettingsError
from evalkit.runfile import kept_checkup, raised_limits, schema, store
from evalkit.runfile.kept_checkup import KeptCheckup
from evalkit.runfile.raised_limits import RaisedLimit
from evalkit.stats.estimate import Estimate

_PARTS = "sum(reasoning_tokens), sum(cached_tokens), sum(cache_write_tokens)"

Source = Path | str | sqlite3.Connection
_snapshots: ContextVar[Mapping[Path, sqlite3.Connection]] = ContextVar("snapshots", default=MappingProxyType({}))


class HasPath(Protocol):
    """A ``Run``, or another object with a run file."""

    @property
    def path(self) -> Path:
        """Its run file."""


@dataclass(frozen=True, slots=True)
class Measures:
    """All turns of a run, or those of one turn index, in numbers.

    Parameters
    ----------
    turn : int or None
        The turn index; None: all turns.
    turns, answered : int
        Number of finished turns, and of answered turns among them.
    errors : dict
        Error kind to number of turns, the most frequent first.
    accuracy : Accuracy
        Over answered and scored turns.
    accuracy_all : Accuracy
        Also over failed turns with a target, which count as 0; interrupted turns do not count. Turns without a target
        are in neither denominator.
    ttft_ms, latency_ms, tpot_ms, schedule_latency_ms, turn_time_ms : dict
        ``p50``, ``p95``, ``p99`` to Estimate, in ms. A time-out or an interrupted turn gives a lower bound of its
        latencies and, if no token arrived, of its TTFT. There is a schedule latency in open loop only.
    retries : Retries
    samples : dict
        ``ttft`` and ``latency`` to Sample.
    interrupted : int
        Turns that were in flight when their session ended. They count in ``turns`` and, as ``cancelled``, in
        ``errors``, but the endpoint did not fail: they are not in the denominator of ``accuracy_all``, and ``resume``
        runs them again.
    """

    turn: int | None
    turns: int
    answered: int
    errors: dict[str, int]
    accuracy: Accuracy
    accuracy_all: Accuracy
    ttft_ms: dict[str, Estimate]
    latency_ms: dict[str, Estimate]
    tpot_ms: dict[str, Estimate]
    schedule_latency_ms: dict[str, Estimate]
    turn_time_ms: dict[str, Estimate]
    retries: Retries
    samples: dict[str, Sample]
    interrupted: int = 0


@dataclass(frozen=True, slots=True)
class RunMeasures:
    """A run in numbers, from which its summaries and charts are made.

    Parameters
    ----------
    name : str
    all : Measures
    by_turn : tuple of Measures
        By turn index; the first turn is separate because connections and caches are cold.
    by_tag : tuple of TagAccuracy
        By tag of the conversations: the 50 tags with the most finished turns, in that order.
    tags_left_out : int
        Number of other tags.
    conversations : ConversationScores
        Scores of whole conversations.
    repeats : RepeatScores or None
        Scores of turns over all repeats, or over k repeats; None: the run has one repeat.
    scoring : int
        Number of the scoring that the scores are from: 0 is the run's own, another number a later scoring.
    open_loop : bool
        A schedule, rather than a free slot, determined when turns were due.
    token_parts : mapping
        Of these the tokens of ``reasoning``, those read from the endpoint's cache (``cached``) and those written to it
        (``cache_write``); None: not reported.
    prompt_tokens, output_tokens : int or None
        Sums of what the endpoint reported for its turns. None: it reported none.
    trust : Trust
    wall_s : float or None
        Sum over sessions of end − start; a session without an end counts up to its last turn. None: nothing has ended.
    turns_per_s : float or None
        Answered turns / ``wall_s``; failed turns are not counted as throughput.
    cost : Cost or None
        None: no price is known.
    until : GoalStatus or None
        Progress towards the accuracy goal of a run with ``--until``; None: it has no such goal.
    arrivals : mapping or None
        In open loop: ``kind``, the requested ``rate``, ``seed``, and ``realised_rate``. None: closed loop.
    planned : int or None
        Number of turns of the complete run: those of its dataset times its repeats; those that have ended, when
        ``until`` is reached. None: not known, since the dataset was not read to its end.
    ignored : IgnoredParameters or None
        Limits and demands in the request that answers did not follow. None: not checked.
    models : AnsweringModels or None
        Which models answered. None: not checked.
    caveats : Caveats
        Warnings about its answers.
    imported : mapping or None
        The file and form that it was imported from, without times. None: evalkit has run it.
    incomplete : mapping
        ``cut_off`` and ``unconfirmed`` to ``IncompleteAnswers``.
    raised_limits : tuple of RaisedLimit
        Token limits with which cut-off answers were sent again.
    checkup : KeptCheckup or None
        What a checkup of the endpoint had found before. None: the run was given none.
    """

    name: str
    all: Measures
    by_turn: tuple[Measures, ...]
    by_tag: tuple[TagAccuracy, ...]
    tags_left_out: int
    conversations: ConversationScores
    repeats: RepeatScores | None
    scoring: int
    open_loop: bool
    prompt_tokens: int | None
    output_tokens: int | None
    trust: Trust
    wall_s: float | None
    turns_per_s: float | None
    cost: Cost | None
    until: GoalStatus | None
    arrivals: Mapping[str, Any] | None = None
    planned: int | None = None
    ignored: IgnoredParameters | None = None
    models: AnsweringModels | None = None
    caveats: Caveats = NO_CAVEATS
    imported: Mapping[str, Any] | None = None
    token_parts: Mapping[str, int | None] = field(default_factory=dict)
    incomplete: Mapping[str, IncompleteAnswers] = field(default_factory=dict)
    raised_limits: tuple[RaisedLimit, ...] = ()
    checkup: KeptCheckup | None = None


def measure(source: Source, price: Price | None = None, k: int | None = None) -> RunMeasures:
    """Measure a run; one reading serves several summaries and charts.

    Accuracy is the mean score: with scores of 0 and 1 the share of right answers. For its interval the turns of one
    conversation, or of one ``group`` of conversations, are one cluster (``proportions.proportion``).

    Parameters
    ----------
    source : path-like or sqlite3.Connection
    price : Price, optional
        For the cost of a run that has no price of its own.
    k : int, optional
        Number of repeats for ``RunMeasures.repeats``, from 2 to that of the run. None: all of them.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    SettingsError
        The run has fewer than k repeats, or k is below 2.
    """
    with opened(source) as connection:
        info = store.run_info(connection)
        repeats_used = _repeats(info, k)
        sums = f"count(schedule_latency_ns), sum(prompt_tokens), sum(output_tokens), {_PARTS}, {client_trust.STREAMS}"
        query = f"SELECT {sums} FROM turn"  # noqa: S608 - SQL of our own
        scheduled, prompt_tokens, output_tokens, reasoning, cached, written, *streams = connection.execute(
            query
        ).fetchone()
        conversations, tags = by_conversation.ConversationTally(connection), TagTally(connection)
        outcomes = accuracy_by_turn.outcomes_by_turn(connection, conversations, tags)
        scores = conversations.scores()
        by_tag, tags_left_out = tags.accuracies()
        counts = {index: outcomes[index].turns for index in outcomes if index is not None}
        streamed = info["settings"].get("stream", True)
        times = quantiles.times_by_turn(connection, counts, streamed=streamed, scheduled=scheduled > 0)
        retries = quantiles.retries(connection)
        everything, *by_turn = (_measures(index, outcomes, times, retries.get(index, Retries())) for index in outcomes)
        scoring, wall_s = by_scoring.active_scoring(connection), client_trust.wall_s(connection)
        medians = (getattr(everything, f"{metric}_ms")["p50"].value for metric in client_trust.METRICS)
        trust = client_trust.trust(connection, streams, client_trust.medians_ms(*medians))
        price = costs.stored_price(info) or price
        right = everything.accuracy.mean.n - everything.accuracy.wrong
        cost = None if price is None else costs.cost(connection, price, turns=everything.turns, right=right)
        until = _until(connection, info)
        arrivals = _arrivals(connection, info["settings"])
        repeats = by_conversation.repeat_scores(connection, repeats_used, int(info["settings"].get("repeats", 1)))
        planned = _planned(connection, info, everything.turns, until)
        ignored = ignored_parameters.ignored_by_run(connection, info)
        models = answering_models(connection, info)
        answer_caveats = caveats.caveats(connection)
        incomplete = incomplete_answers(connection)
    return RunMeasures(
        name=info["name"],
        all=everything,
        by_turn=tuple(by_turn),
        by_tag=by_tag,
        tags_left_out=tags_left_out,
        conversations=scores,
        repeats=repeats,
        scoring=scoring,
        open_loop=scheduled > 0,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        token_parts={"reasoning": reasoning, "cached": cached, "cache_write": written},
        trust=trust,
        wall_s=wall_s,
        turns_per_s=everything.answered / wall_s if wall_s else None,
        cost=cost,
        until=until,
        arrivals=arrivals,
        planned=planned,
        ignored=ignored,
        models=models,
        caveats=answer_caveats,
        imported=info["settings"].get("imported"),
        incomplete=incomplete,
        raised_limits=tuple(raised_limits.raised_limits(info["settings"])),
        checkup=kept_checkup.of_settings(info["settings"]),
    )


def _arrivals(connection: sqlite3.Connection, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    if settings.get("rate") is None:
        return None
    schedule = {"kind": settings.get("arrivals"), "rate": settings["rate"], "seed": settings.get("arrivals_seed")}
    return {**schedule, "realised_rate": client_trust.realised_rate(connection)}


def _repeats(info: Mapping[str, Any], k: int | None) -> int:
    repeats: int = info["settings"].get("repeats", 1)
    if k is not None and not 2 <= k <= repeats:
        count = "one repeat" if repeats == 1 else f"{repeats} repeats"
        raise SettingsError(f"k is {k}: the run has {count}, and k must be from 2 to the number of repeats")
    return repeats if k is None else k


def _planned(
    connection: sqlite3.Connection, info: Mapping[str, Any], ended: int, until: GoalStatus | None
) -> int | None:
    """See ``RunMeasures``; a session that is done has run all turns, even if the dataset was not counted before."""
    outcome = connection.execute("SELECT outcome FROM session ORDER BY id DESC LIMIT 1").fetchone()
    turns = info["dataset"].get("turns")
    if (until is not None and until.reached) or (turns is None and outcome == ("done",)):
        return ended
    return None if turns is None else max(int(turns) * int(info["settings"].get("repeats", 1)), ended)


def _until(connection: sqlite3.Connection, info: Mapping[str, Any]) -> GoalStatus | None:
    ci = info["settings"].get("until_ci")
    if ci is None:
        return None
    return AccuracyGoal(ci, info["dataset"]["most_turns"]).replay(connection.execute(schema.PROGRESS)).status()


@contextmanager
def snapshot(*paths: Path | str) -> Iterator[None]:
    """Within the block, read these run files in the state they have at its beginning, even if they grow.

    Raises
    ------
    RunFileError
        A file cannot be read as a run file.
    """
    with ExitStack() as stack:
        connections = dict(_snapshots.get())
        for path in map(Path, paths):
            if path.resolve() not in connections:
                connection = stack.enter_context(opened(path))
                store.run_info(connection)  # a transaction has a fixed state from its first reading on
                connections[path.resolve()] = connection
        token = _snapshots.set(connections)
        try:
            yield
        finally:
            _snapshots.reset(token)


@contextmanager
def opened(source: Source) -> Iterator[sqlite3.Connection]:
    """Open a run file for reading, in one state even if it grows; an open connection is used as it is.

    See ``snapshot`` for several readings of one state.
    """
    if isinstance(source, sqlite3.Connection):
        yield source
    elif (connection := _snapshots.get().get(Path(source).resolve())) is not None:
        yield connection
    else:
        with store.reading(source) as connection:
            yield connection


@contextmanager
def part(source: Source, conversations: int | None = None, turn: int | None = None) -> Iterator[sqlite3.Connection]:
    """Open a run file as if only a part of it had been run; unless that is all of it, in a copy in memory.

    Parameters
    ----------
    source : path-like or sqlite3.Connection
    conversations : int, optional
        Only the first so many conversations of the dataset; None: all.
    turn : int, optional
        Only turns with this index; None: all.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    SettingsError
        One of the two is below 1.
    """
    for name, number in (("conversations", conversations), ("turn", turn)):
        if number is not None and number < 1:
            raise SettingsError(f"{name} is {number}, and must be 1 or more")
    with opened(source) as connection:
        if conversations is None and turn is None:
            yield connection
            return
        with closing(sqlite3.connect(":memory:")) as copy:
            connection.backup(copy)
            for table in ("turn", "attempt", "score"):
                if conversations is not None:
                    copy.execute(f"DELETE FROM {table} WHERE conversation >= ?", (conversations,))  # noqa: S608
                if turn is not None:
                    copy.execute(f"DELETE FROM {table} WHERE turn <> ?", (turn,))  # noqa: S608
            copy.commit()
            yield copy


def _measures(
    index: int | None,
    outcomes: Mapping[int | None, TurnOutcomes],
    times: Mapping[str, Mapping[int | None, TurnTimes]],
    retries: Retries,
) -> Measures:
    counts = outcomes[index]
    return Measures(
        turn=index,
        turns=counts.turns,
        answered=counts.answered,
        errors=counts.errors,
        accuracy=counts.accuracy,
        accuracy_all=counts.accuracy_all,
        ttft_ms=times["ttft"][index].quantiles,
        latency_ms=times["latency"][index].quantiles,
        tpot_ms=times["tpot"][index].quantiles,
        schedule_latency_ms=times["schedule_latency"][index].quantiles,
        turn_time_ms=times["turn_time"][index].quantiles,
        retries=retries,
        samples={metric: times[metric][index].sample for metric in ("ttft", "latency")},
        interrupted=counts.interrupted,
    )


def measured(data: Source | RunMeasures) -> RunMeasures:
    """The measures themselves, or those of a run file."""
    return data if isinstance(data, RunMeasures) else measure(data)
