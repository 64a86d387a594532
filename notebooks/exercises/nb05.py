"""The exercises of notebook 05: batches and scores."""

from checks import Function, Rule, Value, digest

_NAMES = {
    "adds something false",
    "arithmetic slip",
    "wrong operation",
    "repeats an earlier answer",
    "ignores the instruction",
    "no answer before the limit",
}
# the hash of the turn, the hash of the name, and what to look at
_FIRST_FAILURES = {
    "table-of-ten": ("2218d30a0c3e0510", "b1da592e48ecff6a", "compute each line yourself, from the top"),
    "hundred-and-fifty": (
        "afc004337651db2e",
        "4ebdd543861e8b70",
        "compare each answer with the one before it, word by word",
    ),
    "puppet-show": (
        "01a4355d0d667c33",
        "23214ddd62a22715",
        "which operation does the question need, and which one does the answer use?",
    ),
    "twice-eight": ("c2acf73fb3fcf546", "f4cc7e56555c7555", "how far does the first answer come?"),
    "square-numbers": (
        "dbc9e1229b545e90",
        "0483fd8bd61e6993",
        "read the question to its end: what does it ask for beside the result?",
    ),
}


def _first_failures(value):
    missing = [name for name in _FIRST_FAILURES if name not in value]
    if missing:
        return f"there is no entry for {missing[0]}: give all five conversations."
    for conversation, (turn_digest, name_digest, hint) in _FIRST_FAILURES.items():
        pair = value[conversation]
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[1], str):
            return f"{conversation} needs a pair of turn and name, such as (3, 'wrong operation')."
        turn, name = pair[0], pair[1].strip().casefold()
        if not name:
            return f"{conversation} has no name yet: choose one of the six of the table."
        if name not in _NAMES:
            return f"{pair[1]!r} is none of the six names of the table: copy one of them letter by letter."
        if digest(f"05.2 {conversation}", turn) != turn_digest:
            return f"{conversation} fails first in another turn than {turn}; {hint}"
        if digest(f"05.2 {conversation}", name) != name_digest:
            return f"the turn of {conversation} is right, its name is not: {hint}"
    return None


_RIGHT_TO_WRONG = Value(
    int,
    "a9dc67cd266f71d4",
    "re-score a fresh copy once, and look at what `changed` of the returned object has.",
    hints={
        "e8449c0de3a4bdfe": "that is the change from wrong to right: the other direction is asked for.",
        "bc88609dd568b174": "both directions are counted: only one is asked for.",
        "93041953df2b7136": "the two directions are subtracted: only one of them is asked for.",
        "eca6e581cb9e2edf": "these are right by the new scoring: how many were right before, and are wrong now?",
        "da08dd35c789d4e7": "these are right by the run's own scoring: how many of them are wrong now?",
        "0dc79fea200c1f8f": "nothing has changed: was the new scoring already in use? Take a fresh copy.",
        "e1952333320bd62f": "these are wrong by the new scoring: how many of them were right before?",
    },
)


def _right_to_wrong(value):
    for field in ("changed", "right_to_wrong"):
        if hasattr(value, field):
            return f"this is an object of several fields, a {type(value).__name__}: take its field `{field}`."
    return _RIGHT_TO_WRONG.hint("05.4", value)


EXERCISES = {
    "05.1": Function(
        [
            (("81", 81), True, "the answer '81' is a text, the target 81 a number: are they compared as numbers?"),
            (("81.", 81), True, "one full stop after the number is allowed: remove it before you compare."),
            ((" 81. ", 81), True, "blanks around the answer are allowed: strip the text before the full stop."),
            (("81.0", 81), True, "81.0 and 81 are the same number: compare numbers, not texts."),
            (("-4", -4), True, "negative numbers are numbers too: `float` reads them."),
            (("9 times 9 is 81.", 81), False, "a sentence around the number is not 'the number only'."),
            (("18", 81), False, "another number is wrong, even with the same digits."),
            (("181", 81), False, "a longer number that contains the target is wrong."),
            (("eighty-one", 81), False, "words that `float` cannot read are wrong: catch its ValueError."),
            (("", 81), None, "an empty answer cannot be judged: return None, which is not the same as False."),
            ((" \n", 81), None, "an answer of blanks cannot be judged: look at the text after strip()."),
        ]
    ),
    "05.2": Rule(dict, _first_failures),
    "05.3": Value(
        int,
        "c0d2d6ad4f8c666f",
        "a turn needs a request unless it was answered: which status can a turn have, and which turns have no row?",
        hints={
            "f9fa6edf528649c5": "these are the turns without a row. What does resume do with turns that failed?",
            "e0a95f44ce94d0e8": "turns that were not sent because an earlier one failed are sent too.",
            "76174bbcebea3012": "these failed or were not sent. Which turns are not in the file at all?",
            "3add4563c43fe5bd": "`failures` counts what failed; more is missing than that.",
            "f6427308049f4a97": "these were answered: they are what is not sent again.",
            "b5b3b699a921356a": "these are the rows of the file: some are answered, and some turns have no row.",
            "9c0d7163f1917a40": "that is the whole run: what was answered is not sent again.",
        },
    ),
    "05.4": Rule(object, _right_to_wrong),
}
