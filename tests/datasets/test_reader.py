"""Dataset files: what is read, and the whole message for everything that is not."""

import gzip
import json
import re
import tracemalloc
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.datasets import id_set, reader
from evalkit.datasets.row_formats import listed_formats
from evalkit.errors import DatasetError, SettingsError
from evalkit.scorers import scoring

SAMPLES = Path(__file__).parent / "samples"
TURNS = '"turns": [{"user": "Hi"}]'
GOOD = f'{{"id": "good", {TURNS}}}'


def read_or_told(path):
    try:
        summary = check(path)
    except DatasetError as error:
        return str(error).startswith(str(path))
    return summary.conversations == len(list(reader.read(path)))


def check(path, **options):
    return reader.check(path, check_turn=scoring.turn_checker(), **options)


@pytest.mark.parametrize("name", ["native.jsonl", "list.json", "chat.jsonl", "gsm8k.jsonl", "turns.csv"])
@pytest.mark.parametrize("start", [1, 2, 5])
def test_reading_may_begin_further_on_and_finds_the_same_conversations(name, start):
    whole = list(reader.read(SAMPLES / name))
    assert list(reader.read(SAMPLES / name, start=start)) == whole[start:]
    assert list(reader.read(SAMPLES / name, start=start, limit=2)) == whole[start:2]


def test_rows_that_are_passed_over_are_not_parsed_and_blank_lines_do_not_count(tmp_path):
    path = tmp_path / "d.jsonl"
    rows = [GOOD, "", "no row", " ", GOOD.replace("good", "third"), GOOD.replace("good", "fourth")]
    path.write_text("\n".join(rows), encoding="utf-8")
    assert [c.id for c in reader.read(path, start=2)] == ["third", "fourth"]
    with pytest.raises(DatasetError, match="line 3: not valid JSON"):
        list(reader.read(path, start=1))


def test_an_id_may_come_twice_where_nobody_asks(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(f"{GOOD}\n{GOOD}\n", encoding="utf-8")
    assert len(list(reader.read(path, unique=False))) == 2


@pytest.mark.parametrize(
    ("name", "shape", "conversations", "turns"),
    [
        ("native.jsonl", "native", 3, 4),
        ("list.json", "native", 2, 2),
        ("chat.jsonl", "chat", 2, 3),
        ("batch.jsonl", "openai-batch", 2, 2),
        ("mt_bench.jsonl", "mt-bench", 2, 4),
        ("gsm8k.jsonl", "gsm8k", 2, 2),
        ("turns.csv", "csv", 2, 3),
    ],
)
def test_every_shape_is_told_from_its_first_row(name, shape, conversations, turns):
    summary = check(SAMPLES / name)
    assert (summary.path, summary.shape) == (str(SAMPLES / name), shape)
    assert (summary.conversations, summary.turns) == (conversations, turns)
    assert [c.id for c in reader.read(SAMPLES / name)] == [c.id for c in reader.read(str(SAMPLES / name))]


def test_ids_that_are_missing_come_from_the_position_and_stay():
    assert [c.id for c in reader.read(SAMPLES / "native.jsonl")] == ["sum-012", "row-000002", "7"]
    assert [c.id for c in reader.read(SAMPLES / "native.jsonl", limit=2)] == ["sum-012", "row-000002"]


def test_a_line_separator_inside_text_ends_no_row():
    assert list(reader.read(SAMPLES / "native.jsonl"))[1].turns[0].user == "Name a colour.\u2028One word."


def test_the_hash_is_of_content_and_order_not_of_layout(tmp_path):
    one, two = '{"id": "a", "turns": [{"user": "1"}]}', '{"id": "b", "turns": [{"user": "2"}]}'
    texts = {
        "plain": f"{one}\n{two}\n",
        "laid out": f"\n  {one}\r\n\r\n{two.replace(': ', ' :  ')}",
        "bom": f"\ufeff{one}\n{two}",
        "turned": f"{two}\n{one}\n",
        "changed": f"{one}\n{two.replace('2', '3')}\n",
    }
    hashes = {}
    for name, text in texts.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text(text, encoding="utf-8", newline="")
        hashes[name] = reader.check(path).hash
    assert hashes["plain"] == hashes["laid out"] == hashes["bom"]
    assert len({hashes["plain"], hashes["turned"], hashes["changed"]}) == 3


def test_a_json_file_may_hold_json_lines_and_any_file_may_be_packed(tmp_path):
    (tmp_path / "lines.json").write_text(GOOD + "\n")
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(GOOD.encode()))
    (tmp_path / "packed.json.gz").write_bytes(gzip.compress(f"[{GOOD}]".encode()))
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(b"id,user\ngood,Hi\n"))
    for path in tmp_path.iterdir():
        assert [(c.id, c.turns[0].user) for c in reader.read(path)] == [("good", "Hi")], path.name


