"""JSON Schemas from strangers: what they find, what is refused, and that none fetches, runs away or never ends."""

import socket

import pytest

from evalkit.scorers import safe_json_schema

AGED = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"]}
ONLY_ITSELF = "only references into itself, such as '#/$defs/item', are followed"
DRAFT = "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(
    ("schema", "value", "error"),
    [
        (AGED, {"age": 3}, None),
        (AGED, {"age": 3.0}, None),
        (AGED, {"age": True}, "True is not of type 'integer' (at $.age)"),
        (AGED, {"age": -1}, "-1 is less than the minimum of 0 (at $.age)"),
        (AGED, {}, "'age' is a required property (at $)"),
        ({"$schema": DRAFT, **AGED}, {"age": 3}, None),
        ({"$id": "https://example.org/aged", **AGED}, {"age": 3}, None),
        (
            {"additionalProperties": False},
            {"a": 1},
            "Additional properties are not allowed ('a' was unexpected) (at $)",
        ),
        (
            {"items": {"$ref": "#/$defs/s"}, "$defs": {"s": {"type": "string"}}},
            ["a", 1],
            "1 is not of type 'string' (at $[1])",
        ),
        (
            {"properties": {"next": {"$ref": "#"}}, "type": "object"},
            {"next": {"next": 1}},
            "1 is not of type 'object' (at $.next.next)",
        ),
        ({"pattern": r"^\pL+$"}, "Straße", None),
        ({"pattern": "b"}, "abc", None),
        ({"pattern": "^b"}, "abc", "'abc' does not match '^b' (at $)"),
        ({"pattern": "^b"}, 5, None),
        ({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}, {"a": 2}], None),
        (
            {"uniqueItems": True},
            [{"a": 1, "b": 2}, {"b": 2, "a": 1.0}],
            "[{'a': 1, 'b': 2}, {'b': 2, 'a': 1.0}] has non-unique elements (at $)",
        ),
        ({"uniqueItems": False}, [1, 1], None),
        ({"properties": {"pattern": {"type": "string"}}}, {"pattern": "("}, None),
    ],
)
def test_the_first_error_is_told(schema, value, error):
    assert safe_json_schema.schema_problem(schema) is None
    assert safe_json_schema.first_error(schema, value) == error


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "strin"}, "'strin' is not valid under any of the given schemas (at $.type)"),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#"},
            "it is written for http://json-schema.org/draft-07/schema#, and only Draft 2020-12 is supported",
        ),
        ({"items": {"$schema": DRAFT}}, "$schema is allowed only at the top level"),
        ({"items": {"$id": "x"}}, "$id is allowed only at the top level"),
        ({"patternProperties": {"^a": {}}}, "patternProperties is not supported"),
        (
            {"pattern": "(?=a)"},
            "its pattern '(?=a)' cannot be used: invalid perl operator '(?=' at character 1 (RE2 syntax: "
            "no look-around, no back-references)",
        ),
        ({"items": {"$ref": "file:///etc/passwd"}}, f"it refers to 'file:///etc/passwd': {ONLY_ITSELF}"),
        ({"$dynamicRef": "other"}, f"it refers to 'other': {ONLY_ITSELF}"),
        ({"$ref": "#/nowhere"}, "it refers to '#/nowhere', which is not in it"),
    ],
)
def test_what_is_no_schema_here_is_refused(schema, why):
    assert safe_json_schema.schema_problem(schema) == why


def test_a_schema_or_a_value_nested_too_deeply_is_told():
    deep = {}
    for _ in range(2_000):
        deep = {"items": deep}
    assert safe_json_schema.schema_problem(deep) == "it is nested too deeply"
    value = []
    for _ in range(900):
        value = [value]
    with pytest.raises(safe_json_schema.TooMuchWork, match="nests too deeply"):
        safe_json_schema.first_error({"items": {"$ref": "#"}}, value)
    with pytest.raises(safe_json_schema.TooMuchWork, match="nests too deeply"):
        safe_json_schema.first_error({"$ref": "#"}, 1)


def test_nothing_is_ever_fetched():
    """Also when the check before it is passed by: the library itself would fetch."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        schema = {"$ref": f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"}
        assert safe_json_schema.schema_problem(schema).startswith("it refers to 'http://127.0.0.1:")
        with pytest.raises(Exception, match="Unresolvable"):
            safe_json_schema.first_error(schema, 1)
        with pytest.raises(TimeoutError):
            server.accept()


BAD = "a" * 40 + "!"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "^(a+)+$"}, BAD),
        # at what refers back to a $schema the library changes over to its own keywords, and their engine
        ({"$schema": DRAFT, "pattern": "^(a+)+$", "properties": {"x": {"$ref": "#"}}}, {"x": BAD}),
        ({"$id": DRAFT, "pattern": "^(a+)+$", "properties": {"x": {"$ref": "#"}}}, {"x": BAD}),
        ({"not": {"not": {"pattern": "^(a+)+$"}}}, BAD),
    ],
)
def test_a_pattern_that_would_run_away_is_matched_in_time(schema, value):
    assert safe_json_schema.schema_problem(schema) is None
    assert safe_json_schema.first_error(schema, value)


DOUBLING = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": {}}
MANY = {str(n): n for n in range(50_000)}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$ref": "#/$defs/d0", "$defs": DOUBLING}, 1),  # 2**40 ways
        ({"unevaluatedProperties": False}, MANY),  # each looked up among all
        ({"items": {"type": "integer"}}, list(range(60_000))),
        ({"anyOf": [{"type": "string"}] * 1_000}, [MANY]),  # a message of a megabyte each
        ({"items": {"pattern": "a"}}, ["b" + "a"] * 5_000),
    ],
)
def test_a_schema_that_would_take_too_long_is_given_up(monkeypatch, schema, value):
    monkeypatch.setattr(safe_json_schema, "MOST_STEPS", 2_000)
    with pytest.raises(safe_json_schema.TooMuchWork, match="takes more than 2,000 steps"):
        safe_json_schema.first_error(schema, value)


def test_each_check_has_its_own_steps(monkeypatch):
    monkeypatch.setattr(safe_json_schema, "MOST_STEPS", 2_000)
    for _ in range(3):
        assert safe_json_schema.first_error({"items": {"type": "integer"}}, list(range(1_500))) is None
