"""A scripted answer that obeys everything a request can ask for, as a good model behind a conforming endpoint does."""

import re
from itertools import count

import orjson

from evalkit.scripted.script import Call, last_user_text, text_of

COUNTED = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
_number = count()


def obliging(body):
    """Calls tools that are asked for, obeys formats, system messages and seeds, and remembers names."""
    question, messages = last_user_text(body), body["messages"]
    if messages[-1]["role"] in ("tool", "function"):
        return f"The tool says: {text_of(messages[-1])}"
    if calls := _calls(body, question):
        return calls
    if schema := body.get("response_format"):
        return _formatted(schema)
    demands = [text_of(each) for each in messages if each["role"] in ("system", "developer")]
    if word := re.search(r"the one word (\w+)", " ".join(demands)):
        return f"{word[1]}."
    if "my name" in question:
        told = re.search(r"My name is (\w+)", " ".join(text_of(each) for each in messages if each["role"] == "user"))
        return f"Your name is {told[1]}." if told else "I do not know your name."
    if echoed := re.search(r"Repeat exactly: (.*)", question):
        return echoed[1]
    if "planet" in question and body.get("temperature") != 0:
        return f"Planet number {body.get('seed', next(_number))} is blue, with two moons and a long winter."
    return COUNTED


def _calls(body, question):
    choice = body.get("tool_choice") or body.get("function_call")
    offered = [tool["function"] for tool in body.get("tools") or ()] or body.get("functions") or ()
    if not offered or choice == "none" or (choice in (None, "auto") and "tool" not in question):
        return None
    cities = re.findall(r"Paris|Rome", question) or ["Oslo"]
    return [Call(offered[0]["name"], f'{{"city": "{city}"}}') for city in cities]


def _formatted(form):
    if form["type"] == "json_object":
        return '{"sea": "blue and wide"}'
    properties = form["json_schema"]["schema"]["properties"]
    return orjson.dumps({name: rule["enum"][0] for name, rule in properties.items()}).decode()
