"""The times of a run by the definitions of other benchmark tools, beside our own.

Each tool's definition was read in its source; ``TOOLS`` names the repository, the version and the file. The figures are
computed from the stored stamps of all successful streamed requests and the token counts that the endpoint reported. A
run does not store when chunks without tokens came (only a role, only a finish reason, usage), and has no tokenizer:
where a definition needs one of these, the figure is a bound or approximate, and says why.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from evalkit.analysis.times import stored_requests
from evalkit.analysis.times.stored_requests import Requests
from evalkit.stats.arrays import Floats

METRICS = ("ttft", "itl", "tpot", "latency", "output_tokens_per_s", "requests_per_s")
AT_MOST, AT_LEAST, ABOUT = "at most", "at least", "about"
_UNITS = {"output_tokens_per_s": "tokens/s", "requests_per_s": "requests/s"}
_NOT_STREAMED = "the run was not streamed"
_NO_TOKENS = "the endpoint reported no output tokens"
_TOO_SHORT = "no answer has two tokens or more"
_FEWEST_FOR_P99 = 100
_ZERO_TOKENS = "the endpoint reported 0 output tokens"
_NOTHING_VISIBLE = "no answer has a visible token"
_ONE_READ = "every answer came in one read"
_NO_TIME = "no time passed between the two moments of its definition"
_SEVERAL_SESSIONS = "the run has several sessions, and the time between them is not part of it"
_ROLE_CHUNK = "the first chunk counts even if it holds only a role, and the run has no time of such a chunk"
_OWN_TOKENIZER = "Tokens are counted by a tokenizer of the tool; here they are those that the endpoint reported"


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric by the definition of a tool.

    Parameters
    ----------
    metric : str
        One of ``METRICS``.
    label : str
        What the tool calls it.
    theirs, ours : dict
        ``mean``, ``p50`` and ``p99`` in ms, of a rate only ``mean``; empty: missing. Our p99 needs 100 values.
    bound : str or None
        ``at most``, ``at least`` or ``about`` where the run lacks a stamp or a count that the definition needs.
    differs : str or None
        In what the definition differs from ours; None: in nothing.
    missing : str or None
        Why ``theirs`` is empty.
    """

    metric: str
    label: str
    theirs: dict[str, float]
    ours: dict[str, float]
    bound: str | None
    differs: str | None
    missing: str | None

    @property
    def unit(self) -> str:
        """``ms``, ``tokens/s`` or ``requests/s``."""
        return _UNITS.get(self.metric, "ms")

    def to_json(self) -> dict[str, Any]:
        """The figure as ``--json`` prints it."""
        names = ("metric", "label", "unit", "theirs", "ours", "bound", "differs", "missing")
        values = {name: getattr(self, name) for name in names}
        return values | {name: values[name] or None for name in ("theirs", "ours")}


