"""The scorer tool_call: names, arguments, order, no call at all, rules for arguments, and how calls are matched."""

import pytest

from evalkit.conversation import ScorerSpec, ToolCall, Turn
from evalkit.errors import DatasetError
from evalkit.record import Answer
from evalkit.scorers import scoring, tool_calls

F, G = {"name": "f", "arguments": {"x": 1}}, {"name": "g"}
NEAR_3 = {"$scorer": "number", "target": 3, "abs_tol": 0.1}
ABOUT_3 = {"$scorer": "number", "target": 3, "abs_tol": 1}
BOSTON = {"name": "get_weather", "arguments": {"city": "Boston", "days": 2}}

UNORDERED = [
    ("right", BOSTON, [("get_weather", '{"days": 2, "city": "Boston"}')], 1, None),
    ("a float that is whole", BOSTON, [("get_weather", '{"city": "Boston", "days": 2.0}')], 1, None),
    ("any arguments", {"name": "f"}, [("f", '{"x": 1}')], 1, None),
    ("no arguments sent at all", {"name": "f", "arguments": {}}, [("f", "")], 1, None),
    ("nested", {"name": "f", "arguments": {"a": [{"b": None}]}}, [("f", '{"a": [{"b": null}]}')], 1, None),
    ("two in another order", [F, {"name": "g"}], [("g", "{}"), ("f", '{"x": 1}')], 1, None),
    ("twice as wanted", [F, F], [("f", '{"x": 1}'), ("f", '{"x": 1}')], 1, None),
    ("no call", BOSTON, [], 0, "get_weather was not called"),
    ("another function", BOSTON, [("get_time", "{}")], 0, "get_time was called, not get_weather"),
    (
        "one argument wrong",
        BOSTON,
        [("get_weather", '{"city": "Paris", "days": 2}')],
        0,
        'get_weather was called with city "Paris", not "Boston"',
    ),
    (
        "number as text",
        BOSTON,
        [("get_weather", '{"city": "Boston", "days": "2"}')],
        0,
        'get_weather was called with days "2", not 2',
    ),
    ("true is not 1", F, [("f", '{"x": true}')], 0, "f was called with x true, not 1"),
    ("one is missing", BOSTON, [("get_weather", '{"city": "Boston"}')], 0, "get_weather was called without days"),
    ("one too many", F, [("f", '{"x": 1, "y": 2}')], 0, "f was called with y in addition to what was expected"),
    ("broken arguments", F, [("f", '{"x": ')], 0, 'the arguments of f are not a JSON object: "{\\"x\\": "'),
    ("arguments are a list", F, [("f", "[1]")], 0, "the arguments of f are not a JSON object: [1]"),
    ("called twice", F, [("f", '{"x": 1}'), ("f", '{"x": 1}')], 0, "f was called in addition to what was expected"),
    ("another call beside", F, [("f", '{"x": 1}'), ("g", "{}")], 0, "g was called in addition to what was expected"),
    ("one of two", [F, {"name": "g"}], [("f", '{"x": 1}')], 0, "g was not called"),
    (
        "the loose one must not take the strict one's call",
        [{"name": "f"}, F],
        [("f", '{"x": 1}'), ("f", "{}")],
        1,
        None,
    ),
]


@pytest.mark.parametrize(("trap", "target", "calls", "value", "reason"), UNORDERED, ids=[row[0] for row in UNORDERED])
def test_calls_in_any_order(trap, target, calls, value, reason):
    answer = Answer(text="Some words", tool_calls=tuple(ToolCall(*call) for call in calls))
    score = scoring.score(Turn("?", target, ScorerSpec("tool_call")), answer)
    assert (score.value, score.reason) == (value, reason)


def test_what_was_called_is_kept():
    one = Answer(tool_calls=(ToolCall("f", '{"x": 2}'),))
    two = Answer(tool_calls=(ToolCall("f", '{"x": 2}'), ToolCall("g", "broken")))
    assert scoring.score(Turn("?", F), one).extracted == {"name": "f", "arguments": {"x": 2}}
    assert scoring.score(Turn("?", F), two).extracted == [
        {"name": "f", "arguments": {"x": 2}},
        {"name": "g", "arguments": "broken"},
    ]
    assert scoring.score(Turn("?", F), Answer(text="no")).extracted is None


@pytest.mark.parametrize(
    "target", ["f", 1, {}, {"name": 1}, {"name": "f", "arguments": []}, {"name": "f", "x": 1}, [F, 1], [F] * 101]
)
def test_a_target_that_is_no_call_is_refused(target):
    with pytest.raises(DatasetError) as caught:
        scoring.turn_checker("tool_call")(Turn("?", target))
    assert caught.value.problem.endswith(
        ': the scorer tool_call needs {"name": …, "arguments": {…}}, a list of such, or [] for no call'
    )


def with_x(value):
    return {"name": "f", "arguments": {"x": value}}


