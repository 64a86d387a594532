"""Image and audio files beside a dataset: which are sent, and which never."""

import base64
import hashlib
import json
import os

import pytest

from evalkit.conversation import Message
from evalkit.datasets import part_files, reader
from evalkit.datasets.part_files import PartFiles
from evalkit.errors import DatasetError

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(40))
CONTENT = {
    "a.png": (PNG, "image/png"),
    "b.jpg": (b"\xff\xd8\xff\xe0 jpeg", "image/jpeg"),
    "c.gif": (b"GIF89a gif", "image/gif"),
    "d.webp": (b"RIFF\0\0\0\0WEBPVP8 x", "image/webp"),
    "e.wav": (b"RIFF\0\0\0\0WAVEfmt x", "audio/wav"),
    "f.mp3": (b"ID3\x04 mp3", "audio/mp3"),
    "g.flac": (b"fLaC\0\0\0\x22", "audio/flac"),
}


def dataset(folder, *names, form="image"):
    data = folder / "d.jsonl"
    rows = ({"id": name, "turns": [{"user": [{form: name}]}]} for name in names)
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return data


@pytest.mark.parametrize("name", CONTENT)
def test_a_file_is_sent_as_what_it_is_whatever_its_name(name, tmp_path):
    content, media_type = CONTENT[name]
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "x.bin").write_bytes(content)
    form = media_type.partition("/")[0]
    data = dataset(tmp_path, "media/x.bin", form=form)
    summary = reader.check(data)
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "media_type": media_type}
    assert summary.files == {"media/x.bin": facts}
    (conversation,) = reader.read(data)
    (part,) = conversation.turns[0].parts
    assert part["from_file"] == facts
    assert reader.parse_row(json.loads(json.dumps(conversation.to_json()))) == conversation
    (sent,) = PartFiles(data).loaded(Message("user", "", parts=(part,))).parts
    encoded = base64.b64encode(content).decode()
    if form == "image":
        assert sent == {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{encoded}"}}
    else:
        assert sent == {"type": "input_audio", "input_audio": {"data": encoded, "format": media_type[6:]}}


def test_a_changed_file_changes_the_dataset_and_is_not_sent(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    data = dataset(tmp_path, "a.png")
    before = reader.check(data)
    (known,) = reader.read(data, files=before.files)
    (tmp_path / "a.png").write_bytes(PNG + b"more")
    assert reader.check(data).hash != before.hash
    with pytest.raises(DatasetError, match="has changed since the dataset was checked"):
        PartFiles(data).loaded(Message("user", "", parts=known.turns[0].parts))
    assert next(reader.read(data, files=before.files)) == known  # and so it ends when it is sent


def test_what_is_not_an_image_or_leads_out_of_the_folder_is_never_read_into_a_request(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(PNG)
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "within.png").symlink_to("real.png")
    (folder / "real.png").write_bytes(PNG)
    (folder / "key.png").write_text("-----BEGIN PRIVATE KEY-----")
    (folder / "drawing.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "sound.png").write_bytes(CONTENT["e.wav"][0])
    (folder / "big.png").write_bytes(PNG + bytes(5000))
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    monkeypatch.setattr(part_files, "MOST_BYTES", 4000)
    problems = {
        "out.png": "out.png is a link that leads out of the dataset's folder",
        "none.png": "names the file none.png beside the dataset, and there is no such file",
        "key.png": "key.png is not an image that can be sent: its content must be PNG",
        "drawing.png": "drawing.png is not an image that can be sent",
        "sound.png": "sound.png is not an image that can be sent",
        "big.png": "big.png has 0 MiB, and the limit is 0 MiB",
        "pipe.png": "pipe.png is not a file with an image or audio",
        "folder.png": "folder.png is not a file with an image or audio",
    }
    with pytest.raises(DatasetError) as caught:
        reader.check(dataset(folder, *problems))
    for line, (name, problem) in zip(str(caught.value).splitlines()[1:], problems.items(), strict=True):
        assert "turns[0].user[0]" in line, name
        assert problem in line
    assert reader.check(dataset(folder, "within.png", "real.png")).conversations == 2


def test_the_files_of_one_conversation_have_a_limit(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(PNG)
    monkeypatch.setattr(part_files, "MOST_IN_CONVERSATION", 2 * len(PNG) - 1)
    data = tmp_path / "d.jsonl"
    data.write_text(json.dumps({"turns": [{"user": [{"image": "a.png"}]}] * 2}) + "\n")
    with pytest.raises(DatasetError, match="in one conversation, and its last request would send them all"):
        reader.check(data)
    assert reader.check(dataset(tmp_path, "a.png")).turns == 1