def test_a_limit_leaves_what_follows_unread(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(f"{GOOD}\nbroken\n")
    assert check(path, limit=1).conversations == 1
    assert len(list(reader.read(path, limit=1))) == 1


# content of x.jsonl, the whole message after "x.jsonl"
BAD = {
    "empty": ("", ": holds no rows"),
    "only blank lines": ("\n  \r\n\n", ": holds no rows"),
    "cut off": (
        '{"id": "a", "turns',
        ", line 1: not valid JSON: it ends at column 19, before the row does",
    ),
    "a later row cut off": (
        f'{GOOD}\n{{"id": "a", "turns',
        ", line 2: not valid JSON: it ends at column 19, before the row does (a row must be on one line)",
    ),
    "no colon": (f'{GOOD}\n{{"id" "a"}}', """, line 2: not valid JSON at column 7, near '"a"}'"""),
    "last comma": (
        '{"id": "a",}',
        ", line 1: not valid JSON at column 11, near ',}': no comma before a closing bracket",
    ),
    "single quotes": (
        "{'id': 1}",
        """, line 1: not valid JSON at column 2, near "'id': 1}": text needs double quotes""",
    ),
    "not a number": ('{"id": NaN}', ", line 1: not valid JSON at column 8, near 'NaN}': JSON has no such number"),
    "two rows a line": (
        f"{GOOD}\n{GOOD} {GOOD}",
        """, line 2: not valid JSON at column 43, near '{"id": "good", "turn'""",
    ),
    "column counts characters": ('{"日本": x}', ", line 1: not valid JSON at column 8, near 'x}'"),
    "a list": ("[1]", ", line 1: a row must be an object, {…}, not a list"),
    "a text": (f'{GOOD}\n"Hi"', ", line 2: a row must be an object, {…}, not text"),
    "null": ("null", ", line 1: a row must be an object, {…}, not null"),
    "unknown shape": (
        '{"txt": "x"}',
        f", line 1: no known row format has the keys 'txt'. {listed_formats()}",
    ),
    "other shape later": (
        f'{GOOD}\n{{"messages": []}}',
        ", line 2, field messages: unknown key. Known here: id, system, context, tools, tool_results, params, tags, "
        "group, meta, turns (the row looks like chat, OpenAI fine-tuning, the first one like native: all "
        "must be of one format)",
    ),
    "no turns": (
        f'{GOOD}\n{{"id": "a"}}',
        ", line 2, field turns: is missing: a row needs at least one turn with a user message",
    ),
    "turns []": ('{"turns": []}', ", line 1, field turns: is empty: a row needs at least one turn with a user message"),
    "duplicate": (
        f'{{"id": "b", {TURNS}}}\n\n{GOOD}\n{GOOD}',
        ", line 4, field id: 'good' is the id in line 3 already: every row needs its own",
    ),
    "duplicate of a made id": (
        f'{{"id": "row-000002", {TURNS}}}\n{{{TURNS}}}',
        ", line 2, field id: 'row-000002' is the id in line 1 already: every row needs its own",
    ),
    "number and text id": (
        f'{{"id": 1, {TURNS}}}\n{{"id": "1", {TURNS}}}',
        ", line 2, field id: '1' is the id in line 1 already: every row needs its own",
    ),
    "unknown scorer": (
        '{"turns": [{"user": "Hi"}, {"user": "2?", "target": 2, "scorer": "numbr"}]}',
        ", line 1, field turns[1].scorer: no scorer is called 'numbr'. Known, most similar first: number, choice, "
        "chrf, date, edit, exact, f1, includes, json, language, length, regex, rouge_l, tool_call",
    ),
    "unknown option": (
        '{"turns": [{"user": "Hi", "target": 2, "scorer": {"name": "number", "tol": 1}}]}',
        ", line 1, field turns[0].scorer: the scorer number has no option 'tol'. Its options: abs_tol, rel_tol, which, "
        "decimal",
    ),
    "option of a wrong type": (
        '{"turns": [{"user": "Hi", "target": 2, "scorer": {"name": "number", "abs_tol": "1"}}]}',
        ', line 1, field turns[0].scorer: the option abs_tol of the scorer number is "1": it must be a '
        "number, 0 or more",
    ),
    "option of a wrong value": (
        '{"turns": [{"user": "Hi", "target": 2, "scorer": {"name": "number", "which": "best"}}]}',
        ", line 1, field turns[0].scorer: the option which of the scorer number is 'best': it must be one of 'final', "
        "'first', 'last', 'any'",
    ),
    "weight of no number": (
        '{"turns": [{"user": "Hi", "target": 2, "scorer": ["number", {"name": "exact", "weight": "2"}]}]}',
        ", line 1, field turns[0].scorer[1].weight: must be a number above 0, at most a million",
    ),
    "one of several scorers cannot be used": (
        '{"turns": [{"user": "Hi", "target": 2, "scorer": ["number", "length"]}]}',
        ", line 1, field turns[0].scorer[1]: the scorer length needs a limit: the option min, max, or both",
    ),
    "one of several scorers names code": (
        '{"turns": [{"user": "Hi", "target": 2, "scorer": ["number", {"name": "os:system"}]}]}',
        ", line 1, field turns[0].scorer[1]: 'os:system' names code: a dataset is data and can only name existing "
        "scorers",
    ),
    "a rule for an argument names code": (
        '{"turns": [{"user": "Hi", "scorer": "tool_call", "target": {"name": "f", "arguments": {"x": '
        '{"$scorer": "os:system"}}}}]}',
        ', line 1, field turns[0].target: the rule {"$scorer":"os:system"} cannot be used: "os:system" is not '
        "the name of a scorer",
    ),
    "bad pattern": (
        '{"turns": [{"user": "Hi", "target": "(?=a)", "scorer": "regex"}]}',
        ", line 1, field turns[0].target: the pattern '(?=a)' cannot be used: invalid perl operator '(?=' "
        "at character 1 (RE2 syntax: no look-around, no back-references)",
    ),
    "number with words for target": (
        '{"turns": [{"user": "Hi", "target": "many", "scorer": "number"}]}',
        ', line 1, field turns[0].target: the target is "many": the scorer number needs a number',
    ),
    "choice out of the letters": (
        '{"turns": [{"user": "Hi", "target": "E", "scorer": {"name": "choice", "letters": "ABCD"}}]}',
        ', line 1, field turns[0].target: the target is "E": the scorer choice needs one of the letters ABCD',
    ),
    "scorer without target": (
        '{"turns": [{"user": "Hi", "scorer": "exact"}]}',
        ", line 1, field turns[0].target: the target is missing: the scorer exact needs one to compare with",
    ),
    "target true": (
        '{"turns": [{"user": "Hi", "target": true}]}',
        ", line 1, field turns[0].target: true and false have no default scorer: name one, such as json",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_told_with_line_and_field(name, tmp_path):
    content, message = BAD[name]
    path = tmp_path / "x.jsonl"
    path.write_bytes(content.encode())
    with pytest.raises(DatasetError) as caught:
        check(path)
    assert str(caught.value) == f"{path}{message}"
    with pytest.raises(DatasetError) as caught:
        list(reader.read(path, check_turn=scoring.turn_checker()))
    assert str(caught.value) == f"{path}{message}"


NOT_TEXT = "save the file as UTF-8"
BAD_BYTES = {
    "latin-1": (
        "x.jsonl",
        GOOD.encode() + b'\n{"turns": [{"user": "caf\xe9"}]}\n' + b"\xff\n",
        f", line 2: byte 66 of the file, 0xE9, is not UTF-8: {NOT_TEXT}",
    ),
    "latin-1 after UTF-8": (
        "x.csv",
        "id,user\na,é\n".encode() + b"a,caf\xe9\n",
        f", line 3: byte 18 of the file, 0xE9, is not UTF-8: {NOT_TEXT}",
    ),
    "latin-1 list": (
        "x.json",
        b'[{"turns": [{"user": "caf\xe9"}]}]',
        f", line 1: byte 25 of the file, 0xE9, is not UTF-8: {NOT_TEXT}",
    ),
    "utf-16, cut": (
        "x.jsonl",
        GOOD.encode("utf-16")[:-1],
        ": cannot be read: it is not UTF-16 throughout (truncated data)",
    ),
    "nul in text": (
        "x.jsonl",
        b'\n{"turns": [{"user": "a\0b"}]}',
        ", line 2: byte 23 of the file is NUL: this is not a text file in UTF-8; save it as UTF-8",
    ),
    "nul in a CSV file": (
        "x.csv",
        b"user\na\0b\n",
        ", line 2: byte 6 of the file is NUL: this is not a text file in UTF-8; save it as UTF-8",
    ),
    "packed and cut": (
        "x.jsonl.gz",
        gzip.compress(GOOD.encode() * 9)[:-12],
        ": cannot be read: Compressed file ended before the end-of-stream marker was reached",
    ),
    "broken list": (
        "x.json",
        f'[{GOOD},\n {{"id" 1}}]'.encode(),
        ", line 2: not valid JSON at column 8, near '1}'",
    ),
    "row of a list": (
        "x.json",
        f'[{GOOD},\n {{"id": "b", "turns": [{{"user": ""}}]}}]'.encode(),
        ", field [1].turns[0].user: must not be empty",
    ),
    "duplicate in a list": (
        "x.json",
        f"[{GOOD}, {GOOD}]".encode(),
        ", field [1].id: 'good' is the id in row 1 already: every row needs its own",
    ),
    "list of texts": ("x.json", b'["a"]', ", field [0]: a row must be an object, {…}, not text"),
    "empty list": ("x.json", b"[]", ": holds no rows"),
    "empty CSV file": ("x.csv", b"", ": holds no rows"),
    "CSV file of a header": ("x.csv", b"id,user\n", ": holds no rows"),
}


@pytest.mark.parametrize("name", BAD_BYTES)
def test_a_file_that_is_no_text_or_no_dataset_is_told(name, tmp_path):
    file, content, message = BAD_BYTES[name]
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        check(path)
    assert str(caught.value) == f"{path}{message}"


def test_missing_files_and_folders_name_what_is_there(tmp_path):
    for name in ("primary_math.jsonl", "facts.csv", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "bare").mkdir()
    messages = {
        tmp_path / "primry_math.jsonl": f"there is no such file in {tmp_path}; did you mean primary_math.jsonl?",
        tmp_path
        / "zz.jsonl": f"there is no such file in {tmp_path}; the datasets there are facts.csv, primary_math.jsonl",
        tmp_path / "bare" / "x.jsonl": f"there is no such file in {tmp_path / 'bare'}; the folder holds no dataset",
        tmp_path / "no" / "x.jsonl": f"there is no such file, and no folder {tmp_path / 'no'}",
        tmp_path: "is a folder: name a file in it; the datasets there are facts.csv, primary_math.jsonl",
        tmp_path
        / "notes.txt": "is not a known kind of dataset: its name must end in .jsonl, .ndjson, .json, .csv, .tsv, "
        ".parquet",
        Path("/dev/null"): "is not a regular file: a dataset is read more than once, so save it to a file first",
    }
    for path, message in messages.items():
        with pytest.raises(DatasetError) as caught:
            next(reader.read(path))
        assert str(caught.value) == f"{path}: {message}"


def test_a_line_of_50_mb_is_named_and_never_held_twice(tmp_path):
    path = tmp_path / "x.jsonl"
    with path.open("wb") as file:
        file.write(GOOD.encode() + b'\n{"turns": [{"user": "')
        for _ in range(50):
            file.write(b"x" * 1_000_000)
        file.write(b'"}]}\n' + GOOD.encode())
    tracemalloc.start()
    with pytest.raises(DatasetError) as caught:
        check(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value) == (
        f"{path}: 2 problems\n"
        "  line 2: the line has 50,000,026 bytes: a row can have at most 10,000,000\n"
        "  line 3, field id: 'good' is the id in line 1 already: every row needs its own"
    )
    assert peak < 25_000_000


def test_all_problems_are_listed_up_to_ten(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"turns": [{"user": 1}]}\n{"trns": []}\n{"turns": [{"user": "a"}]}\n')
    with pytest.raises(DatasetError) as caught:
        check(path)
    assert str(caught.value) == (
        f"{path}: 2 problems\n"
        "  line 1, field turns[0].user: must be text, not a number\n"
        "  line 2, field trns: unknown key; did you mean 'turns'?"
    )
    path.write_text('{"turns": 1}\n' * 30)
    with pytest.raises(DatasetError) as caught:
        check(path)
    assert str(caught.value).startswith(f"{path}: 10 problems, perhaps more\n  line 1, field turns: must be a list")
    assert str(caught.value).count("\n") == 10


def test_golden_history_needs_a_golden_answer_before_each_later_turn(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"turns": [{"user": "a", "assistant": "b"}, {"user": "c"}, {"user": "d"}]}\n')
    assert check(path).turns == 3
    with pytest.raises(DatasetError) as caught:
        check(path, history="golden")
    assert str(caught.value) == (
        f"{path}, line 1, field turns[1].assistant: is missing: with the golden history, later turns see the golden "
        "answers of earlier ones"
    )
    path.write_text('{"turns": [{"user": "a", "assistant": "b"}, {"user": "c"}]}\n')
    assert check(path, history="golden").turns == 2


def native(messages):
    return {"turns": [{"user": "Hi"}], "context": messages}


def chat(messages, *system):
    return {"messages": [*system, *messages, {"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize(
    ("row", "field"),
    [
        (native, "context[3]"),
        (chat, "messages[3]"),
        (lambda messages: chat(messages, {"role": "system", "content": "s"}), "messages[4]"),
        (lambda messages: {**chat([]), "context": messages}, "context[3]"),
        (lambda messages: {"custom_id": "a", "body": chat(messages)}, "body.messages[3]"),
    ],
)
def test_an_instruction_that_the_system_prompt_of_a_run_cannot_replace_is_refused(tmp_path, role, row, field):
    path = tmp_path / "x.jsonl"
    messages = [{"role": "developer", "content": text} for text in ("d", "e")]
    messages += [{"role": "assistant", "content": "Hello"}, {"role": role, "content": "Be brief."}]
    path.write_text(json.dumps(row(messages)))
    assert check(path).turns == 1
    for read in (check, lambda *given, **options: list(reader.read(*given, **options))):
        with pytest.raises(DatasetError) as caught:
            read(path, own_system=True)
        assert f", line 1, field {field}: is a {role} message after other messages: " in str(caught.value)
    path.write_text(json.dumps(row(messages[:-1])))
    assert check(path, own_system=True).hash == check(path).hash  # the dataset is the same


def test_settings_that_cannot_be_used_are_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(GOOD)
    with pytest.raises(SettingsError, match=r"^no history policy is called 'gold'. Known: own and golden$"):
        check(path, history="gold")
    with pytest.raises(SettingsError, match=r"^no key can be read as 'usr': the fields are id, user, target"):
        check(path, columns={"usr": "q"})


def test_the_run_s_scorer_is_checked_against_every_target(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"turns": [{"user": "a", "target": "Paris"}]}\n')
    with pytest.raises(DatasetError) as caught:
        reader.check(path, check_turn=scoring.turn_checker("number"))
    assert str(caught.value) == (
        f'{path}, line 1, field turns[0].target: the target is "Paris": the scorer number needs a number'
    )


def test_a_mere_clash_of_hashes_is_no_duplicate(tmp_path, monkeypatch):
    monkeypatch.setattr(id_set.IdSet, "add", lambda self, text: False)
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"id": "a", {TURNS}}}\n{{"id": "b", {TURNS}}}\n')
    assert [c.id for c in reader.read(path)] == ["a", "b"]


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f'{{"id": "{n}", {TURNS}}}\n' for n in range(20_000)))
    list(reader.read(path, limit=10))
    tracemalloc.start()
    for _ in reader.read(path):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_500_000


KEYS = [
    "id",
    "system",
    "context",
    "tools",
    "tool_results",
    "params",
    "tags",
    "group",
    "meta",
    "turns",
    "user",
    "target",
    "scorer",
    "assistant",
    "messages",
    "role",
    "content",
    "tool_calls",
    "body",
    "custom_id",
    "url",
    "question_id",
    "question",
    "answer",
    "reference",
    "category",
    "name",
    "function",
    "arguments",
    "type",
    "text",
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS) | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(anything, max_size=4), listed=st.booleans())
def test_any_json_is_read_or_told(tmp_path, rows, listed):
    path = tmp_path / ("x.json" if listed else "x.jsonl")
    path.write_bytes(orjson.dumps(rows) if listed else b"\n".join(map(orjson.dumps, rows)))
    assert read_or_told(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode),
    begin=st.sampled_from([b"", b"\xef\xbb\xbf", b"[", GOOD.encode() + b"\n", b"id,user,target\n", b'user\n"']),
    name=st.sampled_from(["x.jsonl", "x.json", "x.csv", "x.jsonl.gz", "x.csv.gz"]),
)
def test_any_bytes_are_read_or_told(tmp_path, content, begin, name):
    path = tmp_path / name
    path.write_bytes(begin + content)
    assert read_or_told(path)


