"""The results of one run in sentences: the same in a terminal, a report and a pull request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from evalkit.wording.numbers import MISSING, counted, duration, money, number, percent, plus_minus, share_with_interval

FUNCTION_WAIT_MS = 10.0  # a free thread starts sooner
NOTABLE_SHARE = 0.05  # of reads, requests or streams: only a larger share is reported
NAMES = {"ttft": "TTFT", "latency": "latency", "tpot": "TPOT"}
_DELAYED = {**NAMES, "tpot": "TPOT, from first to last token", "icl": "gap between reads"}


def sentence(line: str) -> str:
    """A line as a sentence: with a capital letter and a full stop."""
    return f"{line[0].upper()}{line[1:]}{'' if line.endswith('.') else '.'}"


def accuracy_with_interval(accuracy: Mapping[str, Any]) -> str:
    """An ``accuracy`` of ``--json`` with its denominator and interval."""
    return _share(accuracy, f" of {accuracy['n']:,}")


def _share(share: Mapping[str, Any], denominator: str = "") -> str:
    return share_with_interval(share["value"], share["low"], share["high"], denominator)


def conversations(scores: Mapping[str, Any]) -> str:
    """Accuracy over whole conversations: ``conversations`` of ``--json``."""
    verb = "is" if scores["incomplete"] == 1 else "are"
    incomplete = f"; {scores['incomplete']} {verb} incomplete" if scores["incomplete"] else ""
    if not scores["n"]:
        return f"conversations: none is complete{incomplete}"
    shares = f"all turns right {_share(scores['all_right'])}, last turn right {_share(scores['last_right'])}"
    return f"conversations: {shares}, of {scores['n']}{incomplete}"


def repeats(result: Mapping[str, Any]) -> str:
    """How often turns were right over all repeats: ``repeats`` of ``--json``.

    Where no turn has that many scores, because calls failed, also over the largest number that turns have.
    """
    text = _over_repeats(result)
    if result["once"]["value"] is not None:
        return text
    smaller = [each for each in result["by_k"] if each["once"]["value"] is not None and each["k"] > 1]
    return f"{text}; {_over_repeats(smaller[-1])}" if smaller else text


def _over_repeats(result: Mapping[str, Any]) -> str:
    over = f"over {result['k']} repeats"
    if result["once"]["value"] is None:
        return f"{over}: {MISSING}, no turn has {result['k']} scores"
    shares = f"right at least once {_share(result['once'])}, every time {_share(result['always'])}"
    turns = "1 turn has" if result["left_out"] == 1 else f"{result['left_out']:,} turns have"
    left_out = f", of {result['n']:,} turns; {turns} fewer than {result['k']} scores" if result["left_out"] else ""
    return f"{over}: {shares}{left_out}"


def accuracy_all(result: Mapping[str, Any]) -> str:
    """Accuracy over answered turns and over all turns."""
    answered, every = accuracy_with_interval(result["accuracy"]), accuracy_with_interval(result["accuracy_all"])
    unscored = result["accuracy"]["unscored"]
    note = f"; {counted(unscored, 'answered turn')} {'has' if unscored == 1 else 'have'} no score" if unscored else ""
    return f"accuracy over answered turns {answered}; over all turns {every}{note}"


def precision(result: Mapping[str, Any]) -> str | None:
    """How well the accuracy is known, as ``evalkit plan`` and ``--until`` say it; None: there is no interval."""
    accuracy = result["accuracy"]
    if accuracy["low"] is None or accuracy["high"] is None:
        return None
    half = max(accuracy["value"] - accuracy["low"], accuracy["high"] - accuracy["value"])
    return f"the accuracy is known within {plus_minus(half)} (95 %)"


def cancelled_turns(count: int) -> str:
    """What happened to the turns whose request was in flight when their session ended."""
    turns, times, them = ("turn was", "its time is", "it") if count == 1 else ("turns were", "their times are", "them")
    bound = "a lower bound" if count == 1 else "lower bounds"
    return (
        f"{count:,} {turns} cancelled when the session ended: {times} {bound}, and no accuracy counts {them}; "
        f"'evalkit resume' sends {them} again"
    )


def verdict(result: Mapping[str, Any], model: str) -> str:
    """The result of a run, in two sentences.

    Parameters
    ----------
    result : mapping
        The object of ``--json``.
    model : str
    """
    turns, answered = result["turns"], result["answered"]
    if not turns:
        return f"{model} has no finished turn yet."
    shown = "none" if not answered else "all" if answered == turns else f"{answered:,}"
    of = " " if shown == "all" else " of "
    first = f"{model} answered {shown}{of}{counted(turns, 'turn')}{_scored(result['accuracy'], answered)}."
    latency, ttft = result["latency_ms"]["p50"], result["ttft_ms"]["p50"]
    if latency is None:
        return first
    first_token = "" if ttft is None else f", median time to first token {number(ttft, ' ms')}"
    return f"{first} Median latency {number(latency, ' ms')}{first_token}."


def _scored(accuracy: Mapping[str, Any], answered: int) -> str:
    """The part of a verdict that is about scores."""
    value, n = accuracy["value"], accuracy["n"]
    if value is None:
        return "; none of the answers is scored" if answered else ""
    graded = abs(n * (1 - value) - accuracy["wrong"]) > 1e-6 * n
    if graded:
        text = f", with a mean score of {percent(value)} over {counted(n, 'scored answer')}"
    else:
        text = f", and {percent(value)} of {counted(n, 'scored answer')} {'was' if n == 1 else 'were'} right"
    if accuracy["low"] is not None:
        text += f" (95 % interval {percent(accuracy['low'])} to {percent(accuracy['high'])})"
    return text


def delay_added_by_client(lag_ms: float | None, medians: Mapping[str, float | None], metrics: Sequence[str]) -> str:
    """How much of these metrics may be the client's own delay, compared with their medians in ms."""
    parts = [f"of {number(medians[name], ' ms')} ({_DELAYED[name]})" for name in metrics if medians[name] is not None]
    return f"up to {number(lag_ms, ' ms')} {', '.join(parts)}"


