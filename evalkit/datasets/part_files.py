"""Image and audio files beside a dataset, sent in place of the parts that name them.

Only what is an image or audio by its first bytes is read, and only inside the folder of the dataset. A file is part of
the dataset: its hash is taken when the dataset is checked, and compared when the file is sent.
"""

from __future__ import annotations

import hashlib
import os
import stat
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.conversation import Conversation, Message
from evalkit.datasets.content_parts import AUDIO, FILE_KINDS, FROM_FILE, Part, file_name
from evalkit.datasets.field_checks import shortened, within
from evalkit.errors import DatasetError

MOST_BYTES = 20 * 2**20  # of a file
MOST_IN_CONVERSATION = 50 * 2**20  # every request of a conversation sends its files again

_CHANGED = "has changed since the dataset was checked: restore the old file and resume, or start a new run"
# first bytes, at a place, of each media type
_TYPES = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBPVP8", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftyphei", "image/heic"),
    (4, b"ftypM4A", "audio/m4a"),
    (8, b"WAVEfmt ", "audio/wav"),
    (0, b"fLaC\0\0\0", "audio/flac"),
    (0, b"OggS\0", "audio/ogg"),
    *((0, b"ID3%c" % version, "audio/mp3") for version in (2, 3, 4)),
    *((0, b"\xff%c" % second, "audio/mp3") for second in (0xFB, 0xFA, 0xF3, 0xF2)),
    *((0, b"\xff%c" % second, "audio/aac") for second in (0xF1, 0xF9)),
)


class PartFiles:
    """The files that a dataset names.

    Parameters
    ----------
    data : Path
        The dataset file; the files are in its folder.
    known : mapping, optional
        Name to what is known about each file, as ``found`` has it: these are not read until they are sent.

    Attributes
    ----------
    found : dict
        Name of each file used so far to its ``sha256``, ``bytes`` and ``media_type``.
    """

    def __init__(self, data: Path, known: Mapping[str, Any] | None = None) -> None:
        self._folder = data.resolve().parent
        self.found: dict[str, Any] = dict(known or {})

    def described(self, conversation: Conversation) -> Conversation:
        """The conversation, its parts with a description of the files that they name.

        Raises
        ------
        DatasetError
            A file cannot be sent; ``field`` says where.
        """
        size = 0

        def described(parts: tuple[Part, ...], place: str) -> tuple[Part, ...]:
            nonlocal size
            done = []
            for number, part in enumerate(parts):
                try:
                    part = self._described(part)
                except DatasetError as error:
                    raise within(f"{place}[{number}]", error) from None
                size += part[FROM_FILE]["bytes"] if FROM_FILE in part else 0
                done.append(part)
            return tuple(done)

        context = tuple(
            message._replace(parts=described(message.parts, f"context[{number}].content"))
            for number, message in enumerate(conversation.context)
        )
        turns = tuple(
            turn._replace(parts=described(turn.parts, f"turns[{number}].user"))
            for number, turn in enumerate(conversation.turns)
        )
        if size > MOST_IN_CONVERSATION:
            raise DatasetError(
                f"name files of {size / 2**20:.0f} MiB in one conversation, and its last request would send them all; "
                f"the limit is {MOST_IN_CONVERSATION >> 20} MiB",
                field="turns",
            )
        return conversation._replace(context=context, turns=turns)

    def loaded(self, message: Message) -> Message:
        """The message as it is sent: the content of a file in place of its name.

        Raises
        ------
        DatasetError
            A file has changed, or cannot be read.
        """
        return message._replace(parts=tuple(map(self._loaded, message.parts)))

    def _described(self, part: Part) -> Part:
        name = file_name(part)
        if name is None:
            return part
        about = self.found.get(name)
        if about is None:
            content = self._read(name)
            about = {
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
                "media_type": _media_type(content),
            }
            self.found[name] = about
        _check_medium(part, name, about["media_type"])
        given = part.get(FROM_FILE)
        if given is not None and given["sha256"] != about["sha256"]:
            raise DatasetError(f"{shortened(name)} is another file than the one described here", field=FROM_FILE)
        return {**part, FROM_FILE: about}

    def _loaded(self, part: Part) -> Part:
        about = part.get(FROM_FILE)
        name = file_name(part)
        if about is None or name is None:
            return part
        content = self._read(name)
        media_type = about["media_type"]
        if hashlib.sha256(content).hexdigest() != about["sha256"] or _media_type(content) != media_type:
            raise DatasetError(_CHANGED, path=self._folder / name)
        return sent(part, content, media_type)

    def _read(self, name: str) -> bytes:
        path = self._folder / name
        try:
            found = path.resolve(strict=True)
            if not found.is_relative_to(self._folder):
                raise DatasetError(f"{shortened(name)} is a link that leads out of the dataset's folder")
            file = os.open(found, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would never end
        except (OSError, ValueError, RuntimeError) as error:
            why = "there is no such file" if isinstance(error, FileNotFoundError) else f"it cannot be read ({error})"
            raise DatasetError(
                f"names the file {shortened(name)} beside the dataset, and {why}; "
                "an address on the web begins with https://"
            ) from None
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
            os.close(file)
            if not stat.S_ISREG(status.st_mode):
                raise DatasetError(f"{shortened(name)} is not a file with an image or audio")
            raise DatasetError(
                f"{shortened(name)} has {status.st_size / 2**20:.0f} MiB, and the limit is {MOST_BYTES >> 20} MiB: "
                "make it smaller, or give its address on the web"
            )
        with os.fdopen(file, "rb") as opened:
            return opened.read(MOST_BYTES)


def sent(part: Part, content: bytes, media_type: str) -> dict[str, Any]:
    """A part that names a file, with the content of the file in place of its name."""
    name = part["type"]
    encoded = b64encode(content).decode()
    others = {key: value for key, value in part.items() if key != FROM_FILE}
    if name == AUDIO:
        return {**others, name: {"format": media_type.partition("/")[2], **part[name], "data": encoded}}
    address = f"data:{media_type};base64,{encoded}"
    return {**others, name: address if isinstance(part[name], str) else {**part[name], "url": address}}


def _media_type(content: bytes) -> str | None:
    """The media type of an image or of audio by its first bytes; None: it is neither."""
    return next((name for place, magic, name in _TYPES if content.startswith(magic, place)), None)


def _check_medium(part: Part, name: str, media_type: str | None) -> None:
    medium = FILE_KINDS[part["type"]]
    if media_type is None or not media_type.startswith(f"{medium}/"):
        what = "an image" if medium == "image" else "audio"
        allowed = "PNG, JPEG, GIF, WebP, AVIF or HEIC" if medium == "image" else "WAV, MP3, FLAC, Ogg, M4A or AAC"
        raise DatasetError(f"{shortened(name)} is not {what} that can be sent: its content must be {allowed}")
