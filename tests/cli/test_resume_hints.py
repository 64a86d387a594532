"""``evalkit resume`` is suggested where it can continue a run, and nowhere else."""

import pytest

from evalkit import Endpoint, evaluate
from evalkit.cli import resume_hints
from evalkit.cli.main import main
from evalkit.scripted.server import Fault, Script, serve


@pytest.fixture
def endpoint():
    with serve(Script()) as server:
        yield Endpoint(server.base_url, server.model)


@pytest.fixture
def run(sums, endpoint, tmp_path):
    return evaluate(sums(2, 1), endpoint, out=tmp_path / "r.evalkit")


def spoiled(run, how):
    data = run.path.parent / "sums.jsonl"
    if how == "dataset gone":
        data.unlink()
    elif how == "dataset changed":
        data.write_text(data.read_text() + "{}\n")
    elif how == "run file gone":
        run.path.unlink()
    elif how == "run file cut":
        run.path.write_bytes(run.path.read_bytes()[:2000])


def test_a_run_that_can_be_resumed(run):
    assert resume_hints.after_stop(run.path).endswith(f"are in {run.path}; continue with: evalkit resume {run.path}")
    assert (
        resume_hints.after_endpoint_error(run.path) == f"\nWhen that is fixed, continue with: evalkit resume {run.path}"
    )


@pytest.mark.parametrize("how", ["dataset gone", "dataset changed", "run file gone", "run file cut"])
def test_a_run_that_cannot_be_resumed(run, how):
    spoiled(run, how)
    assert main(["resume", str(run.path)]) == 2
    assert not resume_hints.can_resume(run.path)
    for said in (resume_hints.after_stop(run.path), resume_hints.after_endpoint_error(run.path)):
        assert "resume" not in said


def arguments(endpoint, data, out, *more):
    where = ["--base-url", endpoint.base_url, "--model", endpoint.model]
    return ["run", str(data), *where, "--out", str(out), "--retries", "0", *more]


@pytest.mark.parametrize(("status", "other"), [(404, True), (400, True), (401, False), (500, False)])
def test_an_error_that_another_model_would_fix_suggests_a_new_run(sums, tmp_path, capsys, status, other):
    with serve(Script(faults=[Fault("server_error", options={"status": status})])) as server:
        code = main(arguments(Endpoint(server.base_url, "m"), sums(2, 1), tmp_path / "r.evalkit"))
    said = capsys.readouterr().err
    assert code == 3
    assert ("To use another model, address or parameter, start a new run." in said) is other
    assert ("When that is fixed, continue with:" in said) is not other
    assert f"evalkit resume {tmp_path / 'r.evalkit'}" in said


def interrupted(*_, **__):
    raise KeyboardInterrupt


def broken(*_, **__):
    raise ZeroDivisionError


@pytest.mark.parametrize("end", [interrupted, broken])
def test_no_hint_is_printed_for_the_file_of_another_run(run, endpoint, sums, monkeypatch, capsys, end):
    monkeypatch.setattr("evalkit.evaluation.evaluate", end)
    assert main(arguments(endpoint, sums(1, 1), run.path)) in (130, 70)
    assert "evalkit resume" not in capsys.readouterr().err


@pytest.mark.parametrize("end", [interrupted, broken])
def test_no_hint_is_printed_for_a_file_that_was_not_made(endpoint, sums, tmp_path, monkeypatch, capsys, end):
    monkeypatch.setattr("evalkit.evaluation.evaluate", end)
    assert main(arguments(endpoint, sums(1, 1), tmp_path / "new.evalkit")) in (130, 70)
    assert "evalkit resume" not in capsys.readouterr().err


def test_a_bug_in_a_command_that_only_reads_prints_no_hint(run, monkeypatch, capsys):
    monkeypatch.setattr("evalkit.run.Run.measures", broken)
    assert main(["show", str(run.path)]) == 70
    said = capsys.readouterr().err
    assert "this is a bug in evalkit" in said
    assert "evalkit resume" not in said


def test_a_stop_before_any_answer_says_so(endpoint, sums, tmp_path, monkeypatch, capsys):
    with serve(Script(faults=[Fault("server_error", share=1.0)])) as server:
        main(arguments(Endpoint(server.base_url, "m"), sums(2, 1), tmp_path / "r.evalkit"))
    monkeypatch.setattr("evalkit.evaluation.resume", interrupted)
    capsys.readouterr()
    assert main(["resume", str(tmp_path / "r.evalkit")]) == 130
    assert capsys.readouterr().err.startswith("stopped. Nothing was answered yet; continue with: evalkit resume")


def test_a_file_that_is_no_run_is_not_resumed(endpoint, sums, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(arguments(endpoint, sums(1, 1), tmp_path / "notes.txt")) == 2
    said = capsys.readouterr().err
    assert "exists already: name another file with --out" in said.replace("\n", " ")
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(("conversations", "missing"), [(1, False), (3, True)])
def test_a_budget_that_was_just_enough_leaves_nothing_to_resume(
    endpoint, sums, tmp_path, capsys, conversations, missing
):
    asked = arguments(endpoint, sums(conversations, 1), tmp_path / "r.evalkit", "--concurrency", "1")
    main([*asked, "--max-tokens-total", "1"])
    assert ("evalkit resume" in capsys.readouterr().err) is missing