def first_token_warnings(count: int, at_once: int, late: int) -> list[str]:
    """How many of ``count`` streams have a first-token time that is not what it seems, if that is a notable share."""
    warnings = []
    if at_once > NOTABLE_SHARE * count:
        warnings.append(
            f"{at_once:,} of {count:,} streams arrived almost all at once: their first-token time is that of the whole "
            "answer"
        )
    if late > NOTABLE_SHARE * count:
        warnings.append(
            f"in {late:,} of {count:,} streams the first read held several tokens: their first-token time may be late "
            "by the time these took"
        )
    return warnings


def first_token_warning(flags: Collection[str]) -> str | None:
    """Why the first-token time of one stream is not what it seems, by the flags of its attempt; None if it is."""
    if "buffered" in flags:
        return "the stream arrived almost all at once: its first-token time is that of the whole answer"
    if "first_read_late" in flags:
        return "the first read held several tokens: the first-token time may be late by the time these took"
    return None


def marked_heading(heading: str, trust: Mapping[str, Any], mark: str) -> str:
    """The heading of a column of times, with a mark if its metric, the first word, is client-bound."""
    bound = {NAMES[name] for name in trust["client_bound_metrics"] or ()}
    return f"{heading}{mark}" if heading.split(" ")[0] in bound else heading


def stalls(trust: Mapping[str, Any]) -> list[str]:
    """Stalls of the client that are long compared with the times of turns."""
    longest, share = trust["loop_stall_max_ms"], trust["stalled_share"]
    shortest = trust["medians_ms"]["ttft"] or trust["medians_ms"]["latency"]
    if not share or longest is None or shortest is None or longest <= NOTABLE_SHARE * shortest:
        return []
    return [f"the client stalled for up to {number(longest, ' ms')}, during {percent(share)} of the turns"]


