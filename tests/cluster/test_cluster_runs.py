"""Whole runs on clusters of this machine: the same run file as without one, whatever happens to workers."""

import json
import os
import signal
import sqlite3
from contextlib import closing

import pytest
from commands import evalkit

import evalkit as ek
from evalkit.errors import EvalkitError, SettingsError
from evalkit.runfile import store
from evalkit.scripted.server import Arithmetic, Fault, Law, Script, serve

# what depends on time, on the order of answers or on the place
VARYING = {"session", "provenance", "arrivals", "arrival_events", "id", "connection_opened", "flags"}


def rows(path, table, drop=()):
    """The rows of a table without what depends on time, as a set of pairs is compared."""
    with closing(store.open_to_read(path)) as connection:
        connection.row_factory = sqlite3.Row
        found = [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
    kept = [{k: v for k, v in row.items() if not k.endswith("_ns") and k not in VARYING} for row in found]
    return sorted(json.dumps(row, sort_keys=True, default=repr) for row in kept)


def queries(path, query):
    with closing(store.open_to_read(path)) as connection:
        return connection.execute(query).fetchall()


def same_rows(one, other):
    return all(rows(one, table) == rows(other, table) for table in ("conversation", "turn", "attempt", "score"))


@pytest.fixture
def server():
    with serve(Script(answer=Arithmetic(wrong=0.2), law=Law(ttft_ms=5, itl_ms=1))) as found:
        yield found


def endpoint_of(server, **fields):
    return ek.Endpoint(server.base_url, "scripted", **fields)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_cluster_stores_the_same_rows(workers, client, start, server, sums, tmp_path):
    data, endpoint = sums(30, 3), endpoint_of(server)
    alone = ek.evaluate(data, endpoint, out=tmp_path / "alone.evalkit", concurrency=4, repeats=2)
    if workers == 2:
        clustered = ek.evaluate(data, endpoint, out=tmp_path / "c.evalkit", concurrency=4, repeats=2, cluster=client)
    else:
        with start(workers) as own:
            clustered = ek.evaluate(data, endpoint, out=tmp_path / "c.evalkit", concurrency=4, repeats=2, cluster=own)
    assert clustered.outcome == "done"
    assert same_rows(alone.path, clustered.path)
    places = {json.loads(text)["worker"] for (text,) in queries(clustered.path, "SELECT provenance FROM attempt")}
    assert len(places) == workers
    one, other = (json.loads(evalkit("show", run.path, "--json").stdout) for run in (alone, clustered))
    assert one["accuracy"] == other["accuracy"]
    assert (one["trust"]["workers"], other["trust"]["workers"]) == (None, workers)
    assert other["trust"]["turns_sent_again"] == 0


def test_a_run_goes_on_from_machine_to_cluster_and_back(client, server, sums, tmp_path):
    data, path, seen = sums(200, 2), tmp_path / "r.evalkit", []
    endpoint = endpoint_of(server)

    def stop_at(count):
        return lambda progress: progress.kept + progress.answered >= count

    ek.evaluate(data, endpoint, out=path, concurrency=4, watch=stop_at(60))
    seen += queries(path, "SELECT count(*) FROM turn WHERE status = 'answered'")[0]
    ek.resume(path, endpoint=endpoint, cluster=client, watch=stop_at(200))
    seen += queries(path, "SELECT count(*) FROM turn WHERE status = 'answered'")[0]
    ek.resume(path, endpoint=endpoint)
    assert 0 < seen[0] < seen[1] < 400
    whole = ek.evaluate(data, endpoint, out=tmp_path / "whole.evalkit", concurrency=4)
    assert all(rows(path, table) == rows(whole.path, table) for table in ("conversation", "score"))
    assert queries(path, "SELECT count(*) FROM turn WHERE status = 'answered'") == [(400,)]


def test_the_command_runs_on_a_cluster(client, server, sums, tmp_path):
    address = client.scheduler.address
    done = evalkit(
        "run", sums(10, 2), "--base-url", server.base_url, "--model", "scripted", "--out", tmp_path / "r.evalkit",
        "--dask", address, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answered"] == 20


@pytest.mark.timeout(300)  # workers start again, which takes long on a busy machine
def test_killed_workers_lose_no_turn_and_store_none_twice(start, sums, tmp_path):
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=30, itl_ms=1))) as server, start(2) as client:
        data = sums(120, 3)
        pids = list(client.run(os.getpid).values())

        def harm(progress):
            if pids and progress.answered > 80 * (3 - len(pids)):
                os.kill(pids.pop(), signal.SIGKILL)
                client.cluster.scale(3)

        run = ek.evaluate(
            data, endpoint_of(server), out=tmp_path / "r.evalkit", concurrency=8, cluster=client, watch=harm
        )
        stats = server.stats()
    assert queries(run.path, "SELECT count(*), total(status = 'answered') FROM turn") == [(360, 360)]
    assert queries(run.path, "SELECT count(*) FROM (SELECT 1 FROM score GROUP BY conversation, repeat, turn)") == [
        (360,)
    ]
    trust = json.loads(evalkit("show", run.path, "--json").stdout)["trust"]
    (attempts,) = queries(run.path, "SELECT count(*) FROM attempt")[0]
    assert trust["workers_lost"] == 2
    assert attempts <= stats["requests"] <= attempts + trust["turns_sent_again"]


