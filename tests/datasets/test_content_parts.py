"""Content parts of messages: every kind that endpoints accept comes back as it was given, and is shown in words."""

import pytest

from evalkit.conversation import Message, Turn
from evalkit.datasets.content_parts import note, read_content, shown
from evalkit.datasets.native_rows import parse_row
from evalkit.datasets.row_formats import format_of, parse
from evalkit.errors import DatasetError

PNG = "data:image/png;base64,iVBORw0KGgo="
TEXT = {"type": "text", "text": "What number is on the sign?"}
FACTS = {"sha256": "0" * 64, "bytes": 12_345, "media_type": "image/png"}
# a part, and what a transcript shows
PARTS = [
    ({"type": "image_url", "image_url": {"url": PNG}}, "[image: PNG, 8 bytes]"),
    ({"type": "image_url", "image_url": {"url": "https://x/c", "detail": "low"}}, "[image: https://x/c, detail low]"),
    ({"type": "image_url", "image_url": "https://x/cat.png"}, "[image: https://x/cat.png]"),
    ({"type": "image_url", "image_url": {"url": "a.png"}, "from_file": FACTS}, "[image: a.png, PNG, 12 kB]"),
    ({"type": "image_url", "image_url": {"url": PNG}, "uuid": "7", "cache_control": {}}, "[image: PNG, 8 bytes]"),
    ({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}, "[audio: WAV, 4 bytes]"),
    ({"type": "input_audio", "input_audio": {"data": "https://x/a.wav"}}, "[audio: https://x/a.wav]"),
    ({"type": "audio_url", "audio_url": {"url": "https://x/a.ogg"}}, "[audio: https://x/a.ogg]"),
    ({"type": "video_url", "video_url": {"url": "https://x/a.mp4"}}, "[video: https://x/a.mp4]"),
    ({"type": "file", "file": {"file_id": "file-1"}}, '[file: {"file_id": "file-1"}]'),
    (
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
        "[file: PDF, 5 bytes, filename a.pdf]",
    ),
    ({"type": "image", "source": {"data": "a"}}, '[image: {"type": "image", "source": {"data": "a"}}]'),
    ({"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}, "long"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "words"), PARTS)
def test_a_part_is_kept_as_given_and_shown_in_words(part, words):
    row = {"id": "a", "turns": [{"user": [TEXT, part], "target": 35}], "context": [{"role": "user", "content": [part]}]}
    conversation = parse_row(row)
    assert conversation.to_json() == row
    (turn,) = conversation.turns
    assert turn.user == "What number is on the sign?" + ("\nlong" if part["type"] == "text" else "")
    assert Message("user", turn.user, parts=turn.parts).to_json()["content"] == [TEXT, part]
    assert shown(row["turns"][0]["user"]) == f"What number is on the sign?\n{words}"
    assert note(part) == words


@pytest.mark.parametrize(("short", "part"), [
    ({"image": "a/b.png"}, {"type": "image_url", "image_url": {"url": "a/b.png"}}),
    ({"image": "b.png", "detail": "high"}, {"type": "image_url", "image_url": {"url": "b.png", "detail": "high"}}),
    ({"audio": "b.wav"}, {"type": "input_audio", "input_audio": {"data": "b.wav"}}),
])  # fmt: skip
def test_the_short_form_names_a_file(short, part):
    assert read_content([short]) == ("", (part,))


def test_a_list_of_nothing_but_text_is_text():
    assert parse_row({"id": "a", "turns": [{"user": [TEXT, TEXT]}]}).turns[0] == Turn(f"{TEXT['text']}\n{TEXT['text']}")


WRONG = [
    ([], "", "must not be empty"),
    ([{"type": "text", "text": " "}], "", "must not be empty"),
    (["a"], "[0]", "must be a part such as"),
    ([{"text": "a"}], "[0]", "has no type"),
    ([{"type": 5}], "[0].type", "must be the name of a kind of part"),
    ([{"type": "text", "text": 5}], "[0].text", "must be text, not a number"),
    ([TEXT, {"type": "image_url"}], "[1].image_url", "must be an object, not null"),
    ([{"type": "image_url", "image_url": {"url": " "}}], "[0].image_url.url", "must be text and not empty"),
    ([{"type": "input_audio", "input_audio": "x"}], "[0].input_audio", "must be an object, not text"),
    ([{"image": "a.png", "size": 5}], "[0].size", "unknown key"),
    ([{"audio": "UklGRg=="}], "[0].audio", "must be the name of a file"),
    ([{"type": "video_url", "video_url": {"url": "a.mp4"}}], "[0]", "'a.mp4' is not a web address"),
    ([{"image": "../a.png"}], "[0]", "'../a.png' leads out of the dataset's folder"),
    ([{"image": "b/../../a.png"}], "[0]", "'b/../../a.png' leads out of"),
    ([{"image": "/etc/a.png"}], "[0]", "'/etc/a.png' leads out of"),
    ([{"image": "//host/a.png"}], "[0]", "'//host/a.png' leads out of"),
    ([{"image": "C:\\a.png"}], "[0]", "'C:\\\\a.png' is not the name of a file"),
    ([{"image": "C:a.png"}], "[0]", "'C:a.png' is not the name of a file"),
    ([{"image": "a\0.png"}], "[0]", "'a\\x00.png' is not the name of a file"),
    ([{"type": "text", "text": "a", "from_file": FACTS}], "[0].from_file", "must describe the file"),
    ([{"image": "a.png", "from_file": {"sha256": "x"}}], "[0].from_file", "must describe the file"),
]


@pytest.mark.parametrize(("content", "field", "problem"), WRONG)
def test_a_part_that_cannot_be_sent_is_refused_with_its_place(content, field, problem):
    with pytest.raises(DatasetError) as caught:
        parse_row({"turns": [{"user": content}]})
    assert caught.value.field == f"turns[0].user{field}"
    assert caught.value.problem.startswith(problem)


def test_rows_of_other_formats_keep_parts():
    image = PARTS[0][0]
    rows = [
        {"messages": [
            {"role": "system", "content": "Be short."}, {"role": "user", "content": [TEXT, image]},
            {"role": "assistant", "content": [{"type": "text", "text": "35"}]}, {"role": "user", "content": "Sure?"},
        ]},
        {"custom_id": "a", "url": "/v1/chat/completions", "body": {"messages": [
            {"role": "system", "content": [{**TEXT, "cache_control": {"type": "ephemeral"}}]},
            {"role": "user", "content": [image]}, {"role": "assistant", "content": "A sign."},
            {"role": "user", "content": [TEXT, image]},
        ]}},
        {"question_id": 1, "turns": [[TEXT, image], "Sure?"]},
    ]  # fmt: skip
    chat, batch, bench = (parse(row, format_of(row)) for row in rows)
    assert [turn.parts for turn in chat.turns] == [(TEXT, image), ()] == [turn.parts for turn in bench.turns]
    assert (chat.system, chat.turns[0].assistant) == ("Be short.", "35")
    sent = [message.to_json() for message in batch.opening()]
    assert sent == [rows[1]["body"]["messages"][n] for n in range(3)]
    assert batch.with_system("Other").context == batch.context[1:]


def test_a_golden_answer_is_text():
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [TEXT, PARTS[0][0]]}]}
    with pytest.raises(DatasetError, match="a part of the type image_url, and only text can be here") as caught:
        parse(row, "chat")
    assert caught.value.field == "messages[1].content[1]"
