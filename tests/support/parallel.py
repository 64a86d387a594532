"""What mostly waits is started together."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def in_parallel(function: Callable[[Any], Any], cases: Iterable[Any]) -> dict[Any, Future[Any]]:
    """A future for each case, in a thread of its own; ``result()`` gives what it returned or raises its error."""
    named = list(cases)
    pool = ThreadPoolExecutor(len(named))
    found = {case: pool.submit(function, case) for case in named}
    pool.shutdown(wait=False)
    return found
