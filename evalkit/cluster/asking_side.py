"""What sends a run's requests: one process on this machine, or one on every worker of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from evalkit.client.transport import Transport
from evalkit.endpoint import Endpoint
from evalkit.engine.asking import readiness
from evalkit.engine.child_process import AskingSide, ChildProcess
from evalkit.errors import SettingsError
from evalkit.settings import Settings


@contextmanager
def opened(cluster: Any, endpoint: Endpoint, settings: Settings, wait_ready: float | None) -> Iterator[AskingSide]:
    """Check that requests can be made, wait for the endpoint, and start what sends them.

    Parameters
    ----------
    cluster : Client, Cluster, str or None
        See ``dask_client.connected``; None: a process on this machine.
    endpoint : Endpoint
    settings : Settings
    wait_ready : float or None
        Seconds.

    Raises
    ------
    MissingExtra
        Dask is not installed.
    SettingsError
        A key, a secret header or a certificate is missing or not valid, a worker has another version of evalkit, or
        the cluster cannot be used, or not with these settings.
    EndpointError
        The endpoint was not ready in time.
    """
    if cluster is None:
        Transport.check(endpoint)
        readiness.wait_until_ready(endpoint, wait_ready)
        with ChildProcess() as child:
            yield child
        return
    if settings.concurrency == "auto":
        raise SettingsError(
            "concurrency 'auto' and a cluster cannot be combined: each worker would take the load of the others for "
            "the endpoint's own. Give the conversations in parallel as a number, which the workers share"
        )
    from evalkit.cluster.cluster_link import ClusterLink
    from evalkit.cluster.dask_client import connected, dashboard

    with connected(cluster) as client:
        link = ClusterLink(client, dashboard(client))
        try:
            link.open_workers(endpoint, wait_ready)
            yield link
        finally:
            link.close()


def check_dataset(cluster: Any, fingerprint: Mapping[str, Any]) -> None:
    """Refuse a dataset with files beside it, which workers do not have.

    Raises
    ------
    SettingsError
    """
    if cluster is not None and fingerprint.get("files"):
        raise SettingsError(
            "this dataset names image or audio files, which are on this machine only: run it without a cluster, or "
            "give their content as data URLs"
        )
