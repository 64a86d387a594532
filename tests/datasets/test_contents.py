"""What a dataset asks: counted, with what is not sent, and duplicates found by all that is sent and nothing else."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit import Conversation, DatasetError, Message, ScorerSpec, SettingsError, Turn
from evalkit.datasets import contents as contents_module
from evalkit.datasets.contents import contents, what_is_sent

TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}
FULL = Conversation(
    "full",
    (Turn("12 + 23?", 35, assistant="35"), Turn("Say more."), Turn("JSON?", {"a": 1}, ScorerSpec("json"))),
    system="Be brief.",
    context=(Message("user", "hi"), Message("assistant", "hello")),
    tools=(TOOL,),
    tool_results={"add": 1},
    params={"stop": "x", "seed": 1},
    tags=("sum", "sum"),
    group="g",
    meta={"source": "book", "page": 3},
)


def data_of(folder, rows, name="data.jsonl"):
    path = folder / name
    rows = [row.to_json() if isinstance(row, Conversation) else row for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_everything_that_is_sent_or_scored_is_counted_and_what_is_not_sent_is_named(tmp_path):
    found = contents(data_of(tmp_path, [FULL, Conversation("plain", (Turn("2 + 2?", "four"),), tags=("sum",))]))
    assert (found.shape, found.conversations, found.turns, found.most_turns) == ("native", 2, 4, 3)
    assert (found.targets, found.golden, found.unscored) == (3, 1, 1)
    assert found.scorers == {"number": 1, "json": 1, "includes": 1}
    assert (found.system, found.context, found.tools, found.parts, found.groups) == (1, 1, 1, 0, 1)
    assert (found.params, found.tags, found.ignored) == ({"stop": 1, "seed": 1}, {"sum": 2}, {"source": 1, "page": 1})
    assert (found.duplicated, found.duplicates, found.first) == (0, [], FULL)


def test_keys_that_a_row_format_does_not_know_are_named_as_not_sent(tmp_path):
    rows = [{"messages": [{"role": "user", "content": f"{n}?"}], "source": "x", "temperature": 0} for n in range(3)]
    found = contents(data_of(tmp_path, rows))
    assert (found.shape, found.ignored, found.params) == ("chat", {"source": 3}, {"temperature": 3})
    assert (found.targets, found.unscored) == (0, 3)


def test_settings_of_a_run_change_what_is_asked(tmp_path):
    path = data_of(tmp_path, [FULL, Conversation("plain", (Turn("2 + 2?"),))])
    assert contents(path, limit=1).conversations == 1
    length = ScorerSpec("length", {"max": 9.0})
    assert contents(path, scorer=length).scorers == {"length": 3, "json": 1}
    with pytest.raises(DatasetError, match="the target is missing: the scorer exact"):
        contents(data_of(tmp_path, [Conversation("a", (Turn("?", None, ScorerSpec("exact")),))], "other.jsonl"))
    found = contents(path, system="Count.")
    assert (found.system, found.first.system) == (2, "Count.")
    assert contents(path, system="").system == 0
    with pytest.raises(DatasetError, match=r"turns\[1\].assistant"):
        contents(path, history="golden")
    table = tmp_path / "data.csv"
    table.write_text("Question,Answer,Source\n1 + 1?,2,x\n", encoding="utf-8")
    found = contents(table, columns={"user": "Question", "target": "Answer"})
    assert (found.shape, found.scorers, list(found.ignored)) == ("csv", {"number": 1}, ["Source"])
    with pytest.raises(SettingsError, match="history"):
        contents(path, history="silver")


SAME = [
    {"id": "other"}, {"tags": ("other",)}, {"group": None}, {"meta": {"source": "other"}},
    {"turns": tuple(turn._replace(target="x", scorer=ScorerSpec("exact"), assistant="y") for turn in FULL.turns)},
]  # fmt: skip
OTHERS = [
    {"system": "Be long."}, {"system": None}, {"context": ()}, {"tools": (), "tool_results": {}}, {"tool_results": {}},
    {"params": {"stop": "x"}}, {"turns": FULL.turns[:2]}, {"turns": FULL.turns[::-1]},
    {"turns": (FULL.turns[0]._replace(user="12 + 23? "), *FULL.turns[1:])},
]  # fmt: skip


def test_a_duplicate_asks_the_same_whatever_its_labels_and_targets(tmp_path):
    rows = [FULL._replace(**changes) for changes in OTHERS]
    rows = [row._replace(id=f"o{n}") for n, row in enumerate(rows)] + [FULL]
    rows += [FULL._replace(**{"id": f"s{n}", **changes}) for n, changes in enumerate(SAME)]
    found = contents(data_of(tmp_path, rows))
    assert found.duplicated == len(SAME)
    assert [duplicate[2:] for duplicate in found.duplicates] == [(len(OTHERS) + 1, "full")] * len(SAME)
    assert found.duplicates[0][:2] == (len(OTHERS) + 2, "other")


def test_with_the_golden_history_golden_answers_are_asked_too(tmp_path):
    talks = [
        Conversation(f"c{n}", (Turn("?", assistant=text), Turn("!", assistant=str(n)))) for n, text in enumerate("aab")
    ]
    path = data_of(tmp_path, talks)
    assert contents(path).duplicated == 2
    assert [duplicate.number for duplicate in contents(path, history="golden").duplicates] == [2]


def test_a_system_prompt_of_the_run_can_make_duplicates(tmp_path):
    path = data_of(tmp_path, [Conversation(name, (Turn("?"),), system=name) for name in "ab"])
    assert (contents(path).duplicated, contents(path, system="c").duplicated) == (0, 1)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60))
@settings(max_examples=25, deadline=None)
def test_duplicates_are_those_that_comparing_all_pairs_finds(tmp_path_factory, asked):
    talks = [Conversation(f"c{n}", (Turn(f"{question}?"),)) for n, question in enumerate(asked)]
    found = contents(data_of(tmp_path_factory.mktemp("data"), talks))
    again = [(n + 1, f"c{n}", asked.index(q) + 1, f"c{asked.index(q)}") for n, q in enumerate(asked) if q in asked[:n]]
    assert (found.duplicated, found.duplicates) == (len(again), again[: contents_module.MOST_DUPLICATES])


def test_only_so_many_names_are_kept_and_the_rest_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(contents_module, "MOST_NAMES", 3)
    rows = [Conversation(f"c{n}", (Turn(f"{n}?"),), tags=("all", f"t{n}"), meta={f"k{n}": 1}) for n in range(5)]
    found = contents(data_of(tmp_path, rows))
    assert (found.tags, found.unnamed) == ({"all": 5, "t0": 1, "t1": 1}, {"tags": 3, "ignored": 2})


def test_every_problem_is_listed_as_by_run(tmp_path):
    rows = [{"id": "a", "turns": [{"user": "?"}]}, {"id": "a", "turns": [{"user": "?"}]}, {"turns": [{"usr": "?"}]}]
    with pytest.raises(DatasetError, match=r"(?s)2 problems.*line 2.*line 3.*did you mean 'user'"):
        contents(data_of(tmp_path, rows))


def test_what_is_sent_needs_no_field_that_is_not(tmp_path):
    sent = json.loads(what_is_sent(FULL, golden=False))
    assert sent.keys() == {"system", "context", "tools", "tool_results", "params", "asked"}
    assert what_is_sent(FULL, golden=True) != what_is_sent(FULL, golden=False)
    assert contents(data_of(tmp_path, [FULL])).to_json()["first"] == json.loads(FULL.canonical)


def test_memory_does_not_grow_with_the_rows(tmp_path):
    path = data_of(tmp_path, ({"id": f"c{n}", "turns": [{"user": f"{n}?" * 500, "target": n}]} for n in range(4_000)))
    contents(path, limit=1)  # imports
    tracemalloc.start()
    try:
        assert contents(path).conversations == 4_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 9e6
    assert peak < 2e6