def notable(trust: Mapping[str, Any], slots: int | str) -> Iterator[str]:
    """What else the client did that is worth a note; for the parameters see ``times_trust``."""
    reads, several = trust["reads"], trust["reads_with_several_events"]
    if reads and several is not None and several > NOTABLE_SHARE * reads:
        share = percent(several / reads, 0)
        yield f"{share} of reads held several events: gaps between tokens are coarser than they were sent"
    opened, attempts = trust["attempts_on_new_connections"], trust["attempts"]
    # each slot opens one in any case
    if opened > NOTABLE_SHARE * attempts and not (isinstance(slots, int) and opened <= slots):
        yield f"{opened} of {attempts} requests needed a new connection"
    if (waited := trust["function_wait_max_ms"]) is not None and waited > FUNCTION_WAIT_MS:
        yield f"calls of your functions waited up to {number(waited, ' ms')} for a thread, which no latency includes"
    if lost := trust.get("workers_lost"):
        again = counted(trust["turns_sent_again"], "turn")
        yield f"{counted(lost, 'worker')} lost, {again} sent again by others: the endpoint may have seen them twice"


def turn_time(result: Mapping[str, Any]) -> str:
    """How long turns took including all waits, and how much of that was lost to retries."""
    times, retries = result["turn_time_ms"], result["retries"]
    p50, p95 = number(times["p50"], " ms"), number(times["p95"], " ms")
    text = f"turn time, waits and retries included: p50 {p50}, p95 {p95}"
    if not retries["requests"]:
        return f"{text}; no request was retried"
    turns, requests = counted(retries["turns"], "turn"), counted(retries["requests"], "request")
    return f"{text}; {turns} retried {requests} and lost {duration(retries['lost_s'])} to that"


def cost(cost: Mapping[str, Any]) -> str:
    """What a run cost: ``cost`` of ``--json``."""
    least = "" if cost["complete"] else "at least "
    unknown = "" if cost["complete"] else f"; no tokens reported for {counted(cost['untold'], 'request')}"
    source = "; by the current price file: the run stores no price" if cost["price_from"] == "file" else ""
    if cost["total"] is None:
        return f"cost: {MISSING}{unknown}{source}"
    right = "" if cost["per_right"] is None else f", {money(cost['per_right'])} per right answer"
    return f"cost: {least}{money(cost['total'])}, {money(cost['per_turn'])} per turn{right}{unknown}{source}"


def token_counts(counts: Mapping[str, Any]) -> list[str]:
    """The tokens of a turn in words: none if none is known.

    Parameters
    ----------
    counts : mapping
        ``prompt_tokens``, ``output_tokens`` and what is part of them: ``reasoning_tokens``, ``cached_tokens`` and
        ``cache_write_tokens``. Missing: None.
    """

    def words(name: str, **parts: str) -> Iterator[str]:
        if (total := counts[f"{name}_tokens"]) is not None:
            within = [f"{counts[key]:,} {words}" for key, words in parts.items() if counts[key]]
            yield f"{total:,} {name} tokens" + (f" ({', '.join(within)})" if within else "")

    return [
        *words("prompt", cached_tokens="cached", cache_write_tokens="written to the cache"),
        *words("output", reasoning_tokens="reasoning"),
    ]


def token_parts(tokens: Mapping[str, int | None]) -> str | None:
    """How many tokens of a run were cached or reasoning: ``tokens`` of ``--json``; None: none were."""
    if not any(tokens[name] for name in ("reasoning", "cached", "cache_write")):
        return None
    return f"tokens: {', '.join(token_counts({f'{name}_tokens': count for name, count in tokens.items()}))}"


def arrivals(arrivals: Mapping[str, Any]) -> str:
    """When conversations were due: ``arrivals`` of ``--json``."""
    seed = "" if arrivals["seed"] is None else f" (seed {arrivals['seed']})"
    target, actual = f"{arrivals['rate']:g}/s", f"{number(arrivals['realised_rate'])}/s"
    return f"{arrivals['kind']} arrivals{seed}: target {target}, actual {actual}"


