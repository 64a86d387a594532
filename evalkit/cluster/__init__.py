"""A run on a Dask cluster: each worker has an asking process, and the one writer stays where the run was started.

``asking_side.opened`` gives the engine what it talks to: one process on this machine, or those of a cluster. Only
``dask_client`` and ``cluster_link`` use the package ``distributed``, and nothing imports them without a cluster. Dask
moves bytes and watches the workers; it schedules nothing here: every task is for one worker. Start with
``cluster_link``, then ``worker_sessions``, which is what runs on a worker.
"""

__all__ = ["asking_side", "dask_client"]
