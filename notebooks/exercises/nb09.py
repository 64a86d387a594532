"""The exercises of notebook 09: gates, JUnit, what nbval cannot see, a budget."""

from checks import Function, Rule, Value, digest
from evalkit.errors import SettingsError
from evalkit.gates.gate_expression import Gate, parse

PARTS = {
    "metric": "it limits another number. The metrics are in docs/ci.md",
    "turn": "it is about other turns. [2] means second turns, nothing means all",
    "bound": "look at what decides: the value itself, or a limit of its interval",
    "operator": "look at the operator, and whether the limit itself is allowed",
    "limit": "look at the number and its unit",
}
WANTED = [
    {
        "metric": "a15586cf32825ef3",
        "turn": "e6ced18b56085b79",
        "bound": "f659b3085b1e0d02",
        "operator": "5972bd16c4f82be6",
        "limit": "e895d218c362612a",
    },
    {
        "metric": "988f75ee233a0f7e",
        "turn": "57d4f22d8bd55ece",
        "bound": "895af473377998f0",
        "operator": "71d7fbcb2972a83e",
        "limit": "c9babe5f828b9613",
    },
    {
        "metric": "aa9120f1b3f92615",
        "turn": "e25cfe139148954d",
        "bound": "2c0d9b9e2de58697",
        "operator": "c86ac6fc538dd7ab",
        "limit": "26d91a1ac4ac36ea",
    },
]


def gates(value: list) -> str | None:
    """What is wrong with three gates, the first fault first."""
    if len(value) != len(WANTED):
        return f"the list must have {len(WANTED)} gates, and it has {len(value)}."
    for number, (text, wanted) in enumerate(zip(value, WANTED, strict=True), 1):
        if not isinstance(text, str):
            return f"gate {number} must be a text, such as 'errors<=5%'."
        if not text.strip():
            return f"gate {number} is still empty: write a text such as 'errors<=5%'."
        try:
            gate = parse(text)
        except SettingsError as error:
            return f"gate {number} cannot be read: {error}"
        for part, hint in PARTS.items():
            if digest_of(number, part, gate) != wanted[part]:
                return f"gate {number}: {hint}."
    return None


def digest_of(number: int, part: str, gate: Gate) -> str:
    """The hash of one part of one gate."""
    return digest("09.1", [number, part, getattr(gate, part)])


def junit(*suites: str) -> str:
    """A JUnit file of these suites."""
    inner = "".join(f'<testsuite name="s{at}">{cases}</testsuite>' for at, cases in enumerate(suites))
    return f"<testsuites>{inner}</testsuites>"


RIGHT = '<testcase classname="add-1" name="turn 1"/>'
WRONG = '<testcase classname="add-1" name="turn 2"><system-out>wrong: it is 26, not 276</system-out></testcase>'
FAILED = '<testcase classname="add-2" name="turn 1"><error message="timeout"/></testcase>'
SKIPPED = '<testcase classname="add-3" name="turn 1"><skipped message="no score"/></testcase>'
MET = '<testcase classname="gates" name="errors&lt;=1%"/>'
MISSED = '<testcase classname="gates" name="accuracy&gt;=0.8"><failure message="0.5">0.5</failure></testcase>'

_FALSY = (
    "a missed gate is a case with a `failure` in it. An element without children counts as false: "
    "compare what `find` returns with `is not None`."
)

_STAYS_GREEN = {
    "a": "98f6d94d3d7ec05d",
    "b": "40c202c6c1cc202e",
    "c": "43f5d218d7df2f04",
    "d": "e324aac30f5303fc",
    "e": "fadfb79c1f78bf64",
    "f": "88a37bbba6f5342a",
}
_LOOK = {
    "a": "what does nbval do with the output of a compared cell?",
    "b": "which kind of cells does nbval run?",
    "c": "a cell that ignores its output is still run.",
    "d": "read again what the assert says, and of how many conversations it is true.",
    "e": "which part of a compared output is never compared?",
    "f": "an output that is stored and does not appear is a difference.",
}


def _stays_green(green: set) -> str | None:
    if not green & set(_LOOK):
        return "give the letters of the changes that stay green, such as {'a', 'f'}."
    wrong = [letter for letter in _LOOK if digest(f"09.3{letter}", letter in green) != _STAYS_GREEN[letter]]
    return f"{len(wrong)} of 6 wrong. Look at {wrong[0]}: {_LOOK[wrong[0]]}" if wrong else None


EXERCISES = {
    "09.1": Rule(list, gates),
    "09.2": Function(
        cases=[
            ((junit(RIGHT, MET),), [], "where nothing is red, the result is an empty list."),
            ((junit(RIGHT, MISSED),), ["accuracy>=0.8"], _FALSY),
            ((junit(RIGHT + WRONG, MET),), [], "a wrong answer is a passed case: its `system-out` makes nothing red."),
            ((junit(SKIPPED, MET),), [], "a skipped case is not red."),
            ((junit(RIGHT + FAILED),), ["turn 1"], "a failed call is a case with an `error` in it, not a `failure`."),
            (
                (junit(FAILED + WRONG + SKIPPED, MISSED + MET),),
                ["turn 1", "accuracy>=0.8"],
                "look through all suites, and keep the order of the file.",
            ),
        ]
    ),
    "09.3": Rule(set, _stays_green),
    "09.4": Value(
        float,
        "9019977cae9322c6",
        "cost = tokens × price / 1,000,000, for prompts and for output; then the quarter above, then all builds.",
        hints={
            "1cfff6e6d4b1c8ee": "that is own history: read the other run file.",
            "67c825d1f325e05b": "that is without the quarter above a normal build.",
            "629c37afbabacce1": "which price belongs to prompts, and which to output?",
            "7967cbd944deb9cc": "that is one build, and 200 are asked for.",
            "fc3a606605a9b77c": "the prices are for a million tokens.",
            "8d326bc9334ff16b": "a quarter above, not below.",
        },
        digits=2,
    ),
}
