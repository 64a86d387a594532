"""The exercises of notebook 02."""

from typing import Any

from checks import Function, Rule, Value, digest

_KINDS = ("carried", "new", "both")
_RIGHT = {
    "a": "1fb7b7f4c4c497e9",
    "b": "a884f181ff010d38",
    "c": "02e044ccd68df949",
    "d": "f15570b7c86780f7",
    "e": "65e7dabad8304b20",
}
_LOOK = {
    "a": "which number does the last answer start from? Is that number right? Is the multiplication?",
    "b": "are the first two answers right?",
    "c": "work out half of 90, then a third of 30.",
    "d": "take the first answer as given: which number comes after it?",
    "e": "is the answer before it right? Does the last one use it?",
}


def _mistakes(mistakes: dict[str, Any]) -> str | None:
    if set(mistakes) != set(_RIGHT):
        return "give one verdict for each of the letters a, b, c, d and e."
    unknown = sorted(letter for letter, mistake in mistakes.items() if mistake not in _KINDS)
    if unknown:
        return f"the verdict on {', '.join(unknown)} must be one of: {', '.join(_KINDS)}."
    wrong = [letter for letter in sorted(_RIGHT) if digest(f"02.3{letter}", mistakes[letter]) != _RIGHT[letter]]
    return f"{len(wrong)} of 5 wrong. Look at {wrong[0]}: {_LOOK[wrong[0]]}" if wrong else None


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


_TURNS = [("2 + 2?", "4."), ("And 3 + 3?", "6.")]
_PAIRS = [
    _message("user", "2 + 2?"),
    _message("assistant", "4."),
    _message("user", "And 3 + 3?"),
    _message("assistant", "6."),
]

EXERCISES = {
    "02.1": Function(
        [
            (
                (None, [], "2 + 2?"),
                [_message("user", "2 + 2?")],
                "without a system prompt and earlier turns only the question is left, as one user message in a list.",
            ),
            (
                ("You add.", [], "2 + 2?"),
                [_message("system", "You add."), _message("user", "2 + 2?")],
                "the system prompt is the first message, with the role system.",
            ),
            (
                ("You add.", _TURNS, "Add both."),
                [_message("system", "You add."), *_PAIRS, _message("user", "Add both.")],
                "two turns before the question make six messages: each turn is a user message, then an assistant's. "
                "Each message is a dict with two keys, role and content.",
            ),
            (
                (None, _TURNS, "Add both."),
                [*_PAIRS, _message("user", "Add both.")],
                "when system is None, there is no system message at all; the turns stay.",
            ),
        ]
    ),
    "02.2": Value(
        int,
        "1a6256dfa57ef12e",
        "write down the first three requests. Request n sends the system prompt, n questions and n - 1 answers.",
        {
            "761db6e7bec0822b": "that is the twelfth request alone. Add up all twelve.",
            "60b5264475a81d55": "that is without any history: each request also sends the turns before it.",
            "d3f3e4e3f06e25b9": "the system prompt is missing: every request sends it.",
            "fa855b815383c4ba": "the system prompt is counted once, but every request sends it.",
            "4e0c14312313b538": "the answers of a request are not part of its prompt; only those of earlier turns are.",
            "fd7dc6adb65be84c": "the earlier answers are missing: they are sent as well as the earlier questions.",
            "a1c2a6fb5c19ec53": "the earlier questions are missing: they are sent as well as the earlier answers.",
            "a059a6b7c1935975": "that counts each message once. How often is the first question sent?",
            "18ea68b87b535dda": "the first request sends one question and no answer: the history grows with each turn.",
            "705df9fda4c81d0b": "the first request sends one question and no answer: the history grows with each turn.",
            "7d70f2962b6eff6f": "a question has 10 tokens, an answer 40; yours are swapped.",
        },
    ),
    "02.3": Rule(dict, _mistakes),
    "02.4": Value(
        int,
        "bd6f065a384d6ffe",
        "put the two scores of each turn side by side, by conversation and turn (merge, or a dict), then count those "
        "that match.",
        {
            "1f8d1173d23684da": "that is the other direction: right with own history, wrong with golden.",
            "de64abd0f2f87696": "that counts both directions; only one is asked for.",
            "ea6a411ee6082d04": "that is the net gain: turns in one direction less turns in the other.",
        },
    ),
}
