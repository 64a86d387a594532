"""Numbers and findings in words: the same in a terminal, a report and a pull request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from evalkit.wording.numbers import MISSING, counted, duration, money, number, percent

FUNCTION_WAIT_MS = 10.0  # a thread that is free starts in less
STANDS_OUT = 0.05  # a share of reads or requests beyond which it is told
NAMES = {"ttft": "TTFT", "latency": "latency", "tpot": "TPOT"}
_ADDED_TO = {**NAMES, "tpot": "TPOT, from first to last token", "icl": "gap between reads"}


def rate(accuracy: Mapping[str, Any]) -> str:
    """An accuracy of ``--json`` with its denominator and interval."""
    return MISSING if accuracy["value"] is None else _share(accuracy, f" of {accuracy['n']}")


def _share(share: Mapping[str, Any], more: str = "") -> str:
    shown = f"{percent(share['value'])}{more}"
    return shown if share["low"] is None else f"{shown} ({percent(share['low'])} to {percent(share['high'])})"


def conversations(scores: Mapping[str, Any]) -> str:
    """How right whole conversations were, by ``conversations`` of ``--json``."""
    left_out = f"; {scores['incomplete']} are incomplete" if scores["incomplete"] else ""
    if not scores["n"]:
        return f"conversations: none is complete{left_out}"
    rights = f"all turns right {_share(scores['all_right'])}, last turn right {_share(scores['last_right'])}"
    return f"conversations: {rights}, of {scores['n']}{left_out}"


def repeats(told: Mapping[str, Any]) -> str:
    """How often turns were right over all repeats, by ``repeats`` of ``--json``."""
    if told["once"]["value"] is None:
        return f"over {told['k']} repeats: {MISSING}, no turn has {told['k']} scores"
    rights = f"right at least once {_share(told['once'])}, each time {_share(told['always'])}"
    lack = "1 turn lacks" if told["left_out"] == 1 else f"{told['left_out']:,} turns lack"
    left_out = f", of {told['n']:,} turns; {lack} {told['k']} scores" if told["left_out"] else ""
    return f"over {told['k']} repeats: {rights}{left_out}"


def accuracy_all(result: Mapping[str, Any]) -> str:
    """Both denominators of a run's accuracy."""
    answered, every = result["accuracy"], result["accuracy_all"]
    note = f", {answered['unscored']} answered turns have no score" if answered["unscored"] else ""
    return f"accuracy over answered turns {rate(answered)}; over all turns {rate(every)}{note}"


def interrupted(count: int) -> str:
    """What became of the turns that were being asked when their session ended."""
    turns, them = ("turn was", "it") if count == 1 else ("turns were", "them")
    return (
        f"{count:,} {turns} cancelled when the session ended: a lower bound in the times, in no accuracy; "
        f"'evalkit resume' asks {them} again"
    )


def verdict(result: Mapping[str, Any], model: str) -> str:
    """What came of a run, in two sentences.

    Parameters
    ----------
    result : mapping
        The object of ``--json``.
    model : str
    """
    turns, answered, accuracy = result["turns"], result["answered"], result["accuracy"]
    if not turns:
        return f"{model} has no finished turn yet."
    how_many = f"all {turns:,}" if answered == turns else f"{answered:,} of {turns:,}"
    told = f"{model} answered {how_many} turns" if answered else f"{model} answered none of {turns:,} turns"
    if accuracy["value"] is not None:
        graded = abs(accuracy["n"] * (1 - accuracy["value"]) - accuracy["wrong"]) > 1e-6 * accuracy["n"]
        told += (
            f", with a mean score of {percent(accuracy['value'])} over {accuracy['n']:,} scored ones"
            if graded
            else f", and {percent(accuracy['value'])} of {accuracy['n']:,} scored ones were right"
        )
        if accuracy["low"] is not None:
            told += f" (95 % interval {percent(accuracy['low'])} to {percent(accuracy['high'])})"
    elif answered:
        told += "; none of the answers is scored"
    latency, ttft = result["latency_ms"]["p50"], result["ttft_ms"]["p50"]
    if latency is None:
        return f"{told}."
    first = "" if ttft is None else f", median time to first token {number(ttft, ' ms')}"
    return f"{told}. Median latency {number(latency, ' ms')}{first}."


def client_added(lag_ms: float | None, medians: Mapping[str, float | None], metrics: Sequence[str]) -> str:
    """How much of these metrics the client may have added, beside their medians in ms."""
    shown = [f"of {number(medians[name], ' ms')} ({_ADDED_TO[name]})" for name in metrics if medians[name] is not None]
    return f"up to {number(lag_ms, ' ms')} {', '.join(shown)}"


