"""The set of ids: compact, and exact but for equal hashes."""

from evalkit.datasets import id_set


def test_ids_stay_compact_and_every_second_one_is_found():
    ids = id_set.IdSet()
    texts = [f"row-{n}" for n in range(20_000)]
    assert all(ids.add(text) for text in texts)
    assert not any(ids.add(text) for text in texts)
    assert len(ids._slots) * 8 <= 27 * len(texts)
