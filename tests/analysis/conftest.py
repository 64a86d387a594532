"""Runs that tests of several files read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from runfiles import S, T, talk, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "demo.evalkit"


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A run of 40 conversations of 3 turns, twice, with failures; and what went in, as a frame."""
    rng = np.random.default_rng(7)
    turns = []
    for number in range(40):
        skill = rng.beta(1, 1.5)
        for repeat in (1, 2):
            for turn in (1, 2, 3):
                error = rng.choice(["timeout", "server", "truncated"]) if rng.random() < 0.12 else None
                tokenless = error == "server" or (error == "timeout" and rng.random() < 0.5)
                scored = error is None and rng.random() < 0.9
                turns.append(
                    T(
                        f"c{number:02}",
                        turn,
                        repeat=repeat,
                        error=error,
                        ttft_ms=None if tokenless else round(rng.gamma(4, 20 + 30 * (turn == 1)), 3),
                        latency_ms=round(300 + rng.gamma(4, 100), 3),
                        end_ms=3000.0 if error == "timeout" else 100.0,
                        tokens=int(rng.integers(2, 90)) if rng.random() < 0.8 else None,
                        score=float(rng.random() < skill) if scored else None,
                    )
                )
    conversations = [talk(f"c{n:02}", group=f"g{n // 2}" if n < 10 else None) for n in range(40)]
    file = write(tmp_path_factory.mktemp("runs") / "big.evalkit", [S(turns, end_ms=12_000.0)], conversations)
    return file, pd.DataFrame([vars(turn) for turn in turns])
