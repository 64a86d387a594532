"""Nothing is lost: what is sent for a row of each format has every text of the row that the model should see."""

import asyncio
import json
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.datasets.row_formats import ROW_FORMATS, format_of, parse
from evalkit.endpoint import Endpoint
from evalkit.engine.asking.dialogue import Dialogue
from evalkit.engine.asking.request_sender import RequestSender
from evalkit.record import Answer, Attempt, Timing

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


class Recorder:
    """A transport that keeps the bodies of requests, and answers each."""

    def __init__(self):
        self.bodies = []

    async def send(self, body, **_):
        self.bodies.append(json.loads(body))
        return Attempt(Timing(0, 0, 0, end=1), answer=Answer("ok", finish_reason="stop"))


def sent_for(conversation):
    """The bodies of all requests of a conversation, with golden answers in later turns where there are any."""
    golden = all(turn.assistant is not None for turn in conversation.turns[:-1])
    recorder = Recorder()

    async def keep(_):
        return True

    async def run():
        sender = RequestSender(recorder, Endpoint("http://127.0.0.1:9/v1", "m"), stream=False)
        await Dialogue(sender, conversation, history="golden" if golden else "own").run(keep)

    asyncio.run(run())
    return recorder.bodies


class Row:
    """Texts for a row: each is unlike all others, and to be seen by the model or not."""

    def __init__(self, texts, turns):
        self.texts, self.turns = texts, turns
        self.numbers = count()
        self.shown, self.hidden = [], []

    def _text(self, kept):
        number = next(self.numbers)
        kept.append(f"«{number}:{self.texts[number % len(self.texts)]}:{number}»")
        return kept[-1]

    def shows(self):
        return self._text(self.shown)

    def hides(self):
        return self._text(self.hidden)

    def each(self):
        """The turns, from 0; the golden answer of the last one is not sent."""
        return range(self.turns)

    def golden(self, turn):
        return self.shows() if turn + 1 < self.turns else self.hides()

    def messages(self):
        listed = [{"role": "system", "content": self.shows()}, {"role": "assistant", "content": self.shows()}]
        for turn in self.each():
            listed += [
                {"role": "user", "content": self.shows()},
                {"role": "assistant", "content": self.golden(turn)},
            ]
        return listed

    def tool(self, name="f", **keys):
        return {"name": name, "description": self.shows(), **keys}


def native(row):
    turns = [{"user": row.shows(), "assistant": row.golden(turn), "target": row.hides()} for turn in row.each()]
    context = [{"role": "user", "content": row.shows()}, {"role": "assistant", "content": row.shows()}]
    return {"system": row.shows(), "context": context, "turns": turns, "meta": {"note": row.hides()}}


def flat(row):
    return {"user": row.shows(), "system": row.shows(), "target": row.hides(), "note": row.hides()}


def chat(row):
    tool = {"type": "function", "function": row.tool()}
    return {"messages": row.messages(), "tools": [tool], "user_note": row.hides(), "target": row.hides()}


def anthropic(row):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": row.shows()}, {"type": "text", "text": row.shows()}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": row.hides()}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": row.hides()}]},
        {"role": "assistant", "content": [{"type": "text", "text": row.shows()}]},
        {"role": "user", "content": row.shows()},
    ]
    tools = [row.tool(input_schema={"type": "object", "properties": {"a": {"description": row.shows()}}})]
    return {"system": [{"type": "text", "text": row.shows()}], "messages": messages, "tools": tools}


def question_of_request(row):
    system, before = ({"role": role, "content": row.shows()} for role in ("system", "assistant"))
    return [system, before, {"role": "user", "content": row.shows()}]


def openai_batch(row):
    body = {"model": "other", "messages": question_of_request(row), "user": row.shows(), "stop": [row.shows()]}
    return {"custom_id": row.hides(), "body": body}


def anthropic_batch(row):
    messages = [{"role": role, "content": row.shows()} for role in ("user", "assistant", "user")]
    params = {"system": row.shows(), "messages": messages, "stop_sequences": [row.shows()]}
    return {"custom_id": row.hides(), "params": params}


