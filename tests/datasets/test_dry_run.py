"""What a run would send: checked against what a run has sent."""

import json

import pytest
from commands import evalkit, flags

import evalkit as ek
from evalkit.datasets.dry_run import dry_run
from evalkit.scripted.server import Arithmetic, Script, serve


def rows(path, *conversations, **more):
    path.write_text(
        "".join(
            json.dumps({"id": str(n), "turns": turns, **more}) + "\n" for n, turns in enumerate(conversations)
        ), encoding="utf-8",
    )  # fmt: skip
    return path


LONG = "x" * 400  # 100 tokens


def asked(*answers):
    return [{"user": LONG} | ({} if answer is None else {"assistant": answer}) for answer in answers]


@pytest.mark.parametrize(
    ("turns", "params", "history", "least", "most", "output"),
    [
        # 104 tokens each question with what is around it, 4 around each answer
        ([None], {}, "own", 104, 104, None),
        ([None, None], {}, "own", 104 + 212, None, None),
        ([None, None], {"max_tokens": 50}, "own", 104 + 212, 104 + 212 + 50, 100),
        ([None, None], {"max_completion_tokens": 50}, "own", 104 + 212, 104 + 212 + 50, 100),
        (["y" * 80, None], {"max_tokens": 50}, "own", 104 + 212 + 20, 104 + 212 + 50, 100),
        (["y" * 800, None], {"max_tokens": 50}, "own", 104 + 212 + 50, 104 + 212 + 50, 100),
        (["y" * 800, None], {"max_tokens": 50}, "golden", 104 + 212 + 200, 104 + 212 + 200, 100),
        (["y" * 800, None], {}, "golden", 104 + 212 + 200, 104 + 212 + 200, None),
        ([None], {"max_tokens": None}, "own", 104, 104, None),
    ],
)
def test_later_turns_see_earlier_answers(tmp_path, turns, params, history, least, most, output):
    data = rows(tmp_path / "d.jsonl", asked(*turns))
    planned = dry_run(data, history=history, params=params)
    assert (planned.prompt_tokens, planned.prompt_tokens_most, planned.output_tokens_most) == (least, most, output)


def test_everything_that_is_sent_counts(tmp_path):
    def tokens(**more):
        return dry_run(rows(tmp_path / "d.jsonl", asked(None), **more)).prompt_tokens

    assert tokens(system=LONG) == 208
    assert tokens(context=[{"role": "user", "content": LONG}, {"role": "assistant", "content": LONG}]) == 312
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    assert 110 < tokens(tools=[tool]) < 140
    data = rows(tmp_path / "d.jsonl", asked(None), system=LONG)
    assert dry_run(data, system="").prompt_tokens == 104
    row = {"user": [{"type": "text", "text": LONG}, {"type": "image_url", "image_url": {"url": "https://a/b.png"}}]}
    planned = dry_run(rows(tmp_path / "d.jsonl", [row]))
    assert (planned.prompt_tokens, planned.parts) == (104, 1)


def test_limits_of_rows_override_those_of_the_endpoint(tmp_path):
    data = rows(tmp_path / "d.jsonl", asked(None), params={"max_tokens": 7})
    assert dry_run(data, params={"max_tokens": 50}).output_tokens_most == 7


def test_repeats_multiply_and_a_price_gives_the_cost(tmp_path):
    data = rows(tmp_path / "d.jsonl", asked(None), asked(None), asked(None))
    planned = dry_run(data, repeats=5, limit=2, price=(1.0, 10.0), params={"max_tokens": 10})
    assert (planned.conversations, planned.turns, planned.requests) == (2, 2, 10)
    assert planned.cost_most == pytest.approx((10 * 104 * 1.0 + 100 * 10.0) / 1e6)
    assert dry_run(data, price=(1.0, 10.0)).cost_most is None


def test_all_rows_that_cannot_be_used_are_listed(tmp_path):
    data = tmp_path / "d.jsonl"
    data.write_text('{"turns": []}\n{"turns": [{"user": 5}]}\n', encoding="utf-8")
    with pytest.raises(ek.DatasetError) as caught:
        dry_run(data)
    assert "line 1" in str(caught.value)
    assert "line 2" in str(caught.value)


def test_a_run_sends_as_many_requests_as_its_dry_run_says_and_the_dry_run_none(sums, tmp_path):
    with serve(Script(answer=Arithmetic())) as server:
        given = ("run", sums(4, 3), *flags(server), "--repeats", 2, "--out", tmp_path / "r.evalkit")
        planned = json.loads(evalkit(*given, "--dry-run", "--json").stdout)
        assert server.stats()["requests"] == 0
        assert not (tmp_path / "r.evalkit").exists()
        evalkit(*given)
        assert server.stats()["requests"] == planned["requests"] == 24
