"""JSON in an answer."""

import time

import pytest

from evalkit.scorers.reading.json_text import json_in_prose, read_json


@pytest.mark.parametrize(
    "text",
    ["[1]", "```json\n[1]\n```", "~~~\n[1]\n~~~", "```json [1]```", '````json title="x"\n[1]\n````', "```[1]```"],
)
def test_json_alone_and_in_a_fence(text):
    assert read_json(text) == [1]


@pytest.mark.parametrize("text", ["so: [1]", "[1] it is", "```\n[1]\n``` then", "NaN", "", "```json\n```"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        read_json(text)


def test_integers_are_exact():
    assert read_json("123456789012345678901") == 123456789012345678901


def test_the_last_json_of_prose_counts_and_an_object_before_a_list():
    assert json_in_prose('{"a": 1}, or {"a": 2}, see [3]') == {"a": 2}
    assert json_in_prose('First:\n```sh\nls\n```\nthen\n```json\n{"a": 1}\n```\nsee {x}') == {"a": 1}


@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 100_000, "```" * 30_000, '{"a": ' * 20_000, "~~~\n" * 20_000])
def test_hostile_text_is_read_in_bounded_time(text):
    began = time.process_time()
    with pytest.raises(ValueError, match=r"."):
        json_in_prose(text)
    assert time.process_time() - began < 3
