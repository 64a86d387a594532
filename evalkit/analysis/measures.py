"""A run in numbers: counts, accuracy and times by turn index, with their intervals; read from the run file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from evalkit.analysis import caveats, client_trust, costs, ignored_parameters
from evalkit.analysis.accuracy import by_conversation, by_scoring
from evalkit.analysis.accuracy import by_turn as accuracy_by_turn
from evalkit.analysis.accuracy.by_conversation import ConversationScores, RepeatScores
from evalkit.analysis.accuracy.by_tag import TagTally, TagVerdicts
from evalkit.analysis.accuracy.by_turn import Accuracy, Verdicts
from evalkit.analysis.answering_models import AnsweringModels, answering_models
from evalkit.analysis.caveats import NO_CAVEATS, Caveats
from evalkit.analysis.client_trust import Trust
from evalkit.analysis.costs import Cost, Price
from evalkit.analysis.ignored_parameters import IgnoredParameters
from evalkit.analysis.times import quantiles
from evalkit.analysis.times.quantiles import Retries, Sample, Times
from evalkit.engine.stopping.accuracy_goal import Told, Until
from evalkit.errors import SettingsError
from evalkit.runfile import schema, store
from evalkit.stats.estimate import Estimate

Source = Path | str | sqlite3.Connection
_held: ContextVar[Mapping[Path, sqlite3.Connection]] = ContextVar("held", default=MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Measures:
    """Some of a run's turns in numbers.

    Parameters
    ----------
    turn : int or None
        The turn index they share; None: all turns.
    turns, answered : int
        Finished turns, and those among them that have an answer.
    errors : dict
        Error kind to number of turns, the most frequent first.
    accuracy : Accuracy
        Over answered and scored turns.
    accuracy_all : Accuracy
        Failed turns with a target count as 0 here, interrupted ones do not count. Turns without a target are in
        neither denominator.
    ttft_ms, latency_ms, tpot_ms, schedule_latency_ms, turn_time_ms : dict
        ``p50``, ``p95``, ``p99`` to Estimate, in ms. A time-out, or a turn that was interrupted, is a lower bound of
        its latencies and, when no token came, of its TTFT. There is a schedule latency in open loop only.
    retries : Retries
    samples : dict
        ``ttft`` and ``latency`` to Sample.
    interrupted : int
        Turns that were being asked when their session ended. They are among ``turns`` and ``errors``, as ``cancelled``,
        but the endpoint did not fail: they are not in the denominator of ``accuracy_all``, and ``resume`` asks them.
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
    """A run in numbers: what every summary and chart of it is made of.

    Parameters
    ----------
    name : str
    all : Measures
    by_turn : tuple of Measures
        By turn index; turn 1 apart, since it is cold.
    by_tag : tuple of TagVerdicts
        By tag of the conversations: of the 50 tags with the most finished turns, these first.
    tags_left_out : int
        Tags beyond those.
    conversations : ConversationScores
        Of whole conversations.
    repeats : RepeatScores or None
        Of turns over all repeats, or over the k asked for; None: each was asked once.
    scoring : int
        Whose scores these are: 0 is the run's own, another number a later scoring.
    open_loop : bool
        A schedule, and not a free slot, said when turns were due.
    prompt_tokens, output_tokens : int or None
        Sums of what the endpoint told of its turns. None: it told none.
    trust : Trust
    wall_s : float or None
        Sum over sessions of end − start; a session without an end counts up to its last turn. None: nothing ended.
    turns_per_s : float or None
        Answered turns / ``wall_s``; failed ones are no throughput.
    cost : Cost or None
        None: no price is known.
    until : Told or None
        How well the accuracy is known, for a run that was to end when it is known well enough; None: it was not.
    arrivals : mapping or None
        In open loop: ``kind``, ``rate`` as wanted, ``seed``, and ``realised_rate``. None: closed loop.
    planned : int or None
        Turns that the run is to ask: those of its dataset, each so often as it is repeated; those that have ended, when
        ``until`` is reached. None: not known, since the dataset was not read to its end.
    ignored : IgnoredParameters or None
        What became of limits and demands. None: not looked for.
    models : AnsweringModels or None
        Which models answered. None: not looked for.
    caveats : Caveats
        What has to be known of its answers.
    """

    name: str
    all: Measures
    by_turn: tuple[Measures, ...]
    by_tag: tuple[TagVerdicts, ...]
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
    until: Told | None
    arrivals: Mapping[str, Any] | None = None
    planned: int | None = None
    ignored: IgnoredParameters | None = None
    models: AnsweringModels | None = None
    caveats: Caveats = NO_CAVEATS


