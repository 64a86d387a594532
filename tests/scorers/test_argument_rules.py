"""What a target of tool_call can have in place of a value."""

import pytest

from evalkit.conversation import ScorerSpec, Turn
from evalkit.errors import DatasetError
from evalkit.scorers import scoring


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"$optional": 1, "x": 2}, "beside $optional it can have no other key"),
        ({"$one_of": []}, "$one_of needs a list of values"),
        ({"$one_of": "cm"}, "$one_of needs a list of values"),
        ({"$optional": {"$scorer": "nimber", "target": 1}}, "no scorer is called 'nimber'"),
        ([{"$one_of": [{"$one_of": 1}]}], "$one_of needs a list of values"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused(value, problem):
    with pytest.raises(DatasetError, match="cannot be used") as caught:
        scoring.turn_checker()(Turn("?", {"name": "f", "arguments": {"x": value}}, ScorerSpec("tool_call")))
    assert problem in caught.value.problem
