"""The part of a step in which the load was complete: after the warm-up, before the first slot runs out of work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
NS_PER_S = 1e9


@dataclass(frozen=True, slots=True)
class ConversationSpans:
    """Start and end of each conversation of a step, in ns; ``of_turn`` is the index of each turn's conversation."""

    start: Floats
    end: Floats
    of_turn: NDArray[np.intp]

    @classmethod
    def of(cls, rows: NDArray[Any]) -> ConversationSpans:
        """Spans from the turns of a step; a repeat is a conversation of its own."""
        _, of_turn = np.unique(rows[["position", "repeat"]], return_inverse=True)
        count = int(of_turn.max()) + 1 if len(rows) else 0
        start, end = np.full(count, np.inf), np.full(count, -np.inf)
        np.minimum.at(start, of_turn, np.where(np.isnan(rows["due"]), np.inf, rows["due"]))
        for stamp in ("due", "sent", "end"):
            np.maximum.at(end, of_turn, np.where(np.isnan(rows[stamp]), -np.inf, rows[stamp]))
        return cls(start, end, of_turn)

    def first(self, count: int) -> Flags:
        """Flag the ``count`` conversations that started first."""
        flags = np.zeros(len(self.start), dtype=bool)
        flags[np.argsort(self.start, kind="stable")[:count]] = True
        return flags

    def rate(self, warm: Flags) -> float | None:
        """Conversations started per second, from the first to the last after the warm-up; None: fewer than two."""
        starts = self.start[~warm & np.isfinite(self.start)]
        span = float(starts.max() - starts.min()) if len(starts) > 1 else 0.0
        return (len(starts) - 1) / span * NS_PER_S if span else None

    def window(self, warm: Flags, *, open_loop: bool) -> tuple[float, float]:
        """Start and end of the time with complete load, in ns; see ``Step``."""
        if not len(self.start):
            return 0.0, 0.0
        start = self.end[warm].max() if warm.any() else self.start.min()
        last = self.start.max()
        stop = last if open_loop else self.end[self.end > last].min(initial=np.inf)
        return float(start), float(stop) if stop < np.inf else float(self.end.max())


def share_inside(due: Floats, end: Floats, window: tuple[float, float]) -> Floats:
    """The share of each span from due to end that lies in the window."""
    overlap = np.minimum(end, window[1]) - np.maximum(due, window[0])
    share: Floats = np.nan_to_num(np.clip(overlap, 0.0, None) / np.maximum(end - due, 1.0))
    return share
