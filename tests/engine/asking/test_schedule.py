"""The schedule: what a resumed run still has to send, in which order."""

import json

import pytest
from records import answered, failed, finished
from runfiles import create

from evalkit.datasets import reader
from evalkit.engine.asking.schedule import Schedule
from evalkit.settings import Settings


def asked(items):
    return [(item.position, item.repeat, sorted(item.answered or ())) for item in items]


@pytest.fixture
def begun(sums, tmp_path):
    """A dataset of ten conversations of two turns, and a run file that holds these turns of them."""

    def make(*turns, form=".jsonl"):
        data = sums(10, 2)
        if form == ".json":
            rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
            data = data.with_suffix(".json")
            data.write_text(json.dumps(rows), encoding="utf-8")
        conversations = list(reader.read(data))
        with create(tmp_path / "r.evalkit") as runfile:
            for position, turn, repeat, good in turns:
                identity = conversations[position].id
                record = (answered if good else failed)(turn, identity=identity, repeat=repeat)
                runfile.add([finished(position, conversations[position], record)])
        return data, tmp_path / "r.evalkit"

    return make


def test_a_new_run_sends_all_conversations_before_repeating_any(sums):
    schedule = Schedule(sums(3, 1), Settings(repeats=2))
    assert asked(schedule) == [(0, 1, []), (1, 1, []), (2, 1, []), (0, 2, []), (1, 2, []), (2, 2, [])]


@pytest.mark.parametrize("form", [".jsonl", ".json"])
def test_started_conversations_come_first_then_the_others(begun, form):
    data, runfile = begun(
        (0, 1, 1, True), (0, 2, 1, True),  # finished
        (2, 1, 1, True), (2, 2, 1, False),  # its second turn failed
        (5, 1, 1, True),  # cut off
        form=form,
    )  # fmt: skip
    items = [item for item in Schedule(data, Settings(), runfile) if item is not None]
    assert asked(items) == [
        (2, 1, [1]), (5, 1, [1]), (1, 1, []), (3, 1, []), (4, 1, []), (6, 1, []), (7, 1, []), (8, 1, []), (9, 1, []),
    ]  # fmt: skip
    assert [item.conversation.id for item in items[:3]] == ["sum-2", "sum-5", "sum-1"]


def test_each_repeat_is_resumed_separately(begun):
    data, runfile = begun((0, 1, 1, True), (0, 2, 1, True), (0, 1, 2, True))
    items = list(Schedule(data, Settings(repeats=3, limit=2), runfile))
    assert asked(items) == [(0, 2, [1]), (0, 3, []), (1, 1, []), (1, 2, []), (1, 3, [])]


def test_a_limit_holds_for_the_whole_dataset_and_nothing_is_left_of_a_finished_run(begun):
    data, runfile = begun((0, 1, 1, True), (0, 2, 1, True), (1, 1, 1, True), (1, 2, 1, True))
    assert asked(Schedule(data, Settings(limit=3), runfile)) == [(2, 1, [])]
    assert asked(Schedule(data, Settings(limit=2), runfile)) == []


def test_a_run_killed_before_its_first_turn_is_sent_whole(begun):
    data, runfile = begun()
    assert [item.position for item in Schedule(data, Settings(), runfile)] == list(range(10))
