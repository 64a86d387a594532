"""From what a user names as a cluster to a Dask client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from evalkit.errors import MissingExtra, SettingsError

CONNECT_S = 10
_IGNORE_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
_LOCAL_SETTINGS = {  # what Dask looks at all the time takes as much of the processor as a slow run does
    "distributed.worker.profile.enabled": False,  # it would sample a thread that only waits
    "distributed.worker.memory.monitor-interval": "1s",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.admin.tick.interval": "1s",
}
_LOCAL = re.compile(r"local(?::(\d{1,4}))?")
_NAME_CERTIFICATES = (
    "Name the certificates in the environment: DASK_DISTRIBUTED__COMM__TLS__CA_FILE for that of the authority, "
    "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY for this client's own"
)
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


def dashboard(client: Any) -> str | None:
    """The address of the scheduler's dashboard, as Dask names it.

    Parameters
    ----------
    client : distributed.Client

    Returns
    -------
    str or None
        None: there is no dashboard, or its address is nothing that a browser should open or others should see: it is
        not http or https, or it has a password, a query or a fragment, which may hold a token. None also where Dask
        cannot form the address: a configured one may name a variable that is not set.
    """
    try:
        link = client.dashboard_link
    except Exception:  # a run needs no dashboard
        return None
    if not isinstance(link, str) or not link.isascii() or not link.isprintable() or " " in link:
        return None
    try:
        parts = urlsplit(link)
    except ValueError:
        return None
    public = parts.hostname and "@" not in parts.netloc and not parts.query and not parts.fragment
    return link if public and parts.scheme in ("http", "https") else None


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
            raise SettingsError(f"the Dask scheduler at {cluster} cannot be reached: {_why(cluster, error)}") from None
        with client:
            yield client
    else:
        raise SettingsError(
            f"cluster is a {type(cluster).__name__}: it must be a distributed.Client, a cluster of Dask, 'local:N', or "
            "the address of a scheduler"
        )


def _why(cluster: Any, error: Exception) -> str:
    """Why there is no connection, and what to do."""
    text = " ".join(str(error).split())
    if "ssl_context" in text:
        return f"it uses TLS, and Dask's configuration names no certificates here. {_NAME_CERTIFICATES}"
    if isinstance(error, FileNotFoundError | PermissionError):
        return f"a certificate that Dask's configuration names cannot be read ({error.strerror}). {_NAME_CERTIFICATES}"
    if "TLS" in text or "SSL" in text:
        return (
            "it and this client do not accept each other's certificates. Both must be signed by the same authority "
            f"({text}). {_NAME_CERTIFICATES}"
        )
    tls = "" if str(cluster).startswith("tls") else "; for a scheduler that uses TLS, write tls://"
    return f"{type(error).__name__}: {text}. Check the address and that the scheduler is running{tls}"


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def _local_cluster(workers: int) -> Iterator[Any]:
    """Workers on this machine that leave Ctrl-C to this process: the signal goes to the whole process group."""
    import dask
    import distributed

    with dask.config.set(_LOCAL_SETTINGS):
        try:
            started = distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0",
                preload=[_IGNORE_INTERRUPTS],
            )  # fmt: skip
        except (OSError, RuntimeError) as error:
            raise SettingsError(
                f"local workers cannot be started: {_first_cause(error)}. Dask's configuration holds for them too"
            ) from None
        with started as cluster:
            yield cluster
