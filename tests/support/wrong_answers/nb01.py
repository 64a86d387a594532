"""Answers to the exercises of notebook 01 that are wrong."""

MESSAGES = [
    {"role": "system", "content": "You are a math teacher for primary school students."},
    {"role": "user", "content": "What is the product of 12 * 23?"},
]
BODY = {"model": "math-teacher", "messages": MESSAGES, "stream": False, "temperature": 0, "max_tokens": 16}
CAUSES = {"a": "key", "b": "name", "c": "token limit", "d": "request", "e": "service"}


def forgotten(reply):
    reply["choices"][0]["message"]["content"]


WRONG = {
    "01.1": [
        forgotten,
        "35",
        lambda reply: reply["choices"][0]["message"]["content"],
        lambda reply: reply["choices"][0]["message"],
        lambda reply: reply["choices"][-1]["message"]["content"] if reply["choices"] else None,
        lambda reply: reply["choices"][0]["message"]["content"] if reply["choices"] else "",
        lambda reply: str(reply["choices"][0]["message"]["content"]) if reply.get("choices") else None,
        lambda reply: (reply["choices"][0]["message"]["content"] or None) if reply.get("choices") else None,
    ],
    "01.2": [
        None,
        "0.09 dollars",
        9.385e-05,
        0.003754,
        3.754,
        0.1040875,
        0.07235,
        0.0215,
        0.0395875,
        0.15835,
        93850.0,
        3754.0,
        3754000.0,
        0.1979375,
        0.09896875,
        0.1175,
        93.85,
        0.09,
        0.094,
        0.0939,
        9.385,
        0,
    ],
    "01.3": [
        None,
        "math-teacher",
        {"model": "math-teacher"},
        {**BODY, "model": "SmolLM2"},
        {**BODY, "messages": MESSAGES[1]},
        {**BODY, "messages": MESSAGES[::-1]},
        {**BODY, "messages": MESSAGES[1:]},
        {**BODY, "messages": [MESSAGES[0], {"role": "user", "content": "What is 12 * 23?"}]},
        {**BODY, "stream": True},
        {**BODY, "max_tokens": "16"},
        {**BODY, "temperature": 1},
        {**BODY, "temperature": False},
        {name: value for name, value in BODY.items() if name != "temperature"},
    ],
    "01.4": [
        None,
        ["key", "name", "token limit", "request", "service"],
        dict.fromkeys("abcde"),
        {"a": "key"},
        {**CAUSES, "a": "name"},
        {**CAUSES, "b": "request"},
        {**CAUSES, "c": "request", "d": "token limit"},
        {**CAUSES, "d": "name"},
        {**CAUSES, "c": "limit"},
        {**CAUSES, "e": "request"},
        {**CAUSES, "e": "server"},
    ],
}
