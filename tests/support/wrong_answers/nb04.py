"""Wrong answers to the exercises of notebook 04: a forgotten return, a wrong type, typical mistakes."""

import json


def _forgotten_return(message, results):
    [results[call["function"]["name"]] for call in message.get("tool_calls") or []]


def _one_only(message, results):
    call = message["tool_calls"][0]
    content = json.dumps(results[call["function"]["name"]])
    return [{"role": "tool", "tool_call_id": call["id"], "content": content}]


def _not_as_text(message, results):
    calls = message.get("tool_calls") or []
    return [{"role": "tool", "tool_call_id": c["id"], "content": results[c["function"]["name"]]} for c in calls]


def _without_none(message, results):
    return [
        {"role": "tool", "tool_call_id": call["id"], "content": json.dumps(results[call["function"]["name"]])}
        for call in message.get("tool_calls", [])
    ]


def _wrong_order(message, results):
    return _without_none({"tool_calls": (message.get("tool_calls") or [])[::-1]}, results)


def _from_own_functions(message, results):
    return [{"role": "tool", "content": {"multiply": 276}[c["function"]["name"]]} for c in message["tool_calls"]]


def _with_a_name(message, results):
    return [{**one, "name": "add"} for one in _without_none(message, results)]


def _without_id(message, results):
    return [{"role": one["role"], "content": one["content"]} for one in _without_none(message, results)]


def _by_eval(text):
    try:
        return eval(text)
    except Exception:
        return None


def _any_json(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def _empty_for_broken(text):
    try:
        return json.loads(text)
    except ValueError:
        return {}


def _nothing_for_empty_object(text):
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if found and isinstance(found, dict) else None


WRONG = {
    "04.1": [
        _forgotten_return,
        {"role": "tool"},
        _one_only,
        _not_as_text,
        _without_none,
        _wrong_order,
        _from_own_functions,
        _with_a_name,
        _without_id,
        lambda message, results: ["tool"],
        lambda message: [],
    ],
    "04.2": [
        json.loads,
        {"a": 12},
        lambda text: None,
        _by_eval,
        eval,
        _any_json,
        _empty_for_broken,
        _nothing_for_empty_object,
        lambda text: text,
    ],
    "04.3": [None, "four", 9, 8, 6, 10, 5, 14, 0],
    "04.4": [None, 3, "no JSON", "missing argument", "unknown function", "wrong value", "called twice"],
}
