from hypothesis import given
from hypothesis import strategies as st
from records import answered, failed

from evalkit import messages
from evalkit.conversation import Conversation, Message, ScorerSpec, ToolCall, Turn
from evalkit.record import Answer, Attempt, Failure, Timing, TurnRecord


def travelled(packed):
    (message,) = messages.FrameReader().feed(messages.frame(packed))
    return message[0]


CALL = ToolCall("add", '{"a": 1}', "id1")


def test_a_record_comes_out_as_it_went_in():
    good = answered(3).attempts[0]
    bare = Attempt(Timing(1, 2, 3), failure=Failure("timeout", "Too long.", retry_after_s=2.5), number=2, round=1)
    calling = Attempt(Timing(1, 2, 3), answer=Answer("", "think", "no", (CALL,), "tool_calls"), flags=("no_done",))
    exchange = (Message("assistant", None, (CALL,)), Message("tool", "3", tool_call_id="id1"))
    for record in (
        answered(2),
        failed(1),
        TurnRecord("c", 2, 3, (bare, calling, good), exchange, scheduled=True),
        TurnRecord("c", 1, 1, failure=Failure("cancelled", "Not asked.")),
    ):
        assert messages.unpack(travelled(messages.pack(record))) == record


def test_a_conversation_comes_out_as_it_went_in():
    several = ScorerSpec.several([ScorerSpec("number", {"abs_tol": 0.5}, 2.0), ScorerSpec("length", {"max": 9})])
    turns = (
        Turn("Hi", [1, {"a": None}], ScorerSpec("number", {"abs_tol": 0.5}), "Hello."),
        Turn("And now?"),
        Turn("Both?", 3, several),
    )
    full = Conversation(
        "c", turns, "Be short.", (Message("user", "Earlier."),), ({"type": "function", "function": {"name": "add"}},),
        {"add": 3}, {"seed": 7}, ("tag",), "group", {"note": [1.5]},
    )  # fmt: skip
    for conversation in (full, Conversation("bare", (Turn("Hi"),))):
        assert messages.unpack_conversation(travelled(messages.pack_conversation(conversation))) == conversation


values = st.lists(
    st.tuples(st.text(), st.integers(-(2**63), 2**63 - 1), st.none() | st.floats(allow_nan=False, allow_infinity=False))
)


@given(values, st.data())
def test_messages_come_out_whole_however_they_are_cut(values, data):
    stream = b"".join(messages.frame(*value) for value in values)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = messages.FrameReader()
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[begin:end])
    assert found == [list(value) for value in values]
