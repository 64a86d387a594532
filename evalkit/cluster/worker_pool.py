"""The workers that a Dask cluster has now, and the tasks that run on them."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from evalkit.cluster.cluster_worker import ClusterWorker
from evalkit.errors import SettingsError

FIRST_WORKER_S = 30.0
CLOSE_S = 2.0
GATHER_S = 5.0  # for results that have been computed; a worker that dies at that moment has lost its own


class Lost(Exception):
    """A task has no result: its worker has gone, or it failed; the argument says why."""


class WorkerPool:
    """Finds workers, and runs at most one task at a time on each. Dask never moves or repeats a task.

    Parameters
    ----------
    client : distributed.Client

    Attributes
    ----------
    workers : dict
        Address to worker.
    excluded : set of str
        Addresses that are not used.
    """

    def __init__(self, client: Any) -> None:
        self.workers: dict[str, ClusterWorker] = {}
        self.excluded: set[str] = set()
        self._client = client
        self._last: list[Any] = []
        self._completed: queue.SimpleQueue[tuple[ClusterWorker, Any]] = queue.SimpleQueue()

    def wait_for_one(self) -> None:
        """Wait until the cluster has a worker.

        Raises
        ------
        SettingsError
            It has none.
        """
        try:
            self._client.wait_for_workers(1, timeout=FIRST_WORKER_S)
        except TimeoutError:
            raise SettingsError(
                f"the cluster has no workers after {FIRST_WORKER_S:.0f} s: start some, with dask worker ADDRESS"
            ) from None

    def check_connected(self) -> None:
        """Raise if the scheduler has gone.

        Raises
        ------
        ConnectionError
        """
        if self._client.status != "running":
            raise ConnectionError(f"the connection to the scheduler is {self._client.status}")

    def look(self) -> tuple[list[ClusterWorker], list[ClusterWorker]]:
        """Compare with the workers that the scheduler knows: those that are new, and those that have gone."""
        known = self._client.nthreads()
        gone = [worker for address, worker in self.workers.items() if address not in known]
        joined = [self.add(address) for address in known if address not in self.workers | dict.fromkeys(self.excluded)]
        return joined, gone

    def add(self, address: str) -> ClusterWorker:
        """Add a worker."""
        self.workers[address] = worker = ClusterWorker(address)
        return worker

    def submit(self, worker: ClusterWorker, function: Callable[..., Any], *arguments: Any) -> None:
        """Run a function on a worker."""
        worker.tasks += 1
        key = f"evalkit-{function.__name__.replace('_', '-')}-{worker.session}-{worker.tasks}"
        worker.asked_s = time.monotonic()
        worker.future = self._client.submit(
            function, *arguments, key=key, workers=[worker.address], pure=False, retries=0, priority=10
        )
        worker.future.add_done_callback(lambda done: self._completed.put((worker, done)))

    def completed(self, wait_s: float) -> Iterator[tuple[ClusterWorker, Any]]:
        """Workers whose tasks have ended within this time, with the result or ``Lost``."""
        found: list[tuple[ClusterWorker, Any]] = []
        with suppress(queue.Empty):
            found.append(self._completed.get(timeout=wait_s) if wait_s > 0 else self._completed.get_nowait())
            while True:
                found.append(self._completed.get_nowait())
        found = [(worker, future) for worker, future in found if worker.future is future]
        for (worker, _), result in zip(found, self._results([future for _, future in found]), strict=True):
            worker.future = None
            yield worker, result

    def _results(self, futures: list[Any]) -> list[Any]:
        if futures and all(future.status == "finished" for future in futures):

            async def gather() -> list[Any]:
                return list(await self._client.gather(futures, errors="skip", asynchronous=True))

            with suppress(Exception):  # then each by itself
                found: list[Any] = self._client.sync(gather, callback_timeout=GATHER_S)
                if len(found) == len(futures):
                    return found
        return [_result(future) for future in futures]

    def remove(self, worker: ClusterWorker, function: Callable[[str], None]) -> None:
        """Forget a worker, and have it run a last function with the name of its session, if it still can."""
        self.workers.pop(worker.address, None)
        if worker.future is not None:
            with suppress(Exception):  # the scheduler may be gone
                worker.future.cancel()
            worker.future = None
        if self._client.status == "running":
            with suppress(Exception):
                self._last.append(
                    self._client.submit(function, worker.session, workers=[worker.address], pure=False, priority=10)
                )

    def close(self, function: Callable[[str], None]) -> None:
        """Remove all workers, and wait a moment for what they run last."""
        for worker in list(self.workers.values()):
            self.remove(worker, function)
        if self._last and self._client.status == "running":
            with suppress(Exception):
                from distributed import wait

                wait([future for future in self._last if future.status == "pending"], timeout=CLOSE_S)
        self._last.clear()


def _result(future: Any) -> Any:
    if future.status == "finished":
        try:
            return future.result(timeout=GATHER_S)
        except Exception as error:
            return Lost(f"{type(error).__name__}: {error}")
    if future.status == "error":
        raised = future.exception(timeout=GATHER_S)
        if isinstance(raised, ModuleNotFoundError):
            return Lost(f"{raised.name} is not installed there")
        return Lost(f"{type(raised).__name__}: {raised}")
    return Lost(f"its task was {future.status}")
