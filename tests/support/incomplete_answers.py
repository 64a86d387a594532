"""A run against the scripted TaskingAI, whose model may be killed on the way."""

import json

from evalkit.scripted.server import Fault, Law, Script

MODELS = ["X5lM" + "a" * 20, "Tp" + "b" * 6]


def whole(question):
    return " ".join(f"{question}-{n}" for n in range(20))


def said(body):
    return whole(body["messages"][-1]["content"])


def data(folder, conversations=40, turns=2):
    path = folder / "data.jsonl"
    rows = [
        {
            "id": f"c{c}",
            "turns": [
                {"user": f"q{c}t{t}", "target": f"q{c}t{t}-19", "scorer": "includes", "assistant": "ok"}
                for t in range(turns)
            ],
        }
        for c in range(conversations)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def script(death=None, **settings):
    faults = [Fault("model_killed", options={"death": death})] if death else []
    law = Law(ttft_ms=30, itl_ms=10, jitter=0.5)
    return Script(profile="taskingai", answer=said, law=law, faults=faults, **settings)


def check_whole(run):
    turns = run.turns()
    assert (turns["status"] == "answered").all(), turns[turns["status"] != "answered"]
    users = [f"q{c[1:]}t{t - 1}" for c, t in zip(turns["conversation"], turns["turn"], strict=True)]
    assert [answer for answer, user in zip(turns["answer"], users, strict=True) if answer != whole(user)] == []
    assert (turns["score"] == 1).all()
    assert turns["latency_ms"].notna().all()
