"""Log probabilities of tokens are kept in every form that endpoints send, from the socket to the export."""

import json

import orjson
import pytest
from answering import answering, rows, whole
from raw_server import DONE, LAST_CHUNK, STREAM_HEAD, chunk

import evalkit
from evalkit.analysis import tables
from evalkit.client.logprobs import Logprobs

TOKEN = {
    "token": "3",
    "logprob": -0.25,
    "bytes": [51],
    "top_logprobs": [{"token": "3", "logprob": -0.25, "bytes": [51]}],
}
HALF = {"token": "\ufffd", "logprob": -1, "bytes": [240]}  # the first byte of an emoji
KEPT = {"token": "3", "logprob": -0.25, "top_logprobs": [{"token": "3", "logprob": -0.25}]}


def stream(*choices):
    events = [{"choices": [{"index": 0, **choice}]} for choice in choices]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    sent = b"".join(chunk(b"data: " + json.dumps(event).encode() + b"\n\n") for event in events)
    return STREAM_HEAD + sent + chunk(DONE) + LAST_CHUNK


def two(first, second):
    return stream(
        {"delta": {"role": "assistant", "content": "3"}, "logprobs": first},
        {"delta": {"content": "5"}, "logprobs": second},
    )


FORMS = {
    "chat completions": (
        two({"content": [TOKEN]}, {"content": [{"token": "5", "logprob": -1, "bytes": None}], "refusal": None}),
        {"content": [KEPT, {"token": "5", "logprob": -1}]},
    ),
    "text completions": (
        two(
            {"tokens": ["3"], "token_logprobs": [-0.25], "top_logprobs": [{"3": -0.25}], "text_offset": [0]},
            {"tokens": ["5"], "token_logprobs": [None], "top_logprobs": None},
        ),
        {"content": [KEPT, {"token": "5", "logprob": None}]},
    ),
    "a number": (two(-0.25, -1), {"content": [{"token": "3", "logprob": -0.25}, {"token": "5", "logprob": -1}]}),
    "a list": (two([TOKEN], []), {"content": [KEPT]}),
    "of reasoning": (
        stream(
            {"delta": {"reasoning_content": "hm"}, "logprobs": {"reasoning_content": [{"token": "hm", "logprob": -2}]}},
            {"delta": {"content": "35"}, "logprobs": {"content": [TOKEN]}},
        ),
        {"reasoning_content": [{"token": "hm", "logprob": -2}], "content": [KEPT]},
    ),
    "in the delta": (
        stream({"delta": {"content": "35", "logprobs": {"content": [TOKEN]}}}), {"content": [KEPT]},
    ),
    "half a character": (
        stream({"delta": {"content": "35"}, "logprobs": {"content": [HALF]}}), {"content": [HALF]},
    ),
    "none": (stream({"delta": {"content": "35"}, "logprobs": None}), None),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_stream_is_stored_and_exported(form, tmp_path):
    sent, kept = FORMS[form]
    with answering(lambda body, n: sent) as url:
        endpoint = evalkit.Endpoint(url, "m", params={"logprobs": True, "top_logprobs": 1})
        run = evalkit.evaluate(rows(tmp_path / "d.jsonl", 1), endpoint, out=tmp_path / "r.evalkit")
    (row,) = run.turns().to_dict("records")
    assert row["answer"] == "35"
    assert (row["logprobs"] or None) == kept
    tables.export(run.path, "jsonl", tmp_path / "out")
    assert orjson.loads((tmp_path / "out").read_bytes())["logprobs"] == kept


def test_those_of_a_whole_answer_are_kept_and_others_only_when_asked_for(tmp_path):
    answer = whole().replace(
        b'"finish_reason"', b'"logprobs":' + json.dumps({"content": [TOKEN]}).encode() + b',"finish_reason"'
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length"))
    answer = head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with answering(lambda body, n: answer) as url:
        for number, (params, kept) in enumerate((({"logprobs": True}, {"content": [KEPT]}), ({}, None))):
            run = evalkit.evaluate(
                rows(tmp_path / "d.jsonl", 1), evalkit.Endpoint(url, "m", params=params),
                out=tmp_path / f"{number}.evalkit", stream=False,
            )  # fmt: skip
            assert (run.turns()["logprobs"][0] or None) == kept


def test_what_is_not_a_number_or_a_token_is_no_logprob():
    found = Logprobs()
    sent = {"content": [{"token": "a", "logprob": float("-inf")}, {"token": "b", "logprob": True}, {"logprob": 1}, 5]}
    assert found.add({"logprobs": sent}, "delta") > 0
    assert found.tokens == {"content": [{"token": "a", "logprob": None}, {"token": "b", "logprob": None}]}
    assert found.add({"logprobs": "?", "delta": {"content": ""}}, "delta") == 0
