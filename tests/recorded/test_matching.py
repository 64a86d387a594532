"""Which requests are the same, and which recording is the nearest."""

import copy
from base64 import b64encode
from hashlib import sha256

import pytest

from evalkit.recorded.exchange import CHAT_ROUTE, Exchange
from evalkit.recorded.matching import Recordings, canonical, key

PNG = b"\x89PNG\r\n\x1a\n and more"
URL = f"data:image/png;base64,{b64encode(PNG).decode()}"
FROM_FILE = {"sha256": sha256(PNG).hexdigest(), "bytes": len(PNG), "media_type": "image/png"}
CALLS = [
    {"role": "user", "content": "12 * 23?"},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "multiply", "arguments": '{"a": 12}'}},
        {"id": "b", "type": "function", "function": {"name": "add", "arguments": "{}"}},
    ]},
    {"role": "tool", "tool_call_id": "a", "content": "276"},
    {"role": "tool", "tool_call_id": "b", "content": "35"},
]  # fmt: skip
REQUEST = {"model": "m", "temperature": 0, "messages": CALLS}


def with_ids(first, second, results=None):
    messages = copy.deepcopy(CALLS)
    messages[1]["tool_calls"][0]["id"], messages[1]["tool_calls"][1]["id"] = first, second
    messages[2]["tool_call_id"], messages[3]["tool_call_id"] = results or (first, second)
    return {**REQUEST, "messages": messages}


def question(content, **more):
    return {"model": "m", "messages": [{"role": "user", "content": content, **more}]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (REQUEST, {**REQUEST, "stream": True, "stream_options": {"include_usage": True}}),
        (REQUEST, {**REQUEST, "user": "someone", "metadata": {"a": "b"}, "n": 1, "seed": None}),
        (REQUEST, {**REQUEST, "temperature": 0.0}),
        (REQUEST, dict(reversed(REQUEST.items()))),
        (REQUEST, with_ids("call_1", "call_2")),
        (REQUEST, {**REQUEST, "messages": [{**m, "content": m["content"] or ""} for m in CALLS]}),
        (question("Hi"), question([{"type": "text", "text": "Hi"}])),
        (question("Hi"), question("Hi", name=None)),
        (
            question([{"type": "image_url", "image_url": {"url": URL}}]),
            question([{"type": "image_url", "image_url": {"url": "sign.png"}, "from_file": FROM_FILE}]),
        ),
        (
            question([{"type": "image_url", "image_url": URL, "x": 1}]),
            question([{"type": "image_url", "image_url": "sign.png", "x": 1, "from_file": FROM_FILE}]),
        ),
        (
            question([{"type": "input_audio", "input_audio": {"data": b64encode(PNG).decode(), "format": "wav"}}]),
            question([{"type": "input_audio", "input_audio": {"data": "a.wav"}, "from_file": FROM_FILE}]),
        ),
    ],
)
def test_requests_that_mean_the_same(one, other):
    assert key(CHAT_ROUTE, one) == key(CHAT_ROUTE, other)


@pytest.mark.parametrize(
    "other",
    [
        {**REQUEST, "temperature": 0.1},
        {**REQUEST, "model": "n"},
        {**REQUEST, "n": 2},
        {**REQUEST, "seed": 1},
        {**REQUEST, "logprobs": True},
        {**REQUEST, "tools": []},
        {**REQUEST, "messages": CALLS[:-1]},
        {**REQUEST, "messages": [*CALLS[:2], CALLS[3], CALLS[2]]},
        with_ids("a", "b", results=("b", "a")),
        "no JSON",
        None,
    ],
)
def test_requests_that_do_not(other):
    assert key(CHAT_ROUTE, REQUEST) != key(CHAT_ROUTE, other)
    assert key(CHAT_ROUTE, REQUEST) != key("POST /completions", REQUEST)


@pytest.mark.parametrize(
    "value",
    [1, None, "x", [], {}, FROM_FILE, {"sha256": 7}],
)
@pytest.mark.parametrize(
    "part", [{}, {"type": "image_url"}, {"type": "text", "text": "x"}, {"type": ["image_url"]},
             {"type": "image_url", "image_url": 3}]
)  # fmt: skip
def test_a_key_of_the_name_from_file_is_like_any_other(value, part):
    request = {"tools": [{"parameters": {"properties": {**part, "from_file": value}}}]}
    other = {"tools": [{"parameters": {"properties": {**part, "from_file": "other"}}}]}
    assert key(CHAT_ROUTE, request) != key(CHAT_ROUTE, other)
    assert key(CHAT_ROUTE, request) == key(CHAT_ROUTE, copy.deepcopy(request))


def test_true_is_not_one():
    assert key(CHAT_ROUTE, {"a": True}) != key(CHAT_ROUTE, {"a": 1})


def test_an_endless_nesting_has_a_form():
    value = []
    for _ in range(5_000):
        value = [value]
    assert canonical({"messages": value}) == "nested too deeply"


def test_the_form_that_is_requested_comes_first():
    whole = Exchange(CHAT_ROUTE, {"a": 1}, 200)
    streams = [Exchange(CHAT_ROUTE, {"a": 1, "stream": True}, status) for status in (201, 202)]
    recordings = Recordings([whole, *streams])
    assert [recordings.next(CHAT_ROUTE, {"a": 1, "stream": True}).status for _ in range(3)] == [201, 202, 201]
    assert [recordings.next(CHAT_ROUTE, {"a": 1}).status for _ in range(2)] == [200, 200]
    assert recordings.next(CHAT_ROUTE, {"a": 2}) is None


def test_the_nearest_is_the_one_with_the_most_similar_text():
    texts = ["Tell me a joke about fish", "What is the sum of 12 + 23?", "What is the product of 12 * 23?"]
    recordings = Recordings([Exchange(CHAT_ROUTE, question(text)) for text in texts])
    nearest = recordings.nearest(CHAT_ROUTE, {**question("What is the sum of 12 + 24?"), "top_p": 1})
    assert nearest.exchange.request == question(texts[1])
    assert [(each.place, each.recorded) for each in nearest.differences] == [
        ("messages[0].content", f'"{texts[1]}"'),
        ("top_p", None),
    ]
    assert recordings.nearest("POST /other", {}) is None
