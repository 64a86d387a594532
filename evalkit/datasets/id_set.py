"""The ids that a dataset has used, in little memory."""

from __future__ import annotations

from array import array


class IdSet:
    """A set of text as 64-bit hashes, in 12 to 24 bytes each; Python's own set needs about 100."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * 1024))
        self._used = 0

    def add(self, text: str) -> bool:
        """Add a text; False if it, or another with the same hash, is in the set already."""
        key = hash(text) & 0xFFFF_FFFF_FFFF_FFFF or 1
        if not self._put(key):
            return False
        self._used += 1
        if 3 * self._used > 2 * len(self._slots):
            old, self._slots = self._slots, array("Q", bytes(16 * len(self._slots)))
            for key in old:
                if key:
                    self._put(key)
        return True

    def _put(self, key: int) -> bool:
        slots = self._slots
        last = len(slots) - 1
        at = key & last
        while slots[at]:
            if slots[at] == key:
                return False
            at = (at + 1) & last
        slots[at] = key
        return True
