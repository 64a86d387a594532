"""What the image tests draw: a fixed run, a fixed load test, a fixed comparison.

``PYTHONPATH=. python tests/support/charted.py`` makes the pictures in tests/charts/images again: look at each before
you commit it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from runfiles import S, T, talk, write

from evalkit.charts import catalogue
from evalkit.charts.chart import Chart
from evalkit.charts.style import styled
from evalkit.loadtest.slo import Slo
from evalkit.loadtest.step import Step
from evalkit.stats.estimate import Estimate

IMAGES = Path(__file__).parents[1] / "charts" / "images"
DPI = 60
TAGS = ("addition", "division", "fractions", "money")


def run(path: Path, *, skill: float = 0.8, seed: int = 5, conversations: int = 40) -> Path:
    """A run of two sessions: a cold first turn, prompts that grow, some failures, time-outs and tags."""
    rng = np.random.default_rng(seed)
    sessions: list[list[T]] = [[], []]
    for number in range(conversations):
        session = number >= conversations * 0.7
        begin = 9_000.0 * session + 1_000 * (number % (conversations * 0.7) // 4)
        tokens = int(rng.integers(30, 80))
        own = rng.beta(3, 1.5)
        for turn in (1, 2, 3):
            error = str(rng.choice(["timeout", "server"])) if rng.random() < 0.08 else None
            ttft = (40 + 80 * (turn == 1) + 0.2 * tokens) * float(rng.gamma(20, 0.05))
            reads = np.cumsum(rng.gamma(4, 5, size=12)) + ttft
            sessions[session].append(
                T(
                    f"c{number}", turn, ttft_ms=None if error else ttft, between_ms=() if error else tuple(reads[:-1]),
                    latency_ms=float(reads[-1]), error=error, end_ms=900.0, tokens=13, prompt_tokens=tokens,
                    sent_ms=begin, score=None if error else float(rng.random() < own * (skill if turn == 1 else 0.5)),
                )
            )  # fmt: skip
            begin += 900.0 if error else float(reads[-1])
            tokens += int(rng.integers(40, 90))
    talks = [talk(f"c{n}", tags=(TAGS[n % 4], *TAGS[1:2])) for n in range(conversations)]
    return write(path, [S(sessions[0], 0.0, 9_500.0), S(sessions[1], 9_000.0, 13_500.0)], talks)


def answers(path: Path) -> Path:
    """A run in which long answers take longer and are less often right; those of 40 tokens are cut off."""
    rng = np.random.default_rng(7)
    turns = []
    for number in range(60):
        tokens = min(int(rng.integers(5, 50)), 40)
        turns.append(
            T(
                f"c{number // 3}", number % 3 + 1, latency_ms=(80 + 15 * tokens) * float(rng.gamma(40, 0.025)),
                tokens=tokens, score=float(rng.random() < 1 - tokens / 50), sent_ms=1_000.0 * number,
                finish_reason="length" if tokens == 40 else "stop",
            )
        )  # fmt: skip
    return write(path, [S(turns)])


def estimate(value: float | None, half: float = 0.0, n: int = 100) -> Estimate:
    """An estimate with limits on both sides."""
    return Estimate(value, None, None, n, "none") if value is None else Estimate(value, value - half, value + half, n)


def step(load: float, turns_per_s: float | None, ttft: float, within: float, *, bound: bool = False) -> Step:
    """A step of a load test."""
    times = {q: estimate(ttft * factor, ttft * factor / 10) for q, factor in (("p50", 1), ("p95", 1.8), ("p99", 2.5))}
    return Step(
        load=load, path=Path(f"concurrency-{load:g}.evalkit"), warm_up=1, turns=110, answered=100,
        errors={"server": 10}, window_s=None if turns_per_s is None else 20.0, turns_per_s=turns_per_s,
        output_tokens_per_s=None, goodput=None if turns_per_s is None else turns_per_s * within, within_slo=within,
        unknown={}, ttft_ms=times, tpot_ms=times, latency_ms=times, schedule_latency_ms=times,
        accuracy=estimate(0.8 - load / 200, 0.07),
        loop_lag_p99_ms=1.0, client_bound=bound,
    )  # fmt: skip


def sweep(slo: str = "ttft=200ms") -> SimpleNamespace:
    """A load test with its knee at 8."""
    pace = ((1, 4.0, 50, 0.99), (2, 7.8, 55, 0.98), (4, 14.5, 70, 0.95), (8, 19.0, 120, 0.8), (16, 19.5, 300, 0.3))
    steps = tuple(step(*each, bound=each[0] == 16) for each in pace)
    return SimpleNamespace(plan=SimpleNamespace(by="concurrency"), slo=Slo.of(slo), measured=steps, knee=steps[3])


def effect(label: int | str | None, value: float | None, half: float, pairs: int, only: tuple[int, int], p: float):
    """A difference over some pairs."""
    told = estimate(value, half, pairs)
    return SimpleNamespace(
        label=label, pairs=pairs, difference=told, corrected_p=p, only_first=only[0], only_second=only[1],
        words="B is better by 9.0 points (95 % interval 2.0 to 16.0)",
    )  # fmt: skip


def contrast() -> SimpleNamespace:
    """Two runs compared."""
    return SimpleNamespace(
        first=SimpleNamespace(label="A", name="own"), second=SimpleNamespace(label="B", name="golden"),
        all=effect(None, 0.09, 0.07, 120, (9, 20), 0.01),
        by_turn=(effect(1, 0.0, 0.05, 40, (2, 2), 1.0), effect(2, 0.18, 0.1, 40, (3, 10), 0.004),
                 effect(3, None, 0.0, 40, (4, 8), 1.0)),
        by_tag=(effect("fractions", -0.05, 0.12, 60, (6, 3), 0.4), effect("money", 0.2, 0.25, 30, (3, 9), 0.2)),
        tags_left_out=7,
    )  # fmt: skip


def charts(folder: Path) -> Mapping[str, Chart]:
    """Every chart there is, by name."""
    a, b = run(folder / "a.evalkit"), run(folder / "b.evalkit", skill=0.3, seed=6)
    return {
        **catalogue.charts(a),
        "answer-length": catalogue.chart(answers(folder / "answers.evalkit"), "answer-length"),
        "accuracy-latency": catalogue.models_chart([a, b]),
        **catalogue.contrast_charts(contrast()),
        **catalogue.sweep_charts(sweep()),
    }


def picture(chart: Chart) -> Figure:
    """A chart without letters, whose shapes differ from version to version of matplotlib; tests read the words."""
    with styled():
        page = Figure(figsize=(5, 3.5), dpi=DPI)
        chart.draw(page.add_axes((0.04, 0.06, 0.92, 0.82)))
    for lettered in (*page.findobj(Text), *page.findobj(Legend)):
        lettered.set_visible(False)
    return page


def pixels(page: Figure) -> np.ndarray:
    """Red, green and blue of a figure, 0 to 1, means of three by three."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(page)
    canvas.draw()
    return blurred(np.asarray(canvas.buffer_rgba())[..., :3] / 255.0)


def blurred(image: np.ndarray) -> np.ndarray:
    """Means of three by three pixels."""
    height, width = (size // 3 * 3 for size in image.shape[:2])
    return image[:height, :width].reshape(height // 3, 3, width // 3, 3, 3).mean(axis=(1, 3))


def main() -> None:
    """Make all pictures again."""
    IMAGES.mkdir(exist_ok=True)
    for old in IMAGES.glob("*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        for name, chart in charts(Path(folder)).items():
            picture(chart).savefig(IMAGES / f"{name}.png", dpi=DPI, metadata={"Software": None})


if __name__ == "__main__":
    main()
