import numpy as np
import pytest

from evalkit.checkup.client_bias import LAW, Calibration, Level, calibrate
from evalkit.errors import SettingsError
from evalkit.stats.estimate import Estimate


def test_every_turn_is_compared_with_its_own_entry_in_the_log_of_the_server():
    (level,) = calibrate((16,)).levels
    assert level.turns >= 128
    assert level.ttft_ms > LAW.ttft_ms
    # compared with another request's entry, the error would be far from 0 and of either sign; its own is never negative
    assert level.ttft_error_ms["p50"].value > 0
    assert level.latency_error_ms["p50"].value > 0
    assert level.ttft_error_ms["p99"].value >= level.ttft_error_ms["p50"].value
    assert level.loop_lag_p99_ms > 0
    assert 0 < level.cpu_share < 2
    assert list(level.to_json()) == [
        "streams", "turns", "ttft_error_ms", "latency_error_ms", "ttft_ms", "loop_lag_p99_ms", "cpu_share",
        "server_late_p99_ms", "client_bound",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("streams", "shown"), [((), "none"), ((0,), "0"), ((4, 1), "4, 1"), ((1, 1), "1, 1"), ((1.5,), "1.5")]
)
def test_invalid_streams(streams, shown):
    with pytest.raises(SettingsError) as caught:
        calibrate(streams)
    assert str(caught.value) == f"streams are {shown}: give whole numbers in rising order, such as 1,16,64,256"


def level(streams, bound, p50=0.4, p99: float | None = 1.1):
    errors = {"p50": Estimate(p50, None, None, 9), "p99": Estimate(p99, None, None, 9)}
    return Level(streams, 9, errors, errors, 50.0, 1.0, 0.2, None, bound)


def test_the_sentence_about_the_bias():
    assert level(64, False).sentence() == "TTFT +0.4 ms, p99 +1.1 ms at 64 streams, this machine"
    assert level(1, False, p99=None).sentence() == "TTFT +0.4 ms at 1 stream, this machine"


@pytest.mark.parametrize(
    ("bound", "trusted"),
    [
        ((False, False, False), 64),
        ((False, True, False), 1),
        ((True, False, False), None),
        ((None, False, False), None),
    ],
)
def test_trust_ends_at_the_first_level_at_which_the_client_is_late(bound, trusted):
    levels = tuple(level(streams, each) for streams, each in zip((1, 16, 64), bound, strict=True))
    assert Calibration(levels).trusted_streams == trusted
    assert np.isfinite(Calibration(levels).to_json()["levels"][0]["ttft_error_ms"]["p50"])


def test_a_watch_that_stops_leaves_the_complete_levels():
    seen = {}

    def watch(progress):
        seen[id(progress)] = progress
        return len(seen) == 2

    stopped = calibrate((2, 4, 8), watch)
    assert ([level.streams for level in stopped.levels], stopped.to_json()["stopped"]) == ([2], True)
