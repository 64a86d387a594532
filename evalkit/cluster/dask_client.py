"""From what a user names as a cluster to a Dask client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evalkit.errors import MissingExtra, SettingsError

CONNECT_S = 10
_IGNORE_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
_LOCAL = re.compile(r"local(?::(\d{1,4}))?")
_ADDRESS = re.compile(r"(tcp|tls|ws|wss|ucx|ucxx)://.+")


def check(cluster: str) -> None:
    """Check what was given on the command line, before anything is started.

    Raises
    ------
    MissingExtra, SettingsError
    """
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise MissingExtra("a run on a Dask cluster", "dask") from None
    found = _LOCAL.fullmatch(cluster)
    if found and int(found[1] or 1) < 1:
        raise SettingsError("local:0 has no workers: use local:1 or more")
    if not found and not _ADDRESS.fullmatch(cluster):
        raise SettingsError(
            f"{cluster!r} is not a cluster: write local:4 for four workers on this machine, or the address of a "
            "scheduler, such as tcp://10.0.0.1:8786"
        )


@contextmanager
def connected(cluster: Any) -> Iterator[Any]:
    """A client of the cluster; what was opened here is closed afterwards, and a given client stays open.

    Parameters
    ----------
    cluster : Client, Cluster or str
        A client of ``distributed``, or one of its clusters; ``local:N`` for N workers on this machine; or the address
        of a scheduler, for which Dask's own configuration names the certificates.

    Raises
    ------
    MissingExtra, SettingsError
        ``distributed`` is not installed; the scheduler cannot be reached; this is nothing of the kind.
    """
    if isinstance(cluster, str):
        check(cluster)
    try:
        import distributed
    except ImportError:
        raise MissingExtra("a run on a Dask cluster", "dask") from None
    if isinstance(cluster, distributed.Client):
        if cluster.asynchronous:
            raise SettingsError("this client is asynchronous: give one made with Client(…, asynchronous=False)")
        yield cluster
    elif isinstance(cluster, str) and (local := _LOCAL.fullmatch(cluster)):
        with _local_cluster(int(local[1] or 1)) as started, distributed.Client(started) as client:
            yield client
    elif isinstance(cluster, str | distributed.deploy.Cluster):
        try:
            client = distributed.Client(cluster, timeout=CONNECT_S)
        except (OSError, ValueError, TypeError) as error:
            raise SettingsError(
                f"the Dask scheduler at {cluster} cannot be reached ({type(error).__name__}: {error}). Check the "
                "address and that the scheduler is running; with tls:// also the certificates in Dask's configuration"
            ) from None
        with client:
            yield client
    else:
        raise SettingsError(
            f"cluster is a {type(cluster).__name__}: it must be a distributed.Client, a cluster of Dask, 'local:N', or "
            "the address of a scheduler"
        )


@contextmanager
def _local_cluster(workers: int) -> Iterator[Any]:
    """Workers on this machine that leave Ctrl-C to this process: the signal goes to the whole process group."""
    import dask
    import distributed

    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),  # it would sample a thread that only waits
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0",
            preload=[_IGNORE_INTERRUPTS],
        ) as cluster,
    ):  # fmt: skip
        yield cluster