CALLS = [
    ("none expected, none made", {}, [], [], 1, None),
    ("none expected, one made", {}, [], [("f", "{}")], 0, "f was called, and no call was expected"),
    ("in order", {"order": True}, [F, G], [("f", '{"x": 1}'), ("g", "{}")], 1, None),
    ("out of order", {"order": True}, [F, G], [("g", "{}"), ("f", '{"x": 1}')], 0, "call 1: g was called, not f"),
    ("one too few", {"order": True}, [F, G], [("f", '{"x": 1}')], 0, "g was not called"),
    (
        "one too many",
        {"order": True},
        [G],
        [("g", "{}"), ("f", "{}")],
        0,
        "f was called in addition to what was expected",
    ),
    (
        "none in order, one made",
        {"order": True},
        [],
        [("g", "{}")],
        0,
        "g was called, and no call was expected",
    ),
    ("the same twice, in order", {"order": True}, [F, with_x(2)], [("f", '{"x": 1}'), ("f", '{"x": 2}')], 1, None),
    ("within a rule", {}, with_x(NEAR_3), [("f", '{"x": 3.05}')], 1, None),
    ("a number as text within a rule", {}, with_x(NEAR_3), [("f", '{"x": "3.05 or so"}')], 1, None),
    (
        "out of a rule",
        {},
        with_x(NEAR_3),
        [("f", '{"x": 3.5}')],
        0,
        "f was called with x 3.5: the final number is 3.5, not 3",
    ),
    ("a rule needs the argument", {}, with_x(NEAR_3), [("f", "{}")], 0, "f was called without x"),
    (
        "rules leave no argument out",
        {},
        with_x(NEAR_3),
        [("f", '{"x": 3, "y": 1}')],
        0,
        "f was called with y in addition to what was expected",
    ),
    ("a rule inside an object in a list", {}, with_x([{"a": NEAR_3}]), [("f", '{"x": [{"a": 3}]}')], 1, None),
    (
        "an object beside a rule is compared",
        {},
        with_x({"a": NEAR_3, "b": 1}),
        [("f", '{"x": {"a": 3, "b": 2}}')],
        0,
        'f was called with x {"a":3,"b":2}, not 1',
    ),
    (
        "another object than the one with a rule",
        {},
        with_x({"a": NEAR_3}),
        [("f", '{"x": {"b": 3}}')],
        0,
        'f was called with x {"b":3}, not {"a":{"$scorer":"number","target":3,"abs_tol":0.1}}',
    ),
    (
        "a rule that cannot judge",
        {},
        with_x({"$scorer": "choice", "target": "A"}),
        [("f", '{"x": "A or B"}')],
        None,
        'the rule {"$scorer":"choice","target":"A"} could not judge "A or B": the answer names several letters: A, B',
    ),
    (
        "a rule without a target",
        {},
        with_x({"$scorer": "length", "max": 2}),
        [("f", '{"x": "one two three"}')],
        0,
        'f was called with x "one two three": the answer has 3 words, more than 2',
    ),
    (
        "half alike is not alike",
        {},
        with_x({"$scorer": "f1", "target": "a b c"}),
        [("f", '{"x": "b c d"}')],
        0,
        'f was called with x "b c d": F1 0.8',
    ),
    (
        "the wide rule must not take the narrow one's call",
        {},
        [with_x(ABOUT_3), with_x(NEAR_3)],
        [("f", '{"x": 3.0}'), ("f", '{"x": 3.9}')],
        1,
        None,
    ),
]


@pytest.mark.parametrize(("trap", "options", "target", "made", "value", "reason"), CALLS, ids=[row[0] for row in CALLS])
def test_tool_call(trap, options, target, made, value, reason):
    turn = Turn("?", target, ScorerSpec("tool_call", options))
    scoring.turn_checker()(turn)
    score = scoring.score(turn, Answer(tool_calls=tuple(ToolCall(*call) for call in made)))
    assert (score.value, score.reason) == (value, reason)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"$scorer": "os:system", "target": 1}, '"os:system" is not the name of a scorer'),
        ({"$scorer": 1}, "1 is not the name of a scorer"),
        ({"$scorer": "nummer", "target": 1}, "no scorer is called 'nummer'"),
        ({"$scorer": "number"}, "it has no target, and the scorer number needs one"),
        ({"$scorer": "number", "target": "many"}, 'the target is "many": the scorer number needs a number'),
        ({"$scorer": "number", "target": 1, "tol": 1}, "the scorer number has no option 'tol'"),
        ({"$scorer": "length"}, "the scorer length needs a limit"),
    ],
)
@pytest.mark.parametrize("place", [with_x, lambda rule: with_x({"a": [rule]})])
def test_a_rule_that_cannot_be_is_refused(rule, problem, place):
    with pytest.raises(DatasetError, match=r"^field target: the rule .* cannot be used: ") as caught:
        scoring.turn_checker("tool_call")(Turn("?", place(rule)))
    assert problem in caught.value.problem


def test_an_answer_of_a_million_calls_is_judged_at_once():
    many = [{"name": "f", "arguments": {}}] * 1_000_000
    missed, beside = tool_calls.match([G], many)
    assert (missed, len(beside)) == ([G], 1_000_000)


def test_as_many_calls_as_can_be_find_their_own():
    """Each wide rule, which comes first, must make room for the next narrower one."""
    wanted = [with_x({"$scorer": "number", "target": 0, "abs_tol": float(n)}) for n in range(9, -1, -1)]
    made = [{"name": "f", "arguments": {"x": n}} for n in range(10)]
    assert tool_calls.match(wanted, made) == ([], [])
    assert tool_calls.match(wanted, made[1:])[0] == [wanted[-1]]
