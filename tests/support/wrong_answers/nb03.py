"""Wrong answers to the exercises of notebook 03."""

import json


def _contents(raw, split=str.splitlines):
    lines = [line[5:] for line in split(raw) if line.startswith("data:") and "[DONE]" not in line]
    return [choice["delta"].get("content") or "" for line in lines for choice in json.loads(line)["choices"]]


def _no_return(raw):
    "".join(_contents(raw))


def _naive(raw):
    lines = [line[6:] for line in raw.split("\n") if line.startswith("data: ")]
    return "".join(json.loads(line)["choices"][0]["delta"]["content"] for line in lines if line != "[DONE]")


def _wants_blank(raw):
    return "".join(_contents("\n".join(line for line in raw.split("\n") if line.startswith("data: "))))


def _past_the_end(raw):
    return "".join(_contents(raw, lambda text: text.split("\n")))


def _cut_at_the_word(raw):
    return "".join(_contents(raw.replace("\r", "").split("data: [DONE]")[0], lambda text: text.split("\n")))


_RIGHT = {"A": "cut", "B": "complete", "C": "unconfirmed", "D": "limit", "E": "complete"}

WRONG = {
    "03.1": [
        _no_return,
        "12 + 23 is 35.",
        _naive,
        lambda raw: "".join(json.loads(line[5:])["choices"][0]["delta"]["content"] for line in raw.split("\n") if line),
        lambda raw: " ".join(_contents(raw.split("data: [DONE]")[0])),
        lambda raw: "".join(_contents(raw.replace("data:[DONE]", "data: [DONE]").split("data: [DONE]")[0])),
        _wants_blank,
        _past_the_end,
        _cut_at_the_word,
        lambda raw: raw,
    ],
    "03.2": [
        lambda events: None,
        90,
        lambda events: events[0][0],
        lambda events: next((at for at, delta in events if "content" in delta), None),
        lambda events: next((at for at, delta in events if delta.get("content")), None),
        lambda events: next((at for at, delta in events if delta.get("content") != ""), None),
        lambda events: next((at for at, delta in events if delta.get("content") or delta.get("reasoning_content")), 0),
        lambda events: events[-1][0],
        lambda events: next((at for at, delta in events if delta["content"] or delta["reasoning_content"]), None),
    ],
    "03.3": [None, "40.7 ms", 941 / 14, 941 / 13, 941 / 6, 529 / 5, 75, 529 / 14, 412, 40],
    "03.4": [
        None,
        ["cut", "complete", "unconfirmed", "limit", "complete"],
        {},
        dict.fromkeys("ABCDE"),
        {**_RIGHT, "A": "failed"},
        {**_RIGHT, "A": "unconfirmed"},
        {**_RIGHT, "C": "complete"},
        {**_RIGHT, "D": "cut"},
        {**_RIGHT, "E": "cut"},
    ],
}