def measure(source: Source, price: Price | None = None, k: int | None = None) -> RunMeasures:
    """Measure a run, read once for several summaries and charts.

    Accuracy is the mean score: with scores of 0 and 1 the share of right answers. Its interval takes the turns of one
    conversation, or of one ``group`` of conversations, as one cluster (``stats.proportion``).

    Parameters
    ----------
    source : path-like or sqlite3.Connection
    price : Price, optional
        For the cost of a run that keeps none.
    k : int, optional
        Repeats that ``repeats`` is over, from 2 to those of the run. None: all of them.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    SettingsError
        The run has fewer than k repeats, or k is below 2.
    """
    with opened(source) as connection:
        info = store.run_info(connection)
        over = _repeats(info, k)
        sums = f"count(schedule_latency_ns), sum(prompt_tokens), sum(output_tokens), {client_trust.STREAMS}"
        query = f"SELECT {sums} FROM turn"  # noqa: S608 - SQL of our own
        scheduled, prompt_tokens, output_tokens, *streams = connection.execute(query).fetchone()
        talks, tags = by_conversation.Tally(connection), TagTally(connection)
        judged = accuracy_by_turn.judged(connection, talks, tags)
        scores = talks.scores()
        by_tag, tags_left_out = tags.verdicts()
        counts = {index: judged[index].turns for index in judged if index is not None}
        streamed = info["settings"].get("stream", True)
        timed = quantiles.timed(connection, counts, streamed=streamed, scheduled=scheduled > 0)
        again = quantiles.retries(connection)
        everything, *by_turn = (_measures(index, judged, timed, again.get(index, Retries())) for index in judged)
        scoring, wall_s = by_scoring.counting(connection), client_trust.wall_s(connection)
        medians = (getattr(everything, f"{metric}_ms")["p50"].value for metric in client_trust.METRICS)
        trust = client_trust.trust(connection, streams, client_trust.medians_ms(*medians))
        price = costs.kept_price(info) or price
        right = everything.accuracy.mean.n - everything.accuracy.wrong
        cost = None if price is None else costs.cost(connection, price, turns=everything.turns, right=right)
        until = _until(connection, info)
        arrivals = _arrivals(connection, info["settings"])
        repeats = by_conversation.repeated(connection, over)
        planned = _planned(connection, info, everything.turns, until)
        ignored = ignored_parameters.look(connection, info)
        models = answering_models(connection, info)
        found = caveats.caveats(connection)
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
        trust=trust,
        wall_s=wall_s,
        turns_per_s=everything.answered / wall_s if wall_s else None,
        cost=cost,
        until=until,
        arrivals=arrivals,
        planned=planned,
        ignored=ignored,
        models=models,
        caveats=found,
    )


def _arrivals(connection: sqlite3.Connection, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    if settings.get("rate") is None:
        return None
    told = {"kind": settings.get("arrivals"), "rate": settings["rate"], "seed": settings.get("arrivals_seed")}
    return {**told, "realised_rate": client_trust.realised_rate(connection)}


def _repeats(info: Mapping[str, Any], k: int | None) -> int:
    repeats: int = info["settings"].get("repeats", 1)
    if k is not None and not 2 <= k <= repeats:
        asked = "once" if repeats == 1 else f"{repeats} times"
        raise SettingsError(f"k is {k}: the run asks each conversation {asked}, and k is from 2 to that number")
    return repeats if k is None else k


def _planned(connection: sqlite3.Connection, info: Mapping[str, Any], ended: int, until: Told | None) -> int | None:
    """See ``RunMeasures``; a session that came to its end has asked all, also of a dataset that nobody had counted."""
    outcome = connection.execute("SELECT outcome FROM session ORDER BY id DESC LIMIT 1").fetchone()
    turns = info["dataset"].get("turns")
    if (until is not None and until.reached) or (turns is None and outcome == ("done",)):
        return ended
    return None if turns is None else max(int(turns) * int(info["settings"].get("repeats", 1)), ended)


def _until(connection: sqlite3.Connection, info: Mapping[str, Any]) -> Told | None:
    ci = info["settings"].get("until_ci")
    if ci is None:
        return None
    return Until(ci, info["dataset"]["most_turns"]).replay(connection.execute(schema.PROGRESS)).told()


@contextmanager
def one_moment(*paths: Path | str) -> Iterator[None]:
    """Within the block every reading of these run files sees them as they are at its beginning, however they grow.

    Raises
    ------
    RunFileError
        A file cannot be read as a run file.
    """
    with ExitStack() as stack:
        held = dict(_held.get())
        for path in map(Path, paths):
            if path.resolve() not in held:
                connection = stack.enter_context(opened(path))
                store.run_info(connection)  # a transaction stands at a moment from its first reading on
                held[path.resolve()] = connection
        token = _held.set(held)
        try:
            yield
        finally:
            _held.reset(token)


@contextmanager
def opened(source: Source) -> Iterator[sqlite3.Connection]:
    """A run file open to read, in one state although it may be growing; an open connection is taken as it is.

    See ``one_moment`` for several readings of one state.
    """
    if isinstance(source, sqlite3.Connection):
        yield source
    elif (held := _held.get().get(Path(source).resolve())) is not None:
        yield held
    else:
        with store.reading(source) as connection:
            yield connection


def _measures(
    index: int | None,
    judged: Mapping[int | None, Verdicts],
    timed: Mapping[str, Mapping[int | None, Times]],
    retries: Retries,
) -> Measures:
    counts = judged[index]
    return Measures(
        turn=index,
        turns=counts.turns,
        answered=counts.answered,
        errors=counts.errors,
        accuracy=counts.accuracy,
        accuracy_all=counts.accuracy_all,
        ttft_ms=timed["ttft"][index].quantiles,
        latency_ms=timed["latency"][index].quantiles,
        tpot_ms=timed["tpot"][index].quantiles,
        schedule_latency_ms=timed["schedule_latency"][index].quantiles,
        turn_time_ms=timed["turn_time"][index].quantiles,
        retries=retries,
        samples={metric: timed[metric][index].sample for metric in ("ttft", "latency")},
        interrupted=counts.interrupted,
    )
