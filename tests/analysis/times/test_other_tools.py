"""The definitions of other tools, on times whose results can be computed by hand."""

import json

import pytest
from runfiles import S, T, write

import evalkit as ek
from evalkit.analysis.times import other_tools
from evalkit.analysis.times.other_tools import ABOUT, AT_LEAST, AT_MOST, METRICS, TOOLS
from evalkit.runfile import reader

# two requests: first tokens after 100 and 200 ms, last after 500 and 800 ms, of 5 and 21 tokens in 3 and 2 arrivals
TURNS = [
    T("a", 1, ttft_ms=100, between_ms=(200,), latency_ms=500, tokens=5, sent_ms=0),
    T("b", 1, ttft_ms=200, latency_ms=800, tokens=21, sent_ms=1000),
]
LAST_END_S, FIRST_TOKEN_S = 1.8, 0.1


def figures(path, tool, wall_s=2.0):
    with reader.reading(path) as connection:
        return {figure.metric: figure for figure in other_tools.figures(connection, tool, wall_s)}


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "r.evalkit", [S([*TURNS, T("c", 1, error="server", sent_ms=5_000)], end_ms=2000)])


# by hand: (500 - 100) / 4 = 100 ms and (800 - 200) / 20 = 30 ms for each token after the first
MEANS = {
    "aiperf": {"ttft": 150, "itl": 65, "tpot": None, "latency": 650, "output_tokens_per_s": 26 / LAST_END_S},
    "guidellm": {
        "ttft": 150,
        "itl": (4 * 100 + 20 * 30) / 24,
        "tpot": (500 + 800) / 26,
        "output_tokens_per_s": 26 / (LAST_END_S - FIRST_TOKEN_S),
    },
    "vllm": {"ttft": 150, "itl": (100 + 300 + 600) / 3, "tpot": 65, "requests_per_s": 2 / LAST_END_S},
    "evalscope": {"itl": (100 + 300 + 600) / 3, "tpot": 65, "latency": 650},
    "genai-perf": {"itl": 65, "tpot": None, "output_tokens_per_s": 26 / LAST_END_S},
    "llmperf": {"itl": (500 / 3 + 800 / 2) / 2, "tpot": None, "latency": 650},
}


@pytest.mark.parametrize("tool", TOOLS)
def test_means_by_hand(path, tool):
    found = figures(path, tool)
    assert list(found) == list(METRICS)
    for metric, mean in MEANS[tool].items():
        if mean is None:
            assert (found[metric].theirs, found[metric].missing) == ({}, "the tool has no such metric")
        else:
            assert found[metric].theirs["mean"] == pytest.approx(mean), metric
    ours = {metric: figure.ours.get("mean") for metric, figure in found.items()}
    assert (ours["ttft"], ours["tpot"]) == pytest.approx((150, 65))
    assert (ours["output_tokens_per_s"], ours["requests_per_s"]) == (13, 1)


def test_weighted_quantiles(path):
    tpot = figures(path, "guidellm")["tpot"].theirs
    assert (tpot["p50"], tpot["p99"]) == pytest.approx((800 / 21, 100))  # 21 of 26 tokens are the faster answer's


@pytest.mark.parametrize("tool", TOOLS)
def test_quantiles_of_two_values_are_those_that_the_tool_prints(tmp_path, tool):
    turns = [T("a", 1, latency_ms=100), T("b", 1, latency_ms=200)]
    found = figures(write(tmp_path / "r.evalkit", [S(turns)]), tool)["latency"]
    quantiles = (100, 200) if tool in ("guidellm", "evalscope") else (150, 199)
    assert (found.theirs["p50"], found.theirs["p99"]) == pytest.approx(quantiles)
    assert found.ours["p50"] == pytest.approx(150)


