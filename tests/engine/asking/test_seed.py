"""The seed of sampling: each repeat sends its own, and it is part of the run."""

import pytest
from answering import answering, rows, whole

import evalkit
from evalkit.comparing.conditions import condition_differences, read_run
from evalkit.errors import SettingsError
from evalkit.runfile import store


def test_each_repeat_sends_its_own_seed_and_a_row_its_own(tmp_path):
    sent = []

    def reply(body, number):
        sent.append((body["messages"][-1]["content"], body.get("seed")))
        return whole()

    data = tmp_path / "d.jsonl"
    data.write_text(
        '{"id": "a", "turns": [{"user": "x"}, {"user": "y"}]}\n'
        '{"id": "b", "turns": [{"user": "z"}], "params": {"seed": 99}}\n'
    )
    with answering(reply) as url:
        endpoint = evalkit.Endpoint(url, "m")
        run = evalkit.evaluate(data, endpoint, out=tmp_path / "r.evalkit", seed=7, repeats=3, stream=False)
        plain = evalkit.evaluate(data, endpoint, out=tmp_path / "p.evalkit", stream=False)
    assert sorted(sent[:9]) == [*(("x", 7 + n) for n in range(3)), *(("y", 7 + n) for n in range(3)), *[("z", 99)] * 3]
    assert {seed for _, seed in sent[9:]} == {None, 99}
    assert run.info["settings"]["seed"] == 7
    with store.reading(run.path) as one, store.reading(plain.path) as other:
        differences = condition_differences(read_run("A", run.path, one), read_run("B", plain.path, other))
    assert ("seed", 7, None) in [(each.what, each.first, each.second) for each in differences]


@pytest.mark.parametrize(("params", "seed", "problem"), [
    ({"seed": 3}, 7, "seed 7 and the parameter seed 3 exclude each other"),
    ({}, -1, "seed is -1"),
    ({}, "7", "seed is '7'"),
])  # fmt: skip
def test_a_seed_that_cannot_be_meant_is_refused(params, seed, problem, tmp_path):
    endpoint = evalkit.Endpoint("http://127.0.0.1:9/v1", "m", params=params)
    with pytest.raises(SettingsError, match=problem):
        evalkit.evaluate(rows(tmp_path / "d.jsonl", 1), endpoint, out=tmp_path / "r.evalkit", seed=seed)
