"""Content parts: what a message holds besides text, such as images and audio, and how a transcript shows it.

A part is sent as it is given, with one exception: where a part of a known kind names a file, the file beside the
dataset is sent in its place (``part_files``). Such a part has the key ``from_file``, which is stored and never sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from evalkit.datasets.field_checks import kind, list_in, object_in, read_each, shortened, within, words_in
from evalkit.errors import DatasetError

Part = Mapping[str, Any]

FROM_FILE = "from_file"
AUDIO = "input_audio"
# kinds of parts that may name a file, and the media that it may hold; None: a file of this kind is not sent
FILE_KINDS = {"image_url": "image", "audio_url": "audio", AUDIO: "audio", "video_url": None}
_SHORT = {"image": "image_url", "audio": AUDIO}  # {"image": "sign.png"}: a part with the name of a file
_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # not one letter, which is a drive
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?[^,]{0,200},")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST_NAME = 1_000
_SHOWN = 200  # characters of an address or an unknown part in a transcript


def read_content(value: Any) -> tuple[str, tuple[Part, ...]]:
    """Read the content of a message: its text, and its parts if it is more than text.

    The texts of several parts are joined with line breaks; a list with nothing but text is text.

    Raises
    ------
    DatasetError
        It is neither text nor a list of parts; ``field`` says where.
    """
    if isinstance(value, str):
        return value, ()
    parts = tuple(read_each(list_in(value, "text"), _read_part))
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    only_text = all(part["type"] == "text" and len(part) == 2 for part in parts)
    return text, () if only_text else parts


def read_question(value: Any) -> tuple[str, tuple[Part, ...]]:
    """Read the content of a user message, which must not be empty."""
    text, parts = read_content(value)
    if not parts or all(part["type"] == "text" for part in parts):
        words_in(text)
    return text, parts


def text_only(value: Any) -> str:
    """Read content whose text alone is used, such as a golden answer; any other part is refused."""
    text, parts = read_content(value)
    for number, part in enumerate(parts):
        if part["type"] != "text":
            raise DatasetError(
                f"is a part of the type {shortened(part['type'])}, and only text can be here", field=f"[{number}]"
            )
    return text


def file_name(part: Part) -> str | None:
    """The file that a part names; None: it names none, and is sent as it is given."""
    name = part["type"]
    if name not in FILE_KINDS:
        return None
    value = part[name]
    if name == AUDIO:
        data = value["data"]
        return data if "." in data and not _HAS_SCHEME.match(data) else None  # base64 has no full stop
    address = value if isinstance(value, str) else value["url"]
    return None if _HAS_SCHEME.match(address) else address


def shown(content: Any) -> str:
    """The content of a message, or of a user message in a dataset row, as a transcript shows it.

    Text is text; of any other part it says what was sent.
    """
    if not isinstance(content, list):
        return content or ""
    return "\n".join(map(note, content))


def note(part: Part) -> str:
    """One part as a transcript shows it: its text, or a note such as ``[image: sign.png, PNG, 12 kB]``."""
    name = part.get("type")
    if name == "text":
        return str(part["text"])
    value = part.get(str(name))
    address = value
    if isinstance(value, Mapping):
        address = value.get("url") or value.get("data") or value.get("file_data")
    facts: Iterable[str] = ()
    if FROM_FILE in part:
        about = part[FROM_FILE]
        facts = (str(address), _format(about["media_type"]), _size(about["bytes"]))
    elif isinstance(address, str) and (data := _DATA.match(address)):
        facts = (_format(data[1] or "data"), _size(_decoded_length(address[data.end() :])))
    elif name == AUDIO and isinstance(value, Mapping) and isinstance(address, str) and not _HAS_SCHEME.match(address):
        facts = (_format(str(value.get("format", "audio"))), _size(_decoded_length(address)))
    elif isinstance(address, str):
        facts = (_brief(address),)
    else:
        facts = (_brief(json.dumps(value if value is not None else dict(part), ensure_ascii=False)),)
    more: tuple[str, ...] = ()
    if isinstance(value, Mapping):
        more = tuple(f"{key} {value[key]}" for key in ("filename", "detail") if isinstance(value.get(key), str))
    label = str(name).removesuffix("_url").removeprefix("input_")
    return f"[{label}: {', '.join([*facts, *more])}]"


def text_length(part: Part) -> int:
    """Characters of all texts in a part, addresses and data included."""
    inner = [part, *(value for value in part.values() if isinstance(value, Mapping))]
    return sum(len(value) for values in inner for value in values.values() if isinstance(value, str))


def data_url(part: Part) -> str | None:
    """The data URL of an image part; None: it has none."""
    value = part.get("image_url")
    address = value.get("url") if isinstance(value, Mapping) else value
    return address if isinstance(address, str) and _DATA.match(address) else None


def _read_part(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DatasetError(f'must be a part such as {{"type": "text", "text": "…"}}, not {kind(value)}')
    part = _long_form(value) if "type" not in value else value
    name = part["type"]
    if not isinstance(name, str) or not name.strip():
        raise DatasetError("must be the name of a kind of part, such as text or image_url", field="type")
    if name == "text" and not isinstance(part.get("text"), str):
        raise DatasetError(f"must be text, not {kind(part.get('text'))}", field="text")
    if name in FILE_KINDS:
        _check_address(name, part.get(name))
    _check_file(part)
    return part


def _long_form(value: dict[str, Any]) -> dict[str, Any]:
    """A part with a type, made from the short form that names a file: ``{"image": "sign.png"}``."""
    named = [key for key in _SHORT if key in value]
    if len(named) != 1:
        raise DatasetError('has no type: write {"type": "image_url", …}, or {"image": "sign.png"} for a file')
    short, name = named[0], _SHORT[named[0]]
    known = {short, FROM_FILE, *({"detail"} if short == "image" else ())}
    for key in value:
        if key not in known:
            raise DatasetError(f"unknown key: write the part with its type, {name}", field=shortened(key))
    try:
        address = words_in(value[short])
    except DatasetError as error:
        raise within(short, error) from None
    inner: dict[str, Any] = {"data" if name == AUDIO else "url": address}
    if "detail" in value:
        inner["detail"] = value["detail"]
    part = {"type": name, name: inner}
    if name == AUDIO and file_name(part) is None:
        raise DatasetError("must be the name of a file, such as question.wav", field=short)
    return part | ({FROM_FILE: value[FROM_FILE]} if FROM_FILE in value else {})


def _check_address(name: str, value: Any) -> None:
    key = "data" if name == AUDIO else "url"
    if isinstance(value, str) and name != AUDIO:
        if value.strip():
            return
        raise DatasetError("must not be empty", field=name)
    try:
        address = object_in(value).get(key)
    except DatasetError as error:
        raise within(name, error) from None
    if not isinstance(address, str) or not address.strip():
        raise DatasetError(f"must be text and not empty, not {kind(address)}", field=f"{name}.{key}")


def _check_file(part: Part) -> None:
    """Refuse a file that is not beside the dataset, by its name alone."""
    name = file_name(part)
    about = part.get(FROM_FILE)
    if about is not None and not (
        name is not None
        and isinstance(about, dict)
        and isinstance(about.get("sha256"), str)
        and _SHA256.fullmatch(about["sha256"])
        and type(about.get("bytes")) is int
        and isinstance(about.get("media_type"), str)
    ):
        raise DatasetError("must describe the file that the part names: sha256, bytes, media_type", field=FROM_FILE)
    if name is None:
        return
    if FILE_KINDS[part["type"]] is None:
        raise DatasetError(f"{shortened(name)!r} is not a web address: give a video by its address, https://…")
    if len(name) > _LONGEST_NAME or "\0" in name or "\\" in name or re.match("[A-Za-z]:", name):
        raise DatasetError(f"{shortened(name)!r} is not the name of a file beside the dataset, such as images/sign.png")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DatasetError(
            f"{shortened(name)!r} leads out of the dataset's folder: only files in it are sent. "
            "Move the file there, and name it from there"
        )


def _decoded_length(base64: str) -> int:
    return len(base64.rstrip("=")) * 3 // 4


def _format(media_type: str) -> str:
    """``image/png`` as PNG."""
    return _brief(media_type.rpartition("/")[2].upper())


def _size(count: int) -> str:
    if count < 1_000:
        return f"{count} bytes"
    return f"{count / 1e3:.0f} kB" if count < 999_500 else f"{count / 1e6:.1f} MB"


def _brief(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
