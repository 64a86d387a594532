"""Answers to the exercises of notebook 02 that are wrong."""

MISTAKES = {"a": "carried", "b": "new", "c": "both", "d": "carried", "e": "new"}


def message(role, content):
    return {"role": role, "content": content}


def forgotten(system, turns, question):
    [message("system", system), message("user", question)]


def without_answers(system, turns, question):
    first = [] if system is None else [message("system", system)]
    return [*first, *(message("user", asked) for asked, _ in turns), message("user", question)]


def with_an_empty_system_prompt(system, turns, question):
    pairs = [one for asked, told in turns for one in (message("user", asked), message("assistant", told))]
    return [message("system", system), *pairs, message("user", question)]


def with_roles_as_keys(system, turns, question):
    pairs = [one for asked, told in turns for one in ({"user": asked}, {"assistant": told})]
    first = [] if system is None else [message("system", system)]
    return [*first, *pairs, message("user", question)]


def system_last(system, turns, question):
    messages = with_an_empty_system_prompt(system, turns, question)
    return messages[1:] if system is None else [*messages[1:], messages[0]]


def question_first(system, turns, question):
    messages = with_an_empty_system_prompt(system, turns, question)[:-1]
    return [*(messages if system else messages[1:])[:1], message("user", question), *messages[2 if system else 1 :]]


WRONG = {
    "02.1": [
        forgotten,
        [],
        lambda system, turns, question: [message("user", question)],
        lambda system, turns, question: message("user", question),
        lambda system, turns: [],
        without_answers,
        with_an_empty_system_prompt,
        with_roles_as_keys,
        system_last,
        question_first,
    ],
    "02.2": [None, "3780", 590, 480, 3420, 3450, 4260, 1140, 3000, 630, 7080, 7560, 4140, 3781],
    "02.3": [
        None,
        list(MISTAKES.values()),
        dict.fromkeys("abcde"),
        {"a": "carried"},
        {**MISTAKES, "a": "new"},
        {**MISTAKES, "b": "both"},
        {**MISTAKES, "c": "carried"},
        {**MISTAKES, "d": "new"},
        {**MISTAKES, "e": "both"},
        {**MISTAKES, "e": "old"},
    ],
    "02.4": [None, "10", 4, 14, 6, 252, True, 0.19],
}