def nest(levels, innermost=1):
    value = innermost
    for _ in range(levels):
        value = [value] if levels % 2 else {"a": value}
    return value


def deep_text(levels):
    return "[" * levels + "]" * levels


# where a value may stand in a row of each shape, its place as NESTED, and the field that the error names
DEEP_ROWS = {
    '{"id": "a", "turns": [{"user": "u", "target": NESTED}]}': "turns[0].target",
    '{"turns": [{"user": "u"}, {"user": "u", "target": {"a": 1, "b": NESTED}}]}': "turns[1].target",
    '{"turns": [{"user": "u", "target": 1, "scorer": {"name": "json", "schema": NESTED}}]}': "turns[0].scorer",
    '{"turns": [{"user": NESTED}]}': "turns[0].user",
    '{"turns": NESTED}': "turns[0][0]",
    '{"turns": [{"user": "u"}], "params": {"p": NESTED}}': "params.p",
    '{"turns": [{"user": "u"}], "tools": [{"function": {"name": "f", "p": NESTED}}]}': "tools[0].function",
    '{"turns": [{"user": "u"}], "tools": [], "tool_results": {"f": NESTED}}': "tool_results.f",
    '{"turns": [{"user": "u"}], "tags": NESTED}': "tags[0][0]",
    '{"turns": [{"user": "u"}], "meta": {"m": NESTED}}': "meta.m",
    '{"turns": [{"user": "u"}], "context": [{"role": "user", "content": NESTED}]}': "context[0].content",
    '{"messages": [{"role": "user", "content": "u"}], "target": NESTED}': "target[0][0]",
    '{"messages": [{"role": "user", "content": NESTED}]}': "messages[0].content",
    '{"messages": [{"role": "user", "content": "u"}], "other": NESTED}': "other[0][0]",
    '{"custom_id": "a", "body": {"messages": [{"role": "user", "content": "u"}], "tools": NESTED}}': "body.tools[0]",
    '{"question_id": 1, "turns": ["u"], "reference": NESTED}': "reference[0][0]",
    '{"question": "u", "answer": "#### 3", "more": NESTED}': "more[0][0]",
}
FIRST_ROWS = (
    '{"id": "first", "turns": [{"user": "u"}]}',
    '{"messages": [{"role": "user", "content": "u"}]}',
    '{"custom_id": "first", "body": {"messages": [{"role": "user", "content": "u"}]}}',
    '{"question_id": "first", "turns": ["u"]}',
    '{"question": "u", "answer": "#### 3"}',
)
LEVELS = [101, 300, 1000, 1500, 50_000]


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("row", DEEP_ROWS)
def test_a_row_that_is_nested_too_deep_is_named_with_line_and_field(tmp_path, row, levels):
    line = row.replace("NESTED", deep_text(levels))
    # what no parser reads has no field
    field = rf", field {re.escape(DEEP_ROWS[row])}[\[\]\w.]*" if levels < 1000 else "(, field .*)?"
    path = tmp_path / "d.jsonl"
    path.write_text(next(first for first in FIRST_ROWS if json.loads(first).keys() & {row.split('"')[1]}) + "\n" + line)
    for read_it in (lambda: list(reader.read(path)), lambda: reader.check(path)):
        with pytest.raises(DatasetError) as caught:
            read_it()
        assert re.search(rf"line 2{field}: has more than 100 levels of nesting", str(caught.value)), str(caught.value)[
            :300
        ]