@pytest.mark.timeout(300)
def test_failed_turns_that_others_send_again_count_once(start, sums, tmp_path):
    """With golden history a conversation goes on after a failed turn, so a lost worker may have had one."""
    script = Script(answer=Arithmetic(), law=Law(ttft_ms=200, itl_ms=1), faults=[Fault("server_error", prompt="+ 2?")])
    with serve(script) as server, start(2) as client:
        pids, seen = list(client.run(os.getpid).values()), []

        def harm(progress):
            seen.append(progress)
            if len(pids) == 2 and progress.answered > 16:
                os.kill(pids.pop(), signal.SIGKILL)

        run = ek.evaluate(
            sums(40, 5), endpoint_of(server), out=tmp_path / "r.evalkit", concurrency=16, cluster=client, watch=harm,
            history="golden", retries=0,
        )  # fmt: skip
        requests = server.stats()["requests"]
    ((turns, answered),) = queries(run.path, "SELECT count(*), count(*) FILTER (WHERE status = 'answered') FROM turn")
    assert (turns, answered) == (200, 160)
    assert (seen[-1].answered, seen[-1].errors) == (160, 40)
    trust = json.loads(evalkit("show", run.path, "--json").stdout)["trust"]
    (attempts,) = queries(run.path, "SELECT count(*) FROM attempt")[0]
    assert trust["workers_lost"] == 1
    assert trust["turns_sent_again"] > 0
    assert attempts <= requests <= attempts + trust["turns_sent_again"]


def test_a_missing_key_is_reported_by_the_worker_and_never_sent_to_it(client, server, sums, tmp_path, monkeypatch):
    monkeypatch.setenv("ONLY_HERE", "sk-secret-of-this-process")
    with pytest.raises(SettingsError, match=r"worker tcp.*ONLY_HERE"):
        ek.evaluate(sums(3, 1), endpoint_of(server, key_env="ONLY_HERE"), out=tmp_path / "r.evalkit", cluster=client)
    assert not (tmp_path / "r.evalkit").exists()
    client.run(os.environ.__setitem__, "ONLY_THERE", "sk-of-the-workers")
    run = ek.evaluate(sums(3, 1), endpoint_of(server, key_env="ONLY_THERE"), out=tmp_path / "r.evalkit", cluster=client)
    assert run.outcome == "done"
    assert b"sk-of-the-workers" not in run.path.read_bytes()


def test_another_version_on_a_worker_is_refused(client, server, sums, tmp_path):
    def other(version):
        import evalkit

        was, evalkit.__version__ = evalkit.__version__, version
        return was

    was = next(iter(client.run(other, "0.0.1").values()))
    try:
        with pytest.raises(SettingsError, match=r"has evalkit 0\.0\.1"):
            ek.evaluate(sums(3, 1), endpoint_of(server), out=tmp_path / "r.evalkit", cluster=client)
    finally:
        client.run(other, was)


def test_a_lost_scheduler_keeps_what_was_received(start, sums, tmp_path):
    path = tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=30, itl_ms=1))) as server:
        data, endpoint = sums(200, 2), endpoint_of(server)

        def leave(progress):
            if progress.answered > 40 and client.status == "running":
                client.close()

        with start(2) as client, pytest.raises(EvalkitError, match=r"cluster is lost.*resume"):
            ek.evaluate(data, endpoint, out=path, concurrency=4, cluster=client, watch=leave)
        assert ek.resume(path, endpoint=endpoint).outcome == "done"
    assert queries(path, "SELECT count(*), total(status = 'answered') FROM turn") == [(400, 400)]


def test_a_spending_cap_holds_for_all_workers_together(client, tmp_path, sums):
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=5, itl_ms=1))) as server:
        run = ek.evaluate(
            sums(60, 1), endpoint_of(server), out=tmp_path / "r.evalkit", concurrency=4, cluster=client,
            max_tokens_total=400,
        )  # fmt: skip
    assert run.outcome == "max_tokens_total"
    assert 0 < queries(run.path, "SELECT count(*) FROM turn WHERE status = 'answered'")[0][0] < 60


def test_an_endpoint_that_only_fails_ends_the_run(client, sums, tmp_path):
    with (
        serve(Script(answer=Arithmetic(), faults=[Fault("server_error", 1.0)])) as server,
        pytest.raises(ek.EndpointError, match="all failed"),
    ):
        ek.evaluate(
            sums(40, 1), endpoint_of(server), out=tmp_path / "r.evalkit", concurrency=4, cluster=client, retries=0
        )


def test_an_open_loop_keeps_its_schedule_on_all_workers(client, server, sums, tmp_path):
    run = ek.evaluate(sums(40, 1), endpoint_of(server), out=tmp_path / "r.evalkit", rate=20, cluster=client)
    assert queries(run.path, "SELECT count(*), min(sent_ns - due_ns) >= 0 FROM attempt") == [(40, 1)]
    due = [value for (value,) in queries(run.path, "SELECT due_ns / 1e9 FROM attempt ORDER BY 1")]
    assert due[-1] - due[0] == pytest.approx(39 / 20, abs=0.1)