def trust(told: Mapping[str, Any], slots: int | str) -> tuple[str, bool]:
    """How far the times of a run can be trusted, and whether that is a warning.

    Parameters
    ----------
    told : mapping
        ``trust`` of ``--json``.
    slots : int or str
        The run's concurrency.
    """
    unknown, stalled = told["sessions_not_known"], _stalls(told)
    parts = []
    if unknown == 1:
        parts = ["not known for one session, which was killed or is still running"]
    elif unknown:
        parts = [f"not known for {unknown} sessions, which were killed or are still running"]
    held_back = streams(told["streams"], told["streams_at_once"], told["streams_first_read_late"])
    doubtful = ["TTFT"] * bool(held_back) + ["stalls"] * (bool(stalled) and told["stalled_share"] > STANDS_OUT)
    lag, medians, bound = told["loop_lag_p99_ms"], told["medians_ms"], told["client_bound_metrics"]
    if lag is not None and any(medians.values()):
        good = "" if unknown else f"good{' but for ' * bool(doubtful)}{' and '.join(doubtful)}, "
        how = f"{' and '.join(NAMES[name] for name in bound)} CLIENT-BOUND, " if bound else good
        shown = bound or ["ttft" if medians["ttft"] is not None else "latency"]
        added = client_added(lag, medians, shown)
        parts.append(f"{how}event-loop lag p99 {number(lag, ' ms')}: the client may have added {added}")
    elif not unknown:
        parts.append("not measured: the run is too short")
    return f"trust: {'; '.join([*parts, *held_back, *stalled, *_what_stands_out(told, slots)])}", bool(
        bound or doubtful
    )


def streams(count: int, at_once: int, late: int) -> list[str]:
    """How many of these streams have a first-token time that is another, where that is more than a few."""
    said = []
    if at_once > STANDS_OUT * count:
        said.append(
            f"{at_once:,} of {count:,} streams came nearly at once: their first-token time is that of the whole answer"
        )
    if late > STANDS_OUT * count:
        said.append(
            f"in {late:,} of {count:,} streams the first read held several tokens: their first-token time may be late "
            "by what these took"
        )
    return said


def stream(flags: Collection[str]) -> str | None:
    """Why the first-token time of one stream is another, by the flags of its attempt; None: it is none."""
    if "buffered" in flags:
        return "it came nearly at once: its first-token time is that of the whole answer"
    if "first_read_late" in flags:
        return "its first read held several tokens: its first-token time may be late by what these took"
    return None


def marked(heading: str, told: Mapping[str, Any], mark: str) -> str:
    """The heading of a column of times, with a mark where the metric, its first word, may be the client's."""
    bound = {NAMES[name] for name in told["client_bound_metrics"] or ()}
    return f"{heading}{mark}" if heading.split(" ")[0] in bound else heading


def _stalls(told: Mapping[str, Any]) -> list[str]:
    """Where the client stood still during many turns, for long beside their times."""
    longest, share = told["loop_stall_max_ms"], told["stalled_share"]
    shortest = told["medians_ms"]["ttft"] or told["medians_ms"]["latency"]
    if not share or longest is None or shortest is None or longest <= STANDS_OUT * shortest:
        return []
    return [f"it stood still for up to {number(longest, ' ms')}, during {percent(share)} of the turns"]


def _what_stands_out(told: Mapping[str, Any], slots: int | str) -> Iterator[str]:
    reads, several = told["reads"], told["reads_with_several_events"]
    if reads and several is not None and several > STANDS_OUT * reads:
        share = percent(several / reads, 0)
        yield f"{share} of reads held several events: gaps between tokens are coarser than they were sent"
    opened, attempts = told["attempts_on_new_connections"], told["attempts"]
    # every slot has to open one
    if opened > STANDS_OUT * attempts and not (isinstance(slots, int) and opened <= slots):
        yield f"{opened} of {attempts} requests needed a new connection"
    if (waited := told["function_wait_max_ms"]) is not None and waited > FUNCTION_WAIT_MS:
        yield f"calls of your functions waited up to {number(waited, ' ms')} for a thread, which is in no latency"


def turn_time(result: Mapping[str, Any]) -> str:
    """How long turns took, all waits included, and what retries had in it."""
    times, again = result["turn_time_ms"], result["retries"]
    told = (
        f"turn time, waits and retries included: p50 {number(times['p50'], ' ms')}, p95 {number(times['p95'], ' ms')}"
    )
    if not again["requests"]:
        return f"{told}; no request was made again"
    which = "one turn" if again["turns"] == 1 else f"{again['turns']:,} turns"
    requests = "one request again" if again["requests"] == 1 else f"{again['requests']:,} requests again"
    return f"{told}; {which} made {requests} and lost {duration(again['lost_s'])} by that"


def cost(told: Mapping[str, Any]) -> str:
    """What a run cost, by ``cost`` of ``--json``."""
    least = "" if told["complete"] else "at least "
    untold = "" if told["complete"] else f"; {told['untold']} requests told no tokens"
    now = "; by the price file as it is now: the run keeps no price" if told["price_from"] == "file" else ""
    if told["total"] is None:
        return f"cost: {MISSING}{untold}{now}"
    right = "" if told["per_right"] is None else f", {money(told['per_right'])} a right answer"
    return f"cost: {least}{money(told['total'])}, {money(told['per_turn'])} a turn{right}{untold}{now}"


