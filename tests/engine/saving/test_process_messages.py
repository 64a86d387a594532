"""Messages between the two processes: every one survives the way there, and anything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.engine.saving import process_messages
from evalkit.engine.saving.process_messages import (
    CallFunction,
    Committed,
    End,
    FinishedTurns,
    FunctionResult,
    RetractAnswer,
    SessionStarted,
    Start,
    Stop,
)

whole = st.integers(-(2**63), 2**63 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
rows = st.lists(st.lists(st.text() | whole | st.none() | finite))
any_message = st.one_of(
    st.builds(Start, st.text()),
    st.builds(Committed, whole),
    st.builds(Stop, st.text()),
    st.builds(FunctionResult, whole, st.text()),
    st.builds(SessionStarted, whole, whole),
    st.builds(FinishedTurns, rows),
    st.builds(RetractAnswer, whole, whole, whole, st.booleans()),
    st.builds(CallFunction, whole, st.text(), st.text()),
    st.builds(End, whole, st.text(), st.dictionaries(st.text(), finite), st.none(), st.none() | st.text(), st.text()),
)


@given(st.lists(any_message), st.data())
def test_messages_survive_any_split_of_the_bytes(sent, data):
    stream = b"".join(map(process_messages.frame, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = process_messages.FrameReader()
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[begin:end])
    assert found == sent
    assert [type(message) for message in found] == [type(message) for message in sent]


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'["other", 1]', b'["stop"]', b'["stop", 1, 2]'])
def test_invalid_lines_are_refused(line):
    with pytest.raises((ValueError, LookupError, TypeError)):
        process_messages.parse(line)


def test_a_task_survives_packing():
    task = {"a": (1, float("inf")), "b": None}
    assert (
        process_messages.unpack(process_messages.parse(process_messages.frame(Start(process_messages.pack(task)))).task)
        == task
    )
