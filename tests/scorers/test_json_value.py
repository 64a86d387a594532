"""The scorer json: equality, other fields, schemas."""

import sys

import orjson
import pytest

from evalkit.conversation import ScorerSpec, Turn
from evalkit.errors import DatasetError, MissingExtra
from evalkit.record import Answer
from evalkit.scorers import scoring

JSON = [
    ("equal, other layout", {"a": [1, 2]}, '{ "a":[1,2.0] }', 1),
    ("key order", {"a": 1, "b": 2}, '{"b": 2, "a": 1}', 1),
    ("code fence", {"a": 1}, 'Sure:\n```json\n{"a": 1}\n```', 0),
    ("only a code fence", {"a": 1}, '```json\n{"a": 1}\n```', 1),
    ("code fence of a PC", {"a": 1}, '```json\r\n{"a": 1}\r\n```\r\n', 1),
    ("code fence without a name", [1], "\n```\n[1]\n```\n", 1),
    ("other value", {"a": 1}, '{"a": 2}', 0),
    ("one key more", {"a": 1}, '{"a": 1, "b": 2}', 0),
    ("list order", [1, 2], "[2, 1]", 0),
    ("true is not 1", [1], "[true]", 0),
    ("words around", {"a": 1}, 'Here it is: {"a": 1}', 0),
    ("not JSON", {"a": 1}, "{'a': 1}", 0),
    ("empty", {"a": 1}, "", 0),
    ("true: any JSON", True, "[1, {}]", 1),
    ("true: no JSON", True, "hello", 0),
    ("true: NaN is none", True, "NaN", 0),
    ("false is a value", False, "false", 1),
    ("text", "x", '"x"', 1),
]


@pytest.mark.parametrize(("trap", "target", "text", "value"), JSON, ids=[row[0] for row in JSON])
def test_json(trap, target, text, value):
    score = scoring.score(Turn("?", target, ScorerSpec("json")), Answer(text=text))
    assert score.value == value
    assert score.value == 1 or score.reason


AGED = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
JSON_OPTIONS = [
    ("keeps to the schema, no target", {"schema": AGED}, None, '{"age": 3}', 1, None),
    ("and is fenced", {"schema": AGED}, None, '```json\n{"age": 3}\n```', 1, None),
    (
        "breaks the schema",
        {"schema": AGED},
        None,
        '{"age": "3"}',
        0,
        "the JSON breaks the schema: '3' is not of type 'integer' (at $.age)",
    ),
    ("no JSON at all", {"schema": AGED}, None, "3", 0, "the JSON breaks the schema: 3 is not of type 'object' (at $)"),
    (
        "keeps to the schema, but is not the target",
        {"schema": AGED},
        {"age": 4},
        '{"age": 3}',
        0,
        "the JSON is not the target",
    ),
    (
        "is the target, but breaks the schema",
        {"schema": AGED},
        {"a": 1},
        '{"a": 1}',
        0,
        "the JSON breaks the schema: 'age' is a required property (at $)",
    ),
    ("other fields may be there", {"only_fields": True}, {"a": 1}, '{"a": 1, "b": 2}', 1, None),
    ("the fields must be", {"only_fields": True}, {"a": 1}, '{"b": 1}', 0, "the field a is missing"),
    ("a list is no object", {"only_fields": True}, {"a": 1}, '[{"a": 1}]', 0, 'it is [{"a":1}]'),
    ("fields and schema", {"only_fields": True, "schema": AGED}, {"b": 1}, '{"age": 3, "b": 1}', 1, None),
]


@pytest.mark.parametrize(
    ("trap", "options", "target", "text", "value", "reason"), JSON_OPTIONS, ids=[row[0] for row in JSON_OPTIONS]
)
def test_json_with_options(trap, options, target, text, value, reason):
    turn = Turn("?", target, ScorerSpec("json", options))
    scoring.turn_checker()(turn)
    score = scoring.score(turn, Answer(text=text))
    assert (score.value, score.reason) == (value, reason)


@pytest.mark.parametrize(
    ("options", "target", "field", "problem"),
    [
        ({}, None, "target", "the target is missing: the scorer json needs one, or a schema as its option"),
        ({"only_fields": True}, [1], "target", "the target is [1]: with only_fields it must be an object"),
        ({"schema": [1]}, None, "scorer", "the option schema of the scorer json is [1]: it must be an object"),
        (
            {"schema": {"$ref": "https://example.org/s.json"}},
            None,
            "scorer",
            "the option schema of the scorer json cannot be used: it refers to 'https://example.org/s.json': only "
            "references into itself, such as '#/$defs/item', are followed",
        ),
    ],
)
def test_what_json_cannot_use(options, target, field, problem):
    with pytest.raises(DatasetError) as caught:
        scoring.turn_checker()(Turn("?", target, ScorerSpec("json", options)))
    assert (caught.value.field, caught.value.problem) == (field, problem)


def test_a_long_answer_that_breaks_its_schema_has_a_short_reason():
    score = scoring.score(Turn("?", None, ScorerSpec("json", {"schema": AGED})), Answer(f'["{"x" * 100_000}"]'))
    assert len(score.reason) < 450
    assert score.reason.endswith("is not of type 'object' (at $)")


def test_a_schema_needs_its_package(monkeypatch):
    monkeypatch.setattr("evalkit.scorers.registry._INSTALLED", set())
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    scoring.turn_checker()(Turn("?", {"a": 1}, ScorerSpec("json")))
    with pytest.raises(MissingExtra, match=r"^the option schema of the scorer json, by jsonschema, needs"):
        scoring.turn_checker()(Turn("?", None, ScorerSpec("json", {"schema": AGED})))


def test_json_keeps_what_it_read():
    assert scoring.score(Turn("?", {"a": 1}), Answer(text='{"a": 2}')).extracted == {"a": 2}


def test_json_of_any_depth_is_judged_or_told():
    deep = "[" * 1000 + "]" * 1000
    score = scoring.score(Turn("?", orjson.loads(deep), ScorerSpec("json")), Answer(text=deep))
    assert score.value == 1 or score.reason.startswith("the scorer failed: RecursionError")
