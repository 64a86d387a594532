from hypothesis import given
from hypothesis import strategies as st

from evalkit import messages

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