def arrivals(told: Mapping[str, Any]) -> str:
    """When conversations were due, by ``arrivals`` of ``--json``."""
    seed = "" if told["seed"] is None else f" (seed {told['seed']})"
    return f"{told['kind']} arrivals{seed}: {told['rate']:g}/s wanted, {number(told['realised_rate'])}/s realised"


def until(told: Mapping[str, Any]) -> tuple[str, bool]:
    """How well the accuracy is known, of a run that was to end when it is, and whether that is a warning.

    Parameters
    ----------
    told : mapping
        ``until`` of ``--json``.
    """
    value, low, high, goal = told["value"], told["low"], told["high"], f"--until ci={told['ci']:g}"
    if value is None:
        return f"{goal} is not reached: no conversation has ended with a scored turn", True
    after = f"after {told['conversations']} conversations: accuracy {percent(value)}"
    if low is None or high is None:
        why = "its limits have crossed: the conversations do not come in random order, shuffle the dataset"
        return f"{goal} is not reached {after}, {why}", True
    known = f"{after}, within ± {100 * max(value - low, high - value):.2g} points at any time (95 %, anytime-valid)"
    return (f"stopped {known}", False) if told["reached"] else (f"{goal} is not reached {known}", True)


def ignored(told: Mapping[str, Any], *, alone: bool = False) -> Iterator[str]:
    """Parameters that an endpoint seems to ignore, by ``ignored_parameters`` of ``--json``; ``alone``: of one."""
    limit, choice = told["max_tokens"], told["tool_choice"]
    if limit is not None and limit["longer"]:
        verb = "is" if limit["longer"] == 1 else "are"
        which = "this answer" if alone else f"{limit['longer']:,} of {counted(limit['answers'], 'answer')}"
        yield f"this endpoint seems to ignore {' and '.join(limit['parameters'])}: {which} {verb} longer"
    if choice is not None and 2 * choice["without_call"] > choice["turns"]:
        shown = f"{choice['without_call']:,} of {counted(choice['turns'], 'turn')} that demanded a function call"
        yield f"this endpoint seems to ignore tool_choice: {shown} brought none"


def cut_off(told: Mapping[str, Any], *, alone: bool = False) -> Iterator[str]:
    """How many answers were cut off, and at what limit, by ``ignored_parameters`` of ``--json``; ``alone``: of one."""
    cut, limit = told["cut_off"], told["max_tokens"]
    names = " or ".join(limit["parameters"]) if limit else ""
    for count, where in (
        (cut["at_limit"], f"at the token limit ({names})"),
        (
            cut["elsewhere"],
            "at a token limit of the endpoint's own (finish reason length)" + (f", not at {names}" if names else ""),
        ),
    ):
        if count:
            which = "this answer" if alone else counted(count, "answer")
            yield f"{which} {'was' if count == 1 else 'were'} cut off {where}"


def answering_models(told: Mapping[str, Any], repeats: int = 1, quoted: Callable[[str], str] = str) -> Iterator[str]:
    """What answered other than the model that was asked for, by ``answering_models`` of ``--json``.

    Parameters
    ----------
    told : mapping
    repeats : int
        Of the run.
    quoted : callable
        A name from a stranger as it may stand in a text.
    """

    def listed(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{quoted(_name(name))} ({count:,})" for name, count in counts.items())

    answers = counted(told["answers"], "answer")
    names = listed(told["models"])
    names += f", others ({told['others']:,})" if told["others"] else ""
    if told["another"]:
        verb = "names" if told["another"] == 1 else "name"
        yield f"{told['another']:,} of {answers} {verb} another model than {quoted(_name(told['asked']))}: {names}"
    elif told["several"]:
        yield f"several models answered: {names}"
    if told["fallbacks"]:
        yield f"{told['fallbacks']:,} of {answers} came from a fallback, by their headers"
    if len(told["providers"]) > 1:
        yield f"several providers answered: {listed(told['providers'])}"
    if told["fingerprints"] > 1:
        yield f"the endpoint changed during the run: {told['fingerprints']:,} different values of system_fingerprint"
    if told["not_independent"]:
        why = []
        if told["cached"]:
            why.append(f"{told['cached']:,} by their headers")
        if told["repeated_ids"]:
            why.append(f"{told['repeated_ids']:,} with id and text of an earlier answer")
        effect = "their times are the cache's"
        if repeats > 1:
            effect += ", and repeats from a cache are not independent: do not rely on what is said over repeats"
        yield f"{told['not_independent']:,} of {answers} came from a cache ({', '.join(why)}): {effect}"


def _name(text: str) -> str:
    """A name from a stranger on one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:80]).split())
    return line if len(text) <= 80 else f"{line}…"