def test_our_quantiles_are_those_of_a_summary(tmp_path):
    """By linear interpolation, with as many values as p99 needs."""
    turns = [T(f"c{n}", 1, ttft_ms=n * n, latency_ms=20_000, tokens=2 + n, sent_ms=n) for n in range(1, 101)]
    path = write(tmp_path / "r.evalkit", [S(turns)])
    summary = ek.Run(path).summary_json()
    for tool in TOOLS:
        ours = figures(path, tool)["ttft"].ours
        assert (ours["p50"], ours["p99"]) == pytest.approx((summary["ttft_ms"]["p50"], summary["ttft_ms"]["p99"]))
        assert ours["p50"] == pytest.approx((50**2 + 51**2) / 2)


def test_bounds_say_what_the_run_lacks(path):
    vllm = figures(path, "vllm")
    assert [vllm[metric].bound for metric in ("ttft", "tpot", "latency", "itl")] == [AT_MOST, AT_LEAST, AT_LEAST, ABOUT]
    assert figures(path, "guidellm")["tpot"].bound is None


@pytest.mark.parametrize(
    ("turns", "stream", "metric", "why"),
    [
        ([], True, "ttft", "no request was answered"),
        ([T("a", 1, tokens=5)], False, "ttft", "not streamed"),
        ([T("a", 1)], True, "tpot", "reported no output tokens"),
        ([T("a", 1)], True, "output_tokens_per_s", "reported no output tokens"),
        ([T("a", 1, tokens=1)], True, "itl", "two tokens or more"),
        ([T("a", 1, tokens=0)], True, "tpot", "reported 0 output tokens"),
        ([T("a", 1, tokens=5)], False, "itl", "not streamed"),
        ([T("a", 1, tokens=5)], False, "output_tokens_per_s", "not streamed"),
        ([T("a", 1, ttft_ms=400, latency_ms=400, tokens=5)], True, "output_tokens_per_s", "no time passed between"),
    ],
)
def test_what_is_missing_says_why(tmp_path, turns, stream, metric, why):
    path = write(tmp_path / "r.evalkit", [S(turns)], stream=stream)
    figure = figures(path, "guidellm")[metric]
    assert figure.theirs == {}
    assert why in figure.missing
    assert json.loads(json.dumps(figure.to_json()))["theirs"] is None


@pytest.mark.parametrize("tokens", [None, 1, 5])
@pytest.mark.parametrize("tool", ["vllm", "evalscope"])
def test_gaps_are_missing_because_answers_came_in_one_read_whatever_their_tokens(tmp_path, tool, tokens):
    turns = [T("a", 1, ttft_ms=None, latency_ms=400, tokens=tokens)]  # one arrival
    found = figures(write(tmp_path / "r.evalkit", [S(turns)]), tool)["itl"]
    assert (found.theirs, found.missing) == ({}, "every answer came in one read")


@pytest.mark.parametrize("tokens", [None, 1, 5])
@pytest.mark.parametrize("tool", ["aiperf", "genai-perf"])
def test_the_rate_of_requests_up_to_the_last_token_needs_a_stream(tmp_path, tool, tokens):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, tokens=tokens)])], stream=False)
    assert figures(path, tool)["requests_per_s"].missing == "the run was not streamed"
    assert figures(path, "vllm")["requests_per_s"].missing is None


def test_a_tool_that_counts_content_only_misses_answers_without_any(path):
    found = figures(path, "llmperf")["ttft"]  # none of these turns has a first visible token
    assert (found.theirs, found.missing) == ({}, "no answer has a visible token")


def test_rates_over_several_sessions_are_missing(tmp_path):
    path = write(tmp_path / "r.evalkit", [S(TURNS[:1]), S([T("b", 1, tokens=3)], start_ms=90_000, end_ms=91_000)])
    found = figures(path, "aiperf")
    assert "several sessions" in found["requests_per_s"].missing
    assert found["ttft"].theirs["mean"] > 0


def test_every_source_names_a_repository_and_a_version():
    for tool in TOOLS.values():
        repository, version, *_ = tool.source.split()
        assert repository.count("/") == 1
        assert version.strip(",")