def preference(row):
    names = ("preferred_output", "non_preferred_output")
    outputs = {name: [{"role": "assistant", "content": row.hides()}] for name in names}
    return {"input": {"messages": question_of_request(row), "tools": [row.tool()]}, **outputs}


def sharegpt(row):
    said = [{"from": "system", "value": row.shows()}]
    for turn in row.each():
        said += [{"from": "human", "value": row.shows()}, {"from": "gpt", "value": row.golden(turn)}]
    return {"conversations": said, "source": row.hides()}


def ultrachat(row):
    return {"data": [text for turn in row.each() for text in (row.shows(), row.golden(turn))]}


def prompt_completion(row):
    return {"prompt": row.shows(), "completion": row.hides(), "system": row.shows()}


def alpaca(row):
    history = [[row.shows(), row.shows()] for _ in row.each()]
    keys = {"instruction": row.shows(), "input": row.shows(), "system": row.shows()}
    return {**keys, "output": row.hides(), "history": history}


def question_answer(row):
    choices = {"text": [row.shows(), row.shows()], "label": ["1", "2"]}
    return {"question": row.shows(), "choices": choices, "answerKey": "2", "subject": row.hides()}


def input_target(row):
    return {"input": question_of_request(row), "ideal": [row.hides(), row.hides()]}


def input_list(row):
    return {"input": [row.shows() for _ in row.each()], "ground_truth": [row.hides() for _ in row.each()]}


def gsm8k(row):
    return {"question": row.shows(), "answer": f"{row.hides()}\n#### 12"}


def mt_bench(row):
    turns = {"turns": [row.shows() for _ in row.each()], "reference": [row.golden(turn) for turn in row.each()]}
    return {"question_id": row.hides(), "category": row.hides(), **turns}


def mt_bench_101(row):
    history = [{"user": row.shows(), "bot": row.golden(turn)} for turn in row.each()]
    return {"task": row.hides(), "id": 1, "history": history}


def bfcl(row):
    question = [[{"role": "system", "content": row.shows()}, {"role": "user", "content": row.shows()}]]
    parameters = {"type": "dict", "properties": {"a": {"type": "float", "description": row.shows()}}}
    truth = [{"f": {"a": [row.hides(), ""]}}]
    return {"question": question, "function": [row.tool(parameters=parameters)], "ground_truth": truth}


def ifeval(row):
    names = ["startend:end_checker", "combination:two_responses"]
    return {"key": 1, "prompt": row.shows(), "instruction_id_list": names, "kwargs": [{"end_phrase": row.hides()}, {}]}


ROWS = {
    "native": native, "flat": flat, "chat": chat, "anthropic": anthropic, "openai-batch": openai_batch,
    "anthropic-batch": anthropic_batch, "openai-preference": preference, "sharegpt": sharegpt, "ultrachat": ultrachat,
    "prompt-completion": prompt_completion, "alpaca": alpaca, "question-answer": question_answer,
    "input-target": input_target, "input-list": input_list, "gsm8k": gsm8k, "mt-bench": mt_bench,
    "mt-bench-101": mt_bench_101, "bfcl": bfcl, "ifeval": ifeval,
}  # fmt: skip


def texts_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts_in(part)


def test_every_format_is_tried():
    assert ROWS.keys() == ROW_FORMATS.keys()


@pytest.mark.parametrize("name", ROWS)
@settings(max_examples=12, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6), turns=st.integers(1, 3))
def test_what_is_sent_has_every_text_that_a_model_should_see_and_no_other(name, texts, turns):
    filled = Row(texts, turns)
    row = ROWS[name](filled)
    assert format_of(row) == name
    bodies = sent_for(parse(row, name))
    everything = "\n\0".join(text for body in bodies for text in texts_in(body))
    assert [text for text in filled.shown if text not in everything] == []
    assert [text for text in filled.hidden if text in everything] == []