@dataclass(frozen=True, slots=True)
class Definition:
    """How a tool defines a metric.

    Parameters
    ----------
    label : str
    values : callable
        ``Requests`` to the values of the requests; of a rate to one number.
    differs : str or None
    bound : str or None
    weights : callable or None
        ``Requests`` to the weights of the values, for tools that weight requests by their tokens.
    empty : str or None
        Why no request has a value; None: their tokens say why.
    """

    label: str
    values: Callable[[Requests], Floats | float]
    differs: str | None = None
    bound: str | None = None
    weights: Callable[[Requests], Floats] | None = None
    empty: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A benchmark tool.

    Parameters
    ----------
    source : str
        Where its definitions were read.
    definitions : mapping
        Metric to definition; without one, the tool has no such metric.
    quantiles : str
        ``linear``, or ``inverted_cdf``: the smallest value that the share of values, or of weights, does not exceed.
    """

    source: str
    definitions: Mapping[str, Definition] = field(default_factory=dict)
    quantiles: Literal["linear", "inverted_cdf"] = "linear"


def _span(begin: Floats, end: Floats) -> float:
    """From the earliest to the latest, in s; NaN: there is no time between them."""
    known = end[~np.isnan(end)], begin[~np.isnan(begin)]
    span = (known[0].max() - known[1].min()) / 1e3 if all(map(len, known)) else 0.0
    return float(span) if span > 0 else float("nan")


def _tokens_over(begin: str, end: str) -> Callable[[Requests], float]:
    return lambda run: _total(run.tokens) / _span(getattr(run, begin), getattr(run, end))


def _requests_over(begin: str, end: str) -> Callable[[Requests], float]:
    return lambda run: len(run.sent) / _span(getattr(run, begin), getattr(run, end))


def _total(tokens: Floats) -> float:
    return float("nan") if np.isnan(tokens).all() else float(np.nansum(tokens))


_FIRST_TO_LAST = "from the first request to the last token; ours is over the whole time of the sessions"
_FIRST_TO_END = "from the first request to the end of the last answer; ours is over the whole time of the sessions"
_NO_FIRST_EVENT = (
    "One token is taken for the first arrival; ours subtracts the tokens that the first arrival held, where it is known"
)
_PER_REQUEST = "the mean of each request, as our TPOT: (last − first token) / (tokens − 1); ours are gaps between reads"
_POOLED = "all gaps between chunks, pooled; two chunks in one read have a gap of nearly 0, which ours does not count"

_CHUNK_GAPS = Definition(
    "ITL",
    lambda run: run.gaps,
    f"{_POOLED}. Gaps around a chunk with only a role or a finish reason count too",
    ABOUT,
    empty=_ONE_READ,
)
TOOLS: dict[str, Tool] = {
    "aiperf": Tool(
        "ai-dynamo/aiperf 0.13.0, aiperf/metrics/types/",
        {
            "ttft": Definition("Time to First Token", lambda run: run.first - run.sent),
            "itl": Definition(
                "Inter Token Latency",
                lambda run: run.decoding,
                f"{_PER_REQUEST}; with --per-chunk-usage it subtracts the tokens of the first chunk, as ours does. "
                f"{_OWN_TOKENIZER}, as with --use-server-token-count",
                ABOUT,
            ),
            "latency": Definition("Request Latency", lambda run: run.last - run.sent),
            "output_tokens_per_s": Definition(
                "Output Token Throughput",
                _tokens_over("sent", "last"),
                f"{_FIRST_TO_LAST}. {_OWN_TOKENIZER}, as with --use-server-token-count",
                ABOUT,
            ),
            "requests_per_s": Definition("Request Throughput", _requests_over("sent", "last"), _FIRST_TO_LAST),
        },
    ),
    "guidellm": Tool(
        "vllm-project/guidellm 0.8.1, guidellm/schemas/base/request_stats.py and benchmark/schemas/metrics.py",
        {
            "ttft": Definition("TTFT", lambda run: run.first - run.sent),
            "itl": Definition(
                "ITL",
                lambda run: run.decoding,
                f"{_PER_REQUEST}. Requests are weighted by their tokens − 1",
                weights=lambda run: run.tokens - 1,
            ),
            "tpot": Definition(
                "TPOT",
                lambda run: (run.last - run.sent) / np.where(run.tokens > 0, run.tokens, np.nan),
                "it includes the first token: (last token − sent) / tokens. Requests are weighted by their tokens",
                weights=lambda run: run.tokens,
            ),
            "latency": Definition(
                "Request Latency",
                lambda run: run.end - run.sent,
                "it ends with the stream, not with the last token",
            ),
            "output_tokens_per_s": Definition(
                "Output Tokens per Second",
                _tokens_over("first", "last"),
                "from the first token of all to the last; ours is over the whole time of the sessions",
            ),
            "requests_per_s": Definition("Requests per Second", _requests_over("sent", "end"), _FIRST_TO_END, ABOUT),
        },
        "inverted_cdf",
    ),
    "vllm": Tool(
        "vllm-project/vllm 02cfb534, vllm/benchmarks/serve.py and lib/endpoint_request_func.py",
        {
            "ttft": Definition("TTFT", lambda run: run.first - run.sent, _ROLE_CHUNK, AT_MOST),
            "itl": _CHUNK_GAPS,
            "tpot": Definition(
                "TPOT",
                lambda run: run.decoding,
                f"(latency − TTFT) / (tokens − 1), with its own TTFT and latency. {_NO_FIRST_EVENT}",
                AT_LEAST,
            ),
            "latency": Definition(
                "E2EL",
                lambda run: run.last - run.sent,
                "it ends with the last chunk that has choices, which is the one with the finish reason",
                AT_LEAST,
            ),
            "output_tokens_per_s": Definition(
                "Output token throughput", _tokens_over("sent", "end"), _FIRST_TO_END, ABOUT
            ),
            "requests_per_s": Definition("Request throughput", _requests_over("sent", "end"), _FIRST_TO_END, ABOUT),
        },
    ),
    "evalscope": Tool(
        "modelscope/evalscope fde259d2, evalscope/perf/utils/benchmark_util.py and plugin/api/default_api.py",
        {
            "ttft": Definition("TTFT", lambda run: run.first - run.sent, _ROLE_CHUNK, AT_MOST),
            "itl": _CHUNK_GAPS,
            "tpot": Definition(
                "TPOT",
                lambda run: run.per_token(run.end - run.first),
                "(latency − TTFT) / (tokens − 1), and its latency ends with the usage chunk; here with the stream",
                ABOUT,
            ),
            "latency": Definition(
                "Latency",
                lambda run: run.end - run.sent,
                "it ends with the last event, such as usage; here with the stream",
                AT_MOST,
            ),
            "output_tokens_per_s": Definition("Output Throughput", _tokens_over("sent", "end"), _FIRST_TO_END, ABOUT),
            "requests_per_s": Definition("Request Throughput", _requests_over("sent", "end"), _FIRST_TO_END, ABOUT),
        },
        "inverted_cdf",
    ),
    "genai-perf": Tool(
        "triton-inference-server/perf_analyzer 263c5f6e, genai_perf/profile_data_parser/llm_profile_data_parser.py",
        {
            "ttft": Definition("Time To First Token", lambda run: run.first - run.sent),
            "itl": Definition(
                "Inter Token Latency",
                lambda run: run.decoding,
                f"{_PER_REQUEST}. Chunks that came in one read are merged. {_OWN_TOKENIZER}",
                ABOUT,
            ),
            "latency": Definition("Request Latency", lambda run: run.last - run.sent),
            "output_tokens_per_s": Definition(
                "Output Token Throughput", _tokens_over("sent", "last"), f"{_FIRST_TO_LAST}. {_OWN_TOKENIZER}", ABOUT
            ),
            "requests_per_s": Definition(
                "Request Throughput",
                _requests_over("sent", "last"),
                f"{_FIRST_TO_LAST}. Requests without an answer count there",
                ABOUT,
            ),
        },
    ),
    "llmperf": Tool(
        "ray-project/llmperf f1d6bed4, token_benchmark_ray.py and ray_clients/openai_chat_completions_client.py",
        {
            "ttft": Definition(
                "ttft_s",
                lambda run: run.visible - run.sent,
                "only content counts: reasoning and calls do not. It is our time to the first visible token",
                ABOUT,
                empty=_NOTHING_VISIBLE,
            ),
            "itl": Definition(
                "inter_token_latency_s",
                lambda run: (run.last - run.sent) / run.events,
                "it includes the time to the first token: (last token − sent) / chunks. Chunks without tokens count "
                "too, and the run does not have their number",
                AT_MOST,
            ),
            "latency": Definition(
                "end_to_end_latency_s",
                lambda run: run.end - run.sent,
                "it ends with the stream, not with the last token",
            ),
            "output_tokens_per_s": Definition(
                "mean_output_throughput_token_per_s",
                _tokens_over("sent", "end"),
                f"{_FIRST_TO_END}. {_OWN_TOKENIZER}",
                ABOUT,
            ),
            "requests_per_s": Definition(
                "num_completed_requests_per_min / 60", _requests_over("sent", "end"), _FIRST_TO_END, ABOUT
            ),
        },
    ),
}


def figures(connection: sqlite3.Connection, tool: str, wall_s: float | None) -> list[Figure]:
    """The metrics of a run as a tool would give them, each beside ours.

    Parameters
    ----------
    connection : sqlite3.Connection
    tool : str
        A key of ``TOOLS``.
    wall_s : float or None
        Time of the run's sessions, for our rates.
    """
    run = stored_requests.read(connection)
    return [_figure(run, metric, TOOLS[tool], wall_s) for metric in METRICS]


def _figure(run: Requests, metric: str, tool: Tool, wall_s: float | None) -> Figure:
    ours, definition = _ours(run, metric, wall_s), tool.definitions.get(metric)
    if definition is None:
        return Figure(metric, "–", {}, ours, None, None, "the tool has no such metric")
    missing = _why_missing(run, metric)
    weights = None if definition.weights is None else definition.weights(run)
    theirs = {} if missing else _summary(definition.values(run), weights, tool.quantiles)
    if not theirs and missing is None:
        missing = _why_empty(run, metric, definition)
    return Figure(
        metric, definition.label, theirs, ours, definition.bound if theirs else None, definition.differs, missing
    )


def _ours(run: Requests, metric: str, wall_s: float | None) -> dict[str, float]:
    if metric.endswith("_per_s"):
        count = _total(run.tokens) if metric == "output_tokens_per_s" else float(len(run.sent))
        return _summary(count / wall_s) if wall_s else {}
    streamed = np.where(np.isnan(run.last), run.end, run.last)
    values = {"ttft": run.first - run.sent, "itl": run.gaps, "tpot": run.tpot, "latency": streamed - run.sent}
    summary = _summary(values[metric])
    if np.count_nonzero(~np.isnan(values[metric])) < _FEWEST_FOR_P99:
        summary.pop("p99", None)
    return summary


def _why_missing(run: Requests, metric: str) -> str | None:
    if not len(run.sent):
        return "no request was answered"
    if metric != "requests_per_s" and np.isnan(run.first).all():
        return _NOT_STREAMED
    return _SEVERAL_SESSIONS if metric.endswith("_per_s") and run.sessions > 1 else None


def _why_empty(run: Requests, metric: str, definition: Definition) -> str:
    """Why a definition has no value for any request of a run that could have some."""
    if metric == "requests_per_s":
        return _NOT_STREAMED if np.isnan(run.first).all() else _NO_TIME
    if definition.empty is not None:
        return definition.empty
    if np.isnan(run.tokens).all():
        return _NO_TOKENS
    if metric == "output_tokens_per_s":
        return _NO_TIME
    return _TOO_SHORT if np.nanmax(run.tokens) > 0 else _ZERO_TOKENS


def _summary(
    values: Floats | float, weights: Floats | None = None, method: Literal["linear", "inverted_cdf"] = "linear"
) -> dict[str, float]:
    """Mean, p50 and p99; of one number the mean alone. Empty: nothing is known."""
    if isinstance(values, float):
        return {} if np.isnan(values) else {"mean": values}
    known = ~np.isnan(values)
    values = values[known]
    if not len(values):
        return {}
    weights = None if weights is None else weights[known]
    p50, p99 = np.quantile(values, (0.5, 0.99), method=method, weights=weights)
    return {"mean": float(np.average(values, weights=weights)), "p50": float(p50), "p99": float(p99)}
