"""Text from an endpoint, made safe to quote."""

import pytest

from evalkit.client.quoting import first_words, one_line


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (b"<html>\r\n<head><title>502 Bad\r\n Gateway</title></head><body>x</body></html>", "502 Bad Gateway"),
        (b"\n <!DOCTYPE html><head><script>var a = '<b>';</script></head><body><h1>No &amp; no</h1></body>", "No & no"),
        (b"<p>Just <b>words</b> <!-- and a comment --> here", "Just words here"),
        (b"<h1>caf\xc3\xa9 &lt;x&gt;</h1>", "café <x>"),
        (b"<title></title><p>text", "text"),
    ],
)  # fmt: skip
def test_html_is_reduced_to_its_title_or_text(page, words):
    assert first_words(page) == words


def test_one_line_has_no_control_characters_or_terminal_escapes():
    nasty = "a\x1b[31mred\x1b[0m\x1b]0;title\x07b\x00c\r\nd\x08e\u202ef\u2028g\x9b1mh\x7f\ud800i"
    assert one_line(nasty) == "aredb c d e f gh i"
