"""For how long one request has met a server that says that it is loading its model."""

from __future__ import annotations

import time

from evalkit.engine.pacing.pause import Pause
from evalkit.errors import LOADING, Failure


class LoadingWait:
    """Watches the failures of one request that say that the model is loading.

    Parameters
    ----------
    pause : Pause
        Of all requests to the endpoint.

    Attributes
    ----------
    alone : bool
        The latest failure was one of them, although other requests were answered since the first.
    refused_s : float
        Since the first of them, or since the endpoint has answered nobody, if that is longer; 0: there was none.
    """

    def __init__(self, pause: Pause) -> None:
        self._pause = pause
        self._since = 0.0
        self._answers: int | None = None  # of others, at the first such failure
        self.alone = False
        self.refused_s = 0.0

    def note(self, failure: Failure) -> None:
        """Take note of a failure of the request."""
        if failure.pending != LOADING:
            self.alone = False
            return
        now = time.monotonic()
        if self._answers is None:
            self._since, self._answers = now, self._pause.answers
        self.alone = self._pause.answers > self._answers
        self.refused_s = max(now - self._since, self._pause.refused_s)
