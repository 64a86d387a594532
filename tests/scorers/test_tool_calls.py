"""Function calls beside those expected: order, none at all, rules for arguments, who gets which."""

import pytest

from evalkit.conversation import ScorerSpec, ToolCall, Turn
from evalkit.errors import DatasetError
from evalkit.record import Answer
from evalkit.scorers import scoring, tool_calls

F, G = {"name": "f", "arguments": {"x": 1}}, {"name": "g"}
NEAR_3 = {"$scorer": "number", "target": 3, "abs_tol": 0.1}
ABOUT_3 = {"$scorer": "number", "target": 3, "abs_tol": 1}


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
