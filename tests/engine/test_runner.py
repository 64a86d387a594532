"""Whole runs against the scripted server in its own process: stored, scored, resumed, ended early, stopped."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time

import psutil
import pytest

import evalkit as ek
from evalkit.cli.main import main
from evalkit.engine.saving.progress import Progress
from evalkit.engine.stopping.giving_up import GIVE_UP_AFTER
from evalkit.runfile import store
from evalkit.scripted.server import Arithmetic, Fault, Law, Script, serve


def rows(path, query, *values):
    connection = store.open_to_read(path)
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


def endpoint_of(server, **fields):
    return ek.Endpoint(server.base_url, "scripted", **fields)


def test_a_run_stores_scored_and_timed_turns(sums, tmp_path):
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=20, itl_ms=2))) as server:
        run = ek.evaluate(sums(4, 3), endpoint_of(server), out=tmp_path / "r.evalkit", concurrency=2)
        asked = server.stats()["requests"]
    turns = run.turns()
    assert run.outcome == "done"
    assert asked == len(turns) == 12
    assert (turns["status"] == "answered").all()
    assert (turns["score"] == 1).all()
    assert (turns["ttft_ms"] >= 20).all()
    assert (turns["latency_ms"] >= turns["ttft_ms"]).all()
    assert rows(run.path, "SELECT count(*) FROM attempt") == [(12,)]
    session = rows(run.path, "SELECT outcome, trust FROM session")[0]
    assert session[0] == "done"
    assert json.loads(session[1])["connections_opened"] == 2


def test_repeats_run_each_conversation_again(sums, tmp_path):
    with serve(Script(answer=Arithmetic())) as server:
        run = ek.evaluate(sums(2, 1), endpoint_of(server), out=tmp_path / "r.evalkit", repeats=3)
    assert sorted(run.turns()["repeat"].tolist()) == [1, 1, 2, 2, 3, 3]


def test_an_error_is_a_row_with_its_cause_and_not_a_wrong_answer(sums, tmp_path):
    with serve(Script(answer=Arithmetic(), faults=[Fault("server_error", numbers={2, 3, 4})])) as server:
        run = ek.evaluate(sums(5, 1), endpoint_of(server), out=tmp_path / "r.evalkit", concurrency=1)
    result = run.summary_json()
    assert result["errors"] == {"server": 1}
    assert (result["accuracy"]["value"], result["accuracy"]["n"]) == (1.0, 4)
    assert (result["accuracy_all"]["value"], result["accuracy_all"]["n"]) == (0.8, 5)


def test_five_failures_alike_and_no_answer_end_the_run(sums, tmp_path):
    with serve(Script(key="tkSECRETsecretSECRET")) as server:
        with pytest.raises(ek.EndpointError) as caught:
            ek.evaluate(sums(200, 1), endpoint_of(server), out=tmp_path / "r.evalkit", concurrency=1)
        assert server.stats()["requests"] == GIVE_UP_AFTER
    assert str(caught.value).startswith("The first 5 turns all failed the same way (auth), none was answered. ")
    assert rows(tmp_path / "r.evalkit", "SELECT outcome FROM session") == [("unusable",)]


def test_a_dataset_of_one_turn_that_fails_says_so_too(sums, tmp_path):
    with serve(Script(key="tkSECRETsecretSECRET")) as server, pytest.raises(ek.EndpointError) as caught:
        ek.evaluate(sums(1, 1), endpoint_of(server), out=tmp_path / "r.evalkit")
    assert str(caught.value).startswith("The only turn failed (auth), none was answered. ")


def test_failures_after_an_answer_do_not_end_the_run(sums, tmp_path):
    with serve(Script(answer=Arithmetic(), faults=[Fault("server_error", numbers=range(2, 100))])) as server:
        run = ek.evaluate(sums(10, 1), endpoint_of(server), out=tmp_path / "r.evalkit", concurrency=1, retries=0)
    assert run.summary_json()["errors"] == {"server": 9}


def test_resume_sends_failed_turns_and_keeps_the_times_of_answered_ones(sums, tmp_path):
    data, out = sums(6, 2), tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic(), faults=[Fault("server_error", numbers={3})])) as server:
        run = ek.evaluate(data, endpoint_of(server), out=out, concurrency=1, retries=0)
        before = run.turns().set_index(["conversation", "turn"])
        assert run.summary_json()["errors"] == {"cancelled": 1, "server": 1}
        server.stats(reset=True)
        again = ek.resume(out)
        assert server.stats()["requests"] == 2
        assert server.stats()["repeated_prompts"] == 0
    after = again.turns().set_index(["conversation", "turn"])
    kept = before[before["status"] == "answered"].index
    assert (after.loc[kept, "latency_ms"] == before.loc[kept, "latency_ms"]).all()
    assert (after["status"] == "answered").all()
    assert (after["score"] == 1).all()


def test_resume_of_a_finished_run_sends_nothing(sums, tmp_path):
    out = tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic())) as server:
        ek.evaluate(sums(), endpoint_of(server), out=out)
        server.stats(reset=True)
        assert ek.resume(out).outcome == "done"
        assert server.stats()["requests"] == 0


def test_after_kill_9_resume_stores_every_turn_once_and_sends_none_again(sums, tmp_path):
    data, out, shown = sums(500, 2), tmp_path / "r.evalkit", tmp_path / "shown"
    code = textwrap.dedent("""
        import sys, evalkit as ek
        data, url, out, shown = sys.argv[1:]
        with open(shown, "w") as file:
            def watch(progress):
                file.write(f"{progress.done}\\n")
                file.flush()
            ek.evaluate(data, ek.Endpoint(url, "scripted"), out=out, concurrency=8, watch=watch)
    """)
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=20)), process=False) as server:
        with subprocess.Popen([sys.executable, "-c", code, str(data), server.base_url, str(out), str(shown)]) as child:
            until = time.monotonic() + 60
            while time.monotonic() < until and not (
                shown.exists() and any(int(n) >= 300 for n in shown.read_text().split("\n")[:-1])
            ):
                assert child.poll() is None
                time.sleep(0.02)
            os.kill(child.pid, signal.SIGKILL)
        shown_as_done = max(int(n) for n in shown.read_text().split("\n")[:-1])
        stored = rows(out, "SELECT count(*) FROM turn")[0][0]
        assert 300 <= shown_as_done <= stored < 1000
        before = server.stats(reset=True)["requests"]
        run = ek.resume(out)
        asked = server.stats()["requests"]
    turns = run.turns()
    assert len(turns) == 1000
    assert not turns.duplicated(["conversation", "repeat", "turn"]).any()
    assert (turns["status"] == "answered").all()
    assert asked <= 1000 - stored  # what was received and not committed is not asked again either
    assert before + asked <= 1000 + 8  # those in flight
    assert (turns["score"] == 1).all()


def test_a_resume_that_fails_before_its_session_ends_no_other_session(sums, tmp_path):
    data, out = sums(12, 2), tmp_path / "r.evalkit"
    with data.open("a") as file:
        file.write("this is no row\n")
    code = textwrap.dedent("""
        import sys, evalkit as ek
        data, url, out = sys.argv[1:]
        ek.evaluate(data, ek.Endpoint(url, "scripted"), out=out, concurrency=12, check=False)
    """)
    script = Script(answer=Arithmetic(), law=Law(ttft_ms=500), faults=[Fault("silence", numbers=range(13, 99))])
    with serve(script) as server:
        with subprocess.Popen([sys.executable, "-c", code, str(data), server.base_url, str(out)]) as child:
            until = time.monotonic() + 60
            while time.monotonic() < until and server.stats()["requests"] < 24:
                time.sleep(0.02)
            child.kill()
        with pytest.raises(ek.DatasetError, match="line 13"):
            ek.resume(out)
    assert rows(out, "SELECT id, ended_mono_ns, outcome FROM session") == [(1, None, None)]
    assert rows(out, "SELECT count(*) FROM turn") == [(12,)]


def test_a_changed_dataset_is_refused(sums, tmp_path):
    data, out = sums(), tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic())) as server:
        ek.evaluate(data, endpoint_of(server), out=out)
        sums(4)
        with pytest.raises(ek.RunFileError) as caught:
            ek.resume(out)
    assert str(caught.value) == (
        f"{data} has changed since {out} was started: restore the old dataset, or start a new run"
    )


def test_a_changed_conversation_is_refused_also_without_a_check(sums, tmp_path):
    data, out = sums(), tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic())) as server:
        ek.evaluate(data, endpoint_of(server), out=out, check=False)
        changed = data.read_text(encoding="utf-8").replace("What is 1 + 1?", "What is 1 and 1?")
        data.write_text(changed, encoding="utf-8")
        with pytest.raises(ek.RunFileError) as caught:
            ek.resume(out)
    assert str(caught.value) == (
        f"conversation 'sum-1' (number 2) of {data} has changed since {out} was started: "
        "restore the old dataset, or start a new run"
    )


def test_a_missing_dataset_is_named(sums, tmp_path):
    data, out = sums(), tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic())) as server:
        ek.evaluate(data, endpoint_of(server), out=out)
    data.unlink()
    with pytest.raises(ek.RunFileError) as caught:
        ek.resume(out)
    assert str(caught.value) == f"{out} was made from {data}, which no longer exists: restore it to resume"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"model": "other"}, "with the model 'scripted', but 'other' is given: one run has one model. "
                             "Start a new run for the other"),
        ({"base_url": "http://127.0.0.1:1"}, "at {url}, but http://127.0.0.1:1/v1 is given: "
                                             "start a new run for the other"),
        ({"params": {"seed": 7}}, "with the parameters {{}}, but {{'seed': 7}} are given: "
                                  "one run has one set of parameters. Start a new run for the others"),
    ],
    ids=["model", "address", "parameters"],
)  # fmt: skip
def test_another_endpoint_is_refused(sums, tmp_path, changed, why):
    out = tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic())) as server:
        ek.evaluate(sums(), endpoint_of(server), out=out)
        other = dataclasses.replace(endpoint_of(server), **changed)
    with pytest.raises(ek.RunFileError) as caught:
        ek.resume(out, endpoint=other)
    assert str(caught.value) == f"{out} was started {why.format(url=server.base_url)}"


def test_lasting_failures_do_not_stop_resume_from_sending_the_rest(sums, tmp_path):
    out = tmp_path / "r.evalkit"
    refuse = {f"What is {c} + 1?" for c in range(6)}

    def stop_early(progress):
        if progress.answered >= 20:
            raise KeyboardInterrupt

    faults = [Fault("empty", prompt=prompt) for prompt in refuse]
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=20), faults=faults)) as server:
        with pytest.raises(KeyboardInterrupt):
            ek.evaluate(
                sums(100, 1), endpoint_of(server), out=out, concurrency=12, retries=0, watch=stop_early,
            )  # fmt: skip
        run = ek.resume(out)
    assert run.outcome == "done"
    assert run.summary_json()["errors"] == {"empty": 6}
    assert run.summary_json()["answered"] == 94


def test_requests_in_flight_when_a_run_gives_up_are_stored(sums, tmp_path):
    out = tmp_path / "r.evalkit"
    faults = [Fault("server_error", numbers=range(4, 200))]
    with (
        serve(Script(answer=Arithmetic(), law=Law(ttft_ms=600), faults=faults)) as server,
        pytest.raises(ek.EndpointError) as caught,
    ):
        ek.evaluate(sums(100, 1), endpoint_of(server), out=out, concurrency=6, retries=0)
    assert "(server), 3 others were answered after that. " in str(caught.value)
    assert rows(out, "SELECT count(*) FROM turn WHERE status = 'answered'") == [(3,)]


def test_rate_limits_are_no_reason_to_give_up(sums, tmp_path):
    faults = [Fault("rate_limited", numbers=range(1, 21))]
    with serve(Script(answer=Arithmetic(), faults=faults)) as server:
        run = ek.evaluate(sums(30, 1), endpoint_of(server), out=tmp_path / "r.evalkit", concurrency=1, retries=0)
    assert run.summary_json()["errors"] == {"rate_limited": 20}


def test_an_error_in_the_display_ends_the_run_in_an_orderly_way(sums, tmp_path):
    out = tmp_path / "r.evalkit"

    def broken(progress):
        if progress.answered:
            raise ValueError("no display")

    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=30))) as server:
        with pytest.raises(ValueError, match="no display"):
            ek.evaluate(sums(200, 1), endpoint_of(server), out=out, concurrency=2, watch=broken)
        asked = server.stats()["requests"]
        assert rows(out, "SELECT count(*) FROM turn") == [(asked,)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.evalkit", "sums.jsonl"]


def test_an_interrupt_after_early_failures_is_an_interrupt(sums, tmp_path):
    def interrupt(progress):
        if progress.errors:
            raise KeyboardInterrupt

    script = Script(faults=[Fault("server_error", numbers={1}), Fault("silence", options={"seconds": 1})])
    with serve(script) as server, pytest.raises(KeyboardInterrupt):
        ek.evaluate(
            sums(9, 1), endpoint_of(server), out=tmp_path / "r.evalkit", concurrency=1, retries=0, watch=interrupt
        )


def test_bad_requests_are_refused_before_a_run_file_is_created(sums, tmp_path):
    endpoint = ek.Endpoint("http://127.0.0.1:9", "m", params={"stream": True})
    with pytest.raises(ek.SettingsError, match="the parameter 'stream' cannot be set"):
        ek.evaluate(sums(), endpoint, out=tmp_path / "r.evalkit")
    assert not (tmp_path / "r.evalkit").exists()


def test_with_golden_history_every_turn_sees_the_datasets_answers(sums, tmp_path):
    seen = []

    def answer(body):
        seen.append([message["content"] for message in body["messages"]])
        return "wrong"

    with serve(Script(answer=answer)) as server:
        run = ek.evaluate(sums(1, 3), endpoint_of(server), out=tmp_path / "r.evalkit", history="golden", concurrency=1)
    assert seen[2] == ["What is 0 + 1?", "0 + 1 is 1.", "What is 0 + 2?", "0 + 2 is 2.", "What is 0 + 3?"]
    assert run.summary_json()["accuracy"]["value"] == 0


def test_what_was_committed_but_not_scored_is_scored_by_resume(sums, tmp_path):
    out = tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic())) as server:
        ek.evaluate(sums(), endpoint_of(server), out=out)
        with sqlite3.connect(out) as connection:
            connection.execute("DELETE FROM score WHERE turn = 2")
        connection.close()
        assert ek.Run(out).summary_json()["accuracy"]["unscored"] == 3
        server.stats(reset=True)
        assert ek.resume(out).summary_json()["accuracy"]["n"] == 6
        assert server.stats()["requests"] == 0


def test_a_csv_file_with_a_column_map_is_run_and_resumed(tmp_path):
    data, out = tmp_path / "d.csv", tmp_path / "r.evalkit"
    data.write_text("Question,Answer\nWhat is 1 + 2?,3\nWhat is 3 + 4?,7\n", encoding="utf-8")
    with serve(Script(answer=Arithmetic(), faults=[Fault("server_error", numbers={2})])) as server:
        run = ek.evaluate(
            data, endpoint_of(server), out=out, columns={"user": "Question", "target": "Answer"},
            scorer="number", concurrency=1, retries=0,
        )  # fmt: skip
        assert run.summary_json()["answered"] == 1
        assert ek.resume(out).summary_json()["accuracy"]["value"] == 1.0


def test_a_system_prompt_of_the_run_is_sent_stored_and_resumed_and_the_dataset_stays_the_same(sums, tmp_path):
    data, out = sums(3, 2), tmp_path / "r.evalkit"
    rows_in = [json.loads(line) | {"system": "Old."} for line in data.read_text(encoding="utf-8").splitlines()]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows_in), encoding="utf-8")
    sent = []

    def answer(body):
        sent.append([message["content"] for message in body["messages"] if message["role"] == "system"])
        return Arithmetic()(body)

    with serve(Script(answer=answer, faults=[Fault("server_error", numbers={3})])) as server:
        plain = ek.evaluate(data, endpoint_of(server), out=tmp_path / "plain.evalkit", concurrency=1, retries=0)
        assert sent == [["Old."]] * len(sent)
        sent.clear()
        ek.evaluate(data, endpoint_of(server), out=out, system="New.", concurrency=1, retries=0, limit=2)
        with_some = ek.Run(out)
        connection = sqlite3.connect(out)
        with contextlib.closing(connection), connection:
            connection.execute("UPDATE turn SET status = 'error', error_kind = 'server' WHERE turn = 2")
        ek.resume(out)
        assert sent == [["New."]] * 6
        sent.clear()
        ek.evaluate(data, endpoint_of(server), out=tmp_path / "none.evalkit", system="")
        assert sent == [[]] * 6
        assert ek.resume(plain.path).outcome == "done"
    assert with_some.info["settings"]["system"] == "New."
    assert {json.loads(row)["system"] for (row,) in rows(out, "SELECT row FROM conversation")} == {"New."}
    assert all(
        "system" not in json.loads(row) for (row,) in rows(tmp_path / "none.evalkit", "SELECT row FROM conversation")
    )
    infos = [ek.Run(path).info for path in (plain.path, tmp_path / "none.evalkit")]
    assert infos[0]["dataset"]["hash"] == infos[1]["dataset"]["hash"]


@pytest.mark.parametrize(("system", "first"), [("New.", [("system", "New.")]), ("", [])])
def test_a_system_prompt_of_the_run_replaces_every_instruction_at_the_start(tmp_path, system, first):
    data, out = tmp_path / "d.jsonl", tmp_path / "r.evalkit"
    opening = [{"role": role, "content": "Old."} for role in ("developer", "system", "developer")]
    question = {"role": "user", "content": "What is 1 + 2?"}
    shots = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    rows_in = [
        {"id": "native", "context": [*opening, *shots], "turns": [{"user": question["content"], "target": 3}]},
        {"id": "system", "system": "Old.", "context": opening, "turns": [{"user": question["content"], "target": 3}]},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows_in), encoding="utf-8")
    sent = []

    def answer(body):
        sent.append([(message["role"], message["content"]) for message in body["messages"]])
        return Arithmetic()(body)

    with serve(Script(answer=answer, faults=[Fault("server_error", numbers={2})])) as server:
        ek.evaluate(data, endpoint_of(server), out=out, system=system, check=False, concurrency=1, retries=0)
        os.utime(data)  # so that its content must be compared
        assert ek.resume(out).summary_json()["answered"] == 2
        plain = ek.evaluate(data, endpoint_of(server), out=tmp_path / "plain.evalkit", check=False, concurrency=1)
    asked = [("user", question["content"])]
    examples = [(message["role"], message["content"]) for message in shots]
    assert sent[:3] == [[*first, *examples, *asked], [*first, *asked], [*first, *asked]]
    assert ek.compare(plain, out).contrasts[0].all.pairs == 2


def test_an_unchecked_dataset_with_a_system_prompt_of_the_run_is_resumed(sums, tmp_path):
    data, out = sums(2, 2), tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic(), faults=[Fault("server_error", numbers={3})])) as server:
        ek.evaluate(data, endpoint_of(server), out=out, system="New.", check=False, concurrency=1, retries=0)
        os.utime(data)  # so that its content must be compared
        assert ek.resume(out).summary_json()["answered"] == 4
        data.write_text(data.read_text(encoding="utf-8").replace("0 + 1", "0 + 9"), encoding="utf-8")
        with pytest.raises(ek.RunFileError, match="has changed since"):
            ek.resume(out)


def test_a_run_file_without_the_setting_is_resumed(sums, tmp_path):
    out = tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic(), faults=[Fault("server_error", numbers={3})])) as server:
        ek.evaluate(sums(2, 2), endpoint_of(server), out=out, concurrency=1, retries=0)
        connection = sqlite3.connect(out)
        with contextlib.closing(connection), connection:
            connection.execute("UPDATE run SET settings = json_remove(settings, '$.system')")
        assert ek.resume(out).summary_json()["answered"] == 4
    assert "system" not in ek.Run(out).info["settings"]


def test_an_interrupt_keeps_the_answers_and_resume_continues(sums, tmp_path):
    out = tmp_path / "r.evalkit"

    def interrupt(progress):
        if progress.answered >= 5:
            raise KeyboardInterrupt

    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=30))) as server:
        with pytest.raises(KeyboardInterrupt):
            ek.evaluate(sums(60, 1), endpoint_of(server), out=out, concurrency=2, watch=interrupt)
        kept = rows(out, "SELECT count(*) FROM turn WHERE status = 'answered'")[0][0]
        assert 5 <= kept < 60
        assert rows(out, "SELECT outcome FROM session") == [("stopped",)]
        assert rows(out, "SELECT count(*) FROM turn WHERE status = 'error'") == [(0,)]
        run = ek.resume(out)
    assert (run.turns()["status"] == "answered").sum() == 60


def test_a_full_disk_ends_the_run_and_leaves_a_valid_file(sums, tmp_path, monkeypatch):
    out = tmp_path / "r.evalkit"
    connect = store._connect

    def small(path):
        connection = connect(path)
        connection.execute("PRAGMA max_page_count = 40")
        return connection

    monkeypatch.setattr(store, "_connect", small)
    with serve(Script(answer=Arithmetic())) as server, pytest.raises(ek.RunFileError, match="database or disk is full"):
        ek.evaluate(sums(2000, 1), endpoint_of(server), out=out)
    assert rows(out, "PRAGMA integrity_check") == [("ok",)]
    assert rows(out, "SELECT count(*) FROM turn")[0][0] > 0


def test_a_file_size_limit_ends_the_run_in_an_orderly_way(sums, tmp_path):
    """A real limit of the operating system, as a full disk would be: writes beyond 400 kB fail."""
    out = tmp_path / "r.evalkit"
    code = textwrap.dedent("""
        import resource, sys, evalkit as ek
        data, url, out = sys.argv[1:]
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        try:
            ek.evaluate(data, ek.Endpoint(url, "scripted"), out=out, concurrency=8)
        except ek.RunFileError as error:
            print(error)
    """)
    with serve(Script(answer=Arithmetic())) as server:
        command = [sys.executable, "-c", code, str(sums(3000, 1)), server.base_url, str(out)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert said.stdout.startswith(f"{out} cannot be written: "), said.stderr
        assert f"free some space or repair the disk, then 'evalkit resume {out}'" in said.stdout
        assert rows(out, "PRAGMA integrity_check") == [("ok",)]
        assert 0 < rows(out, "SELECT count(*) FROM turn")[0][0] < 3000
        run = ek.resume(out)
        assert server.stats()["requests"] <= 3000 + 8  # those in flight
    assert run.summary_json()["accuracy"]["n"] == 3000


def test_a_run_file_that_is_deleted_under_the_run_is_saved_elsewhere(sums, tmp_path):
    out = tmp_path / "runs" / "r.evalkit"

    def delete(progress):
        if progress.answered >= 10 and out.exists():
            shutil.rmtree(out.parent)

    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=50))) as server:
        with pytest.raises(ek.RunFileError) as caught:
            ek.evaluate(sums(400, 1), endpoint_of(server), out=out, concurrency=8, watch=delete)
        (saved,) = out.parent.glob("*.evalkit")
        assert str(caught.value) == (
            f"{out} was deleted, moved or replaced while it was written. Its content is saved; "
            f"continue with: evalkit resume {saved}"
        )
        assert rows(saved, "PRAGMA integrity_check") == [("ok",)]
        assert rows(saved, "SELECT count(*) FROM turn")[0][0] >= 10
        assert (ek.resume(saved).turns()["status"] == "answered").sum() == 400


def test_a_run_works_inside_a_running_event_loop(sums, tmp_path):
    import asyncio

    async def notebook():
        with serve(Script(answer=Arithmetic())) as server:
            return ek.evaluate(sums(), endpoint_of(server), out=tmp_path / "r.evalkit")

    assert asyncio.run(notebook()).summary_json()["answered"] == 6


def test_the_asking_process_ends_with_the_session(sums, tmp_path, real_asking_process):
    seen, others = set(), set(psutil.Process().children())  # of other tests

    def watch(progress):
        seen.update(child.pid for child in psutil.Process().children() if child not in others)

    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=150))) as server:
        run = ek.evaluate(sums(2, 2), endpoint_of(server), out=tmp_path / "r.evalkit", watch=watch)
    assert len(seen) == 1
    assert not psutil.pid_exists(seen.pop())
    assert json.loads(rows(run.path, "SELECT trust FROM session")[0][0])["cpu_share"] > 0


def test_a_crash_of_the_asking_process_is_reported_and_resume_continues(sums, tmp_path, real_asking_process):
    out, others = tmp_path / "r.evalkit", set(psutil.Process().children())  # of other tests

    def kill(progress):
        if progress.answered >= 5:
            for child in set(psutil.Process().children()) - others:
                child.kill()

    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=30))) as server:
        with pytest.raises(ek.EvalkitError) as caught:
            ek.evaluate(sums(60, 1), endpoint_of(server), out=out, concurrency=2, watch=kill)
        assert str(caught.value) == (
            "the process that sends requests ended unexpectedly (exit code -9). "
            f"The answers received are in {out}; resume with: evalkit resume {out}"
        )
        assert (ek.resume(out).turns()["status"] == "answered").sum() == 60


def test_the_asking_process_ends_immediately_when_its_parent_is_killed(sums, tmp_path):
    code = textwrap.dedent("""
        import sys, evalkit as ek
        data, url, out = sys.argv[1:]
        ek.evaluate(data, ek.Endpoint(url, "scripted"), out=out, concurrency=2)
    """)
    with serve(Script(faults=[Fault("silence")])) as server:
        command = [sys.executable, "-c", code, str(sums()), server.base_url, str(tmp_path / "r.evalkit")]
        with subprocess.Popen(command) as parent:
            until = time.monotonic() + 60
            while server.stats()["requests"] < 2 and time.monotonic() < until:
                time.sleep(0.02)
            (child,) = psutil.Process(parent.pid).children()
            parent.kill()
        gone, _ = psutil.wait_procs([child], timeout=10)
    assert gone == [child]


def test_progress_counts_what_is_committed(sums, tmp_path):
    out = tmp_path / "r.evalkit"
    seen: list[tuple[int, int]] = []

    def watch(progress: Progress) -> None:
        done = progress.done
        if out.exists() and done:
            seen.append((done, rows(out, "SELECT count(*) FROM turn")[0][0]))

    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=20))) as server:
        ek.evaluate(sums(40, 1), endpoint_of(server), out=out, concurrency=2, watch=watch)
    assert seen
    assert all(shown <= stored for shown, stored in seen)
    assert seen[-1] == (40, 40)  # the end is always seen


@pytest.mark.parametrize("lost_scores", [False, True], ids=["scored before", "killed before it scored"])
def test_progress_of_a_resumed_run_has_the_accuracy_of_all_its_sessions(tmp_path, lost_scores):
    """Of ten turns the first session answers six, one of them right and one in part; four fail."""
    targets = ["1", "zebra", "the result", "zebra", "zebra", "zebra", "7", "8", "9", "10"]
    rows_of = [
        {"id": f"c{n}", "turns": [{"user": f"What is the sum of {n} + 1?", "target": target, "scorer": "includes"}]}
        for n, target in enumerate(targets)
    ]
    rows_of[2]["turns"][0]["scorer"] = "f1"
    data, out, seen, watched = tmp_path / "d.jsonl", tmp_path / "r.evalkit", [], threading.Event()
    data.write_text("".join(json.dumps(row) + "\n" for row in rows_of))

    def watch(progress):
        seen.append((progress.scored, round(progress.right, 6)))
        watched.set()

    def answer_once_watched(body):
        watched.wait(60)
        return Arithmetic()(body)

    settings = {"concurrency": 1, "retries": 0, "watch": watch}
    with serve(Script(answer=answer_once_watched, faults=[Fault("server_error", numbers={7, 8, 9, 10})])) as server:
        first = ek.evaluate(data, endpoint_of(server), out=out, **settings)
        before = first.summary_json()["accuracy"]
        assert seen[-1] <= (before["n"], round(before["n"] * before["value"], 6))
        if lost_scores:
            with contextlib.closing(sqlite3.connect(out)) as connection, connection:
                connection.execute("DELETE FROM score WHERE conversation < 3")
        seen.clear()
        watched.clear()
        resumed = ek.resume(out, watch=watch)
    after = resumed.summary_json()["accuracy"]
    assert (before["n"], after["n"]) == (6, 10)
    least = 3 if lost_scores else 6
    assert all(scored >= least for scored, _ in seen)
    assert seen[0][0] < 10
    assert resumed_progress(out) == (10, round(10 * after["value"], 6))


def resumed_progress(path):
    """What a session begins with that has nothing left to ask."""
    seen = []
    ek.resume(path, watch=lambda progress: seen.append((progress.scored, round(progress.right, 6))))
    return seen[-1]


def test_no_thread_is_left_behind(sums, tmp_path):
    before = set(threading.enumerate())  # a scorer of another test may never return
    with serve(Script(answer=Arithmetic())) as server:
        ek.evaluate(sums(), endpoint_of(server), out=tmp_path / "r.evalkit")
    assert not [each.name for each in threading.enumerate() if each not in before and each.name.startswith("evalkit-")]


def test_an_unknown_setting_is_named_with_the_known_ones(sums, tmp_path):
    with pytest.raises(ek.SettingsError, match=r"'concurency'.* The settings are: history, repeats, concurrency"):
        ek.evaluate(sums(), ek.Endpoint("http://127.0.0.1:1", "m"), out=tmp_path / "r.evalkit", concurency=3)


def test_a_time_limit_stores_slow_answers_and_does_not_count_them_as_failures(sums, tmp_path, capsys):
    """What the limit cuts is counted, timed as a lower bound and sent again; the endpoint did not fail."""
    out = tmp_path / "r.evalkit"
    silent = Fault("silence", numbers=range(2, 9, 2))
    with serve(Script(answer=Arithmetic(), faults=[silent])) as server:
        code = main([
            "run", str(sums(20, 1)), "--base-url", server.base_url, "--model", "m", "--concurrency", "4", "--max-time",
            "0.5", "--out", str(out), "--json", "--fail-under", "accuracy_all>=1",
        ])  # fmt: skip
        told = json.loads(capsys.readouterr().out)
        assert (code, told["gates"][0]["met"]) == (0, True)
        assert told["gates"][0]["words"].endswith(", without 4 turns cancelled when the session ended")
        assert (told["errors"], told["interrupted"], told["turns"] - told["answered"]) == ({"cancelled": 4}, 4, 4)
        assert (told["accuracy_all"]["n"], told["accuracy_all"]["unscored"]) == (told["answered"], 4)
        assert rows(out, "SELECT min(censored_ns) FROM turn WHERE error_kind = 'cancelled'")[0][0] > 4e9
        assert rows(out, "SELECT count(*) FROM attempt WHERE error_kind = 'cancelled'") == [(4,)]
        after = ek.resume(out).summary_json()
    assert (after["answered"], after["errors"], after["interrupted"]) == (20, {}, 0)


@pytest.mark.parametrize("value", [1, "go on", 0.5, [0]])
def test_only_a_watch_that_returns_exactly_true_stops_a_run(sums, tmp_path, value):
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=20))) as server:
        run = ek.evaluate(
            sums(30, 1), endpoint_of(server), out=tmp_path / "r.evalkit", concurrency=2, watch=lambda progress: value
        )
    assert (run.outcome, run.summary_json()["answered"]) == ("done", 30)
