"""Text that is not UTF-8: what is read, what is asked for, and that both are said."""

import pytest

from evalkit.datasets import reader
from evalkit.datasets.character_sets import character_set
from evalkit.errors import DatasetError

READ = [
    ("cp1252", "Qu’est-ce que « l’été » ? café"),
    ("cp1252", "Wie heißt die Hauptstadt von Österreich? Nenne fünf Städte"),
    ("cp1252", "¿Cuál es la capital de España? ¿Cuántos años tiene Ángel?"),
    ("cp1252", "What’s the price of a “café crème” – in €?"),
    ("mac_roman", "Qu’est-ce que « l’été » ? café"),
    ("mac_roman", "Wie heißt die Hauptstadt von Österreich? Nenne fünf Städte"),
    ("mac_roman", "¿Cuál es la capital de España? ¿Cuántos años tiene Ángel?"),
    ("cp1250", "Jak się nazywa stolica Polski? Gdzie leży Łódź?"),
    ("cp1251", "Какая столица России? Сколько будет два плюс два?"),
    ("cp1253", "Ποια είναι η πρωτεύουσα της Ελλάδας;"),
    ("cp932", "日本の首都はどこですか。二足す二はいくつですか。"),
    ("gb18030", "中国的首都是哪里？请用一个词回答，二加二等于多少？"),
    ("cp949", "대한민국의 수도는 어디입니까? 이 더하기 이는 얼마입니까?"),
    ("big5", "中華民國的首都是哪裡？二加二等於多少？"),
]


@pytest.mark.parametrize(("codec", "text"), READ)
def test_a_csv_file_is_read_in_its_character_set_and_this_is_reported(tmp_path, codec, text, caplog):
    path = tmp_path / "x.csv"
    path.write_bytes(f"id,user\n1,What is 2+2?\n2,{text}\n".encode(codec))
    summary = reader.check(path)
    assert list(reader.read(path))[1].turns[0].user == text
    assert summary.conversations == 2
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{path}, line 3 is not UTF-8: the file is read as ")


AMBIGUOUS = [b"a,5 \xa5 or more\n", b"x,\xa3 5\n"]


@pytest.mark.parametrize("line", AMBIGUOUS)
def test_text_that_can_be_read_in_several_ways_is_refused_with_the_readings_and_what_to_do(line):
    with pytest.raises(DatasetError, match=r"can be read as .* or .*: save it as UTF-8 .*iconv -f \S+ -t UTF-8"):
        character_set(line)


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(DatasetError, match="neither UTF-8 nor text in a character set of spreadsheets"):
        character_set(bytes(range(1, 256)) * 3)


def test_a_line_beyond_the_sample_is_still_checked(tmp_path):
    path = tmp_path / "x.csv"
    lines = "user\n" + "Was heißt fünf Städte auf Französisch?\n" * 1_200
    path.write_bytes(lines.encode("cp1252") + b"\x81\n")
    with pytest.raises(
        DatasetError, match=r"line 1202: byte \d+ of the file, 0x81, is not WINDOWS-1252, which the lines"
    ):
        reader.check(path)
