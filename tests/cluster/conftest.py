"""Clusters on this machine: workers are processes, started once for the tests that do not harm them."""

import contextlib

import distributed
import pytest


@contextlib.contextmanager
def started(workers):
    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def client():
    with started(2) as found:
        yield found


@pytest.fixture
def start():
    """A cluster of its own for a test that kills or adds workers."""
    return started
