"""A single conversation: ``converse``."""

import pytest
from answering import answering, stream

import evalkit as ek

TURNS = (
    ek.Turn("2 + 2?", 4, assistant="It is 4."),
    ek.Turn("Twice that?", 8, assistant="It is 8."),
    ek.Turn("Half?", 4),
)


def asked(history, turns=TURNS, **more):
    """The messages of each request, and the records."""
    seen = []

    def reply(body, number):
        seen.append([message["content"] for message in body["messages"]])
        return stream([f"answer {number}"])

    with answering(reply) as url:
        conversation = ek.Conversation("c", turns, system="Teach.")
        records = list(ek.converse(conversation, ek.Endpoint(url, "m"), history=history, **more))
    return seen, records


def test_with_its_own_history_each_turn_sees_the_answers_before_it():
    seen, records = asked("own")
    assert seen[-1] == ["Teach.", "2 + 2?", "answer 0", "Twice that?", "answer 1", "Half?"]
    assert [(record.turn, record.answer.text) for record in records] == [
        (1, "answer 0"),
        (2, "answer 1"),
        (3, "answer 2"),
    ]


def test_with_golden_history_each_turn_sees_the_golden_answers_before_it():
    seen, records = asked("golden")
    assert seen[-1] == ["Teach.", "2 + 2?", "It is 4.", "Twice that?", "It is 8.", "Half?"]
    assert [record.answer.text for record in records] == ["answer 0", "answer 1", "answer 2"]


def test_golden_history_needs_golden_answers_and_says_where_one_is_missing():
    with pytest.raises(ek.DatasetError, match=r"turns\[0\]\.assistant.* is missing"):
        asked("golden", (ek.Turn("2 + 2?"), ek.Turn("Twice that?")))


def test_a_history_that_does_not_exist_is_refused():
    with pytest.raises(ek.SettingsError, match="'silver': it must be 'own' or 'golden'"):
        asked("silver")


@pytest.mark.parametrize(
    ("turns", "more", "error", "match"),
    [
        (TURNS, {"history": "silver"}, ek.SettingsError, "'silver'"),
        ((ek.Turn("a"), ek.Turn("b")), {"history": "golden"}, ek.DatasetError, "is missing"),
        (TURNS, {"functions": {"f": 3}}, ek.SettingsError, "'f' is 3"),
    ],
)
def test_arguments_are_checked_when_it_is_called(turns, more, error, match):
    """Not at the first turn, which may be awaited elsewhere."""
    with pytest.raises(error, match=match):
        ek.converse(ek.Conversation("c", turns), ek.Endpoint("http://127.0.0.1:9", "m"), **more)


def test_parameters_are_checked_when_it_is_called():
    endpoint = ek.Endpoint("http://127.0.0.1:9", "m", params={"n": 2})
    with pytest.raises(ek.SettingsError, match="'n' must be 1"):
        ek.converse(ek.Conversation("c", TURNS), endpoint)


def test_nothing_is_sent_before_the_first_turn_is_awaited():
    seen = []

    def reply(body, number):
        seen.append(number)
        return stream(["hello"])

    with answering(reply) as url:
        ek.converse(ek.Conversation("c", TURNS), ek.Endpoint(url, "m")).close()
    assert not seen