def accuracy_goal(until: Mapping[str, Any]) -> tuple[str, bool]:
    """How well the accuracy of a run with ``--until`` is known, and whether that is a warning.

    Parameters
    ----------
    until : mapping
        ``until`` of ``--json``.
    """
    value, low, high, goal = until["value"], until["low"], until["high"], f"--until ci={until['ci']:g}"
    if value is None:
        return f"{goal} is not reached: no conversation with a scored turn has ended", True
    after = f"after {counted(until['conversations'], 'conversation')}: accuracy {percent(value)}"
    if low is None or high is None:
        why = "its limits have crossed: the conversations are not in random order, shuffle the dataset"
        return f"{goal} is not reached {after}, {why}", True
    known = f"{after}, within {plus_minus(max(value - low, high - value))} at any time (95 %, anytime-valid)"
    return (f"stopped {known}", False) if until["reached"] else (f"{goal} is not reached {known}", True)


def ignored_parameters(result: Mapping[str, Any], *, alone: bool = False) -> Iterator[str]:
    """Parameters that an endpoint seems to ignore: ``ignored_parameters`` of ``--json``.

    ``alone``: there is one answer only.
    """
    limit, choice = result["max_tokens"], result["tool_choice"]
    if limit is not None and limit["longer"]:
        verb = "is" if limit["longer"] == 1 else "are"
        which = "this answer" if alone else f"{limit['longer']:,} of {counted(limit['answers'], 'answer')}"
        yield f"this endpoint seems to ignore {' and '.join(limit['parameters'])}: {which} {verb} longer"
    if choice is not None and 2 * choice["without_call"] > choice["turns"]:
        turns = f"{choice['without_call']:,} of {counted(choice['turns'], 'turn')} that required a function call"
        yield f"this endpoint seems to ignore tool_choice: {turns} brought none"


def cut_off(result: Mapping[str, Any], *, alone: bool = False) -> Iterator[str]:
    """How many answers were cut off, and at which limit: ``ignored_parameters`` of ``--json``.

    ``alone``: there is one answer only.
    """
    cut, limit = result["cut_off"], result["max_tokens"]
    names = " or ".join(limit["parameters"]) if limit else ""
    for count, where in (
        (cut["at_limit"], f"at the token limit ({names})"),
        (
            cut["elsewhere"],
            "at the endpoint's own token limit (finish reason length)" + (f", not at {names}" if names else ""),
        ),
    ):
        if count:
            which = "this answer" if alone else counted(count, "answer")
            yield f"{which} {'was' if count == 1 else 'were'} cut off {where}"


def answering_models(result: Mapping[str, Any], repeats: int = 1, quoted: Callable[[str], str] = str) -> Iterator[str]:
    """What answered other than the requested model: ``answering_models`` of ``--json``.

    Parameters
    ----------
    result : mapping
    repeats : int
        Repeats of the run.
    quoted : callable
        Makes a name that an endpoint sent safe for the text it is put into.
    """

    def with_counts(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{quoted(_one_line(name))} ({count:,})" for name, count in counts.items())

    answers = counted(result["answers"], "answer")
    names = with_counts(result["models"])
    names += f", others ({result['others']:,})" if result["others"] else ""
    if result["another"]:
        verb = "names" if result["another"] == 1 else "name"
        requested = quoted(_one_line(result["asked"]))
        yield f"{result['another']:,} of {answers} {verb} another model than {requested}: {names}"
    elif result["several"]:
        yield f"several models answered: {names}"
    if result["fallbacks"]:
        yield f"{result['fallbacks']:,} of {answers} came from a fallback, by their headers"
    if len(result["providers"]) > 1:
        yield f"several providers answered: {with_counts(result['providers'])}"
    if result["fingerprints"] > 1:
        yield f"the endpoint changed during the run: {result['fingerprints']:,} different values of system_fingerprint"
    if result["not_independent"]:
        why = []
        if result["cached"]:
            why.append(f"{result['cached']:,} by their headers")
        if result["repeated_ids"]:
            why.append(f"{result['repeated_ids']:,} with the id and text of an earlier answer")
        effect = "their times are the cache's"
        if repeats > 1:
            effect += ", and repeats from a cache are not independent: do not rely on results over repeats"
        yield f"{result['not_independent']:,} of {answers} came from a cache ({', '.join(why)}): {effect}"


def _one_line(name: str) -> str:
    """A name that an endpoint sent, on one line and at most 80 characters long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in name[:80]).split())
    return line if len(name) <= 80 else f"{line}…"