@pytest.mark.parametrize("levels", LEVELS)
def test_a_list_that_is_nested_too_deep_is_named(tmp_path, levels):
    path = tmp_path / "d.json"
    path.write_text('[{"turns": [{"user": "u"}]},\n{"turns": [{"user": "u", "target": ' + deep_text(levels) + "}]}]")
    with pytest.raises(
        DatasetError, match=r"(field \[1\]\.turns\[0\]\.target|line 2): has more than 100 levels of nesting"
    ):
        reader.check(path)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize(("column", "cell"), [("target", "NESTED"), ("scorer", '{"name": "json", "schema": NESTED}')])
def test_a_cell_that_is_nested_too_deep_is_named(tmp_path, levels, column, cell):
    path = tmp_path / "d.csv"
    cell = cell.replace("NESTED", deep_text(levels)).replace('"', '""')
    path.write_text(f'user,{column}\nu,\nu,"{cell}"\n')
    with pytest.raises(DatasetError, match=rf"line 3, field {column}.*: has more than 100 levels of nesting"):
        reader.check(path)


def test_a_hundred_levels_are_read_hashed_and_written_again(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"id": "a", "turns": [{"user": "u", "target": nest(97)}]}) + "\n")
    (conversation,) = reader.read(path)
    assert reader.check(path).turns == 1
    assert reader.parse_row(json.loads(conversation.canonical)) == conversation


def test_brackets_in_texts_are_no_levels(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"turns": [{"user": "[" * 5000 + '"' + "{" * 5000, "target": "[[" * 900}]}) + "\n")
    assert reader.check(path).turns == 1
