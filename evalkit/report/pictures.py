"""The pictures of a conversation that a report may show, each stored once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

# data that cannot be anything but a picture: no SVG, which may hold scripts, and no address, which would be loaded
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")


def picture(part: Mapping[str, Any]) -> str | None:
    """The data URL of the picture in a content part; None: it has none that may be shown."""
    value = part.get("image_url")
    address = value.get("url") if isinstance(value, Mapping) else value
    return address if isinstance(address, str) and _PICTURE.fullmatch(address) else None


class Pictures:
    """Pictures by number, in the order in which they are first shown."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def addresses(self) -> list[str]:
        """The data URLs, at the places of their numbers."""
        return list(self._numbers)

    def number(self, address: str | None) -> int | None:
        """The number of a picture, which is added if it is new."""
        return None if address is None else self._numbers.setdefault(address, len(self._numbers))

    def numbered(self, text: str, addresses: Iterable[str]) -> list[str | int]:
        """A text in pieces, with a number in place of each of these pictures.

        A data URL has only characters that are the same in a text, in JSON and in a shell.
        """
        pieces: list[str | int] = [text]
        for address in sorted(addresses, key=len, reverse=True):
            if address not in text:
                continue
            number, cut = self._numbers.setdefault(address, len(self._numbers)), list[str | int]()
            for piece in pieces:
                if isinstance(piece, int):
                    cut.append(piece)
                    continue
                first, *others = piece.split(address)
                cut.append(first)
                for other in others:
                    cut += [number, other]
            pieces = cut
        return pieces
