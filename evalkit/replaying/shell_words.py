"""The words of a shell command that was pasted, without a shell: nothing in them is executed.

Quotes, escapes, line continuations, here documents and variables are read as bash reads them. What a shell would
execute or look up, such as ``$(…)`` and backticks, is refused. No message quotes the text: it may hold a key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from evalkit.errors import SettingsError

_OPERATOR = re.compile(r"<<<|<<-?|>>|&>>?|[<>]&|>\||&&|\|&|\|\||[|&;<>()\n]")
_DESCRIPTOR = re.compile(r"\d+(?=[<>])")
_NAME = re.compile(r"\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*)", re.ASCII)
_ANSI_ESCAPE = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|([0-7]{1,3})|c(.)|(.))", re.DOTALL
)
_ANSI_LETTERS = {
    "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
}  # fmt: skip
_CMD_FORM = re.compile(r'\s*curl(?:\.exe)?[ \t]+(?:\^"|[^\n\']*\^[ \t\r]*\n)')
_BLANK_AFTER_BACKSLASH = re.compile(r"\\[ \t]+\r?\n")
_TYPOGRAPHIC = "“”„‘’«»"
_BLANKS = " \t\r\n"


class Variable(NamedTuple):
    """A variable of the environment, by its name."""

    name: str


Word = tuple[str | Variable, ...]  # pieces of text and variables; text may have bytes as surrogates


@dataclass(frozen=True, slots=True)
class Operator:
    """What stands between words: ``|``, ``;``, a line break, a redirection."""

    text: str


@dataclass(frozen=True, slots=True)
class HereDocument:
    """The text that a command reads from its input."""

    text: Word


Token = Word | Operator | HereDocument


def refused(problem: str) -> SettingsError:
    """The error to raise for a command that cannot be read."""
    return SettingsError(f"the cURL command cannot be read: {problem}")


def shell_tokens(text: str) -> list[Token]:
    """The words and operators of a text for a POSIX shell or bash.

    Raises
    ------
    SettingsError
        A quote is not closed, a shell would execute a part of it, or it is for cmd or PowerShell.
    """
    if _CMD_FORM.match(text):
        raise refused("it has the form for cmd of Windows, with ^: copy it again 'as cURL (bash)'")
    return _Tokens(text).read()


def quoted_text(word: Word) -> str | None:
    """The text of a word without variables; None: it has some."""
    return "".join(piece for piece in word if isinstance(piece, str)) if not _variables(word) else None


def _variables(word: Word) -> bool:
    return any(isinstance(piece, Variable) for piece in word)


class _Pieces:
    """Collects the pieces of a word."""

    def __init__(self) -> None:
        self.pieces: list[str | Variable] = []
        self.text: list[str] = []

    def add(self, variable: Variable) -> None:
        self._end_text()
        self.pieces.append(variable)

    def _end_text(self) -> None:
        if self.text:
            self.pieces.append("".join(self.text))
            self.text = []

    def word(self) -> Word:
        self._end_text()
        return tuple(self.pieces)


class _Tokens:
    """Reads a text from its start to its end."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._tokens: list[Token] = []
        self._awaited: list[tuple[int, str, bool, bool]] = []  # here documents: token, end, quoted, with tabs removed

    def read(self) -> list[Token]:
        text = self._text
        while self._at < len(text):
            character = text[self._at]
            if text.startswith(("\\\n", "\\\r\n"), self._at):
                self._at = text.index("\n", self._at) + 1
            elif character in " \t\r":
                self._at += 1
            elif character == "#":
                self._at = self._end_of_line()
            elif (operator := _OPERATOR.match(text, self._at)) is not None:
                self._at = operator.end()
                self._operator(operator[0])
            elif (descriptor := _DESCRIPTOR.match(text, self._at)) is not None:
                self._at = descriptor.end()
            else:
                self._tokens.append(self._word())
        if self._awaited:
            self._fail("the here document (<<) has no line that ends it", self._at)
        return self._tokens

    def _end_of_line(self) -> int:
        end = self._text.find("\n", self._at)
        return len(self._text) if end < 0 else end

    def _operator(self, operator: str) -> None:
        if operator in ("(", ")"):
            self._fail("it has parentheses outside of quotes, which a shell would execute: put the text in quotes")
        if operator in ("<<", "<<-"):
            self._skip_blanks()
            start = self._at
            end = quoted_text(self._word())
            quoted = any(mark in self._text[start : self._at] for mark in "'\"\\")
            self._awaited.append((len(self._tokens), end or "", quoted, operator == "<<-"))
            self._tokens.append(HereDocument(()))
            return
        self._tokens.append(Operator(operator))
        if operator == "\n":
            for place, end, quoted, tabs in self._awaited:
                self._tokens[place] = HereDocument(self._here_document(end, quoted=quoted, tabs=tabs))
            self._awaited = []

    def _skip_blanks(self) -> None:
        while self._text[self._at : self._at + 1] in (" ", "\t"):
            self._at += 1

    def _here_document(self, end: str, *, quoted: bool, tabs: bool) -> Word:
        start, lines = self._at, list[str]()
        while self._at < len(self._text):
            stop = self._end_of_line()
            line = self._text[self._at : stop]
            line = line.lstrip("\t") if tabs else line
            self._at = stop + 1
            if line.removesuffix("\r") == end:
                content = "".join(f"{each}\n" for each in lines)
                return (content,) if quoted else _Tokens(content).expanded()
            lines.append(line)
        return self._fail("the here document (<<) has no line that ends it", start)

    def expanded(self) -> Word:
        """The whole text, as a shell expands it in an unquoted here document."""
        pieces = _Pieces()
        while self._at < len(self._text):
            self._expanding(pieces, escaped="$`\\\n")
        return pieces.word()

    def _word(self) -> Word:
        pieces, text = _Pieces(), self._text
        while self._at < len(text):
            character = text[self._at]
            if character in _BLANKS or _OPERATOR.match(text, self._at):
                break
            if text.startswith("$'", self._at):
                pieces.text.append(self._ansi())
            elif character == "'":
                pieces.text.append(text[self._at + 1 : (end := self._closing("'"))])
                self._at = end + 1
            elif character == '"' or text.startswith('$"', self._at):
                self._double_quoted(pieces)
            elif character in _TYPOGRAPHIC:
                self._fail("it has typographic quotes outside of quotes: replace them by straight ones, ' or \"")
            elif _BLANK_AFTER_BACKSLASH.match(text, self._at):
                self._fail("a blank follows the backslash at the end of the line: delete the blank")
            else:
                self._expanding(pieces, escaped=None)
        return pieces.word()

    def _double_quoted(self, pieces: _Pieces) -> None:
        opened = self._at
        self._at = self._text.index('"', self._at) + 1
        while self._text[self._at : self._at + 1] != '"':
            if self._at >= len(self._text):
                self._fail('a double quote (") is not closed', opened)
            self._expanding(pieces, escaped='$`"\\\n')
        self._at += 1
        pieces.text.append("")

    def _expanding(self, pieces: _Pieces, escaped: str | None) -> None:
        """Read one character that is not quoted by single quotes; ``escaped``: what a backslash escapes, None: all."""
        text, at = self._text, self._at
        character, following = text[at], text[at + 1 : at + 2]
        self._at += 1
        if character == "\\" and following and (escaped is None or following in escaped):
            self._at += 1
            if following != "\n":
                pieces.text.append(following)
        elif character == "\\" and text.startswith("\r\n", at + 1):
            self._at += 2
        elif character == "`":
            self._fail(
                "it has a backtick, and a shell would execute what follows: put the text in single quotes, or copy a "
                "command for PowerShell again 'as cURL (bash)'"
            )
        elif character == "$":
            self._variable(pieces)
        else:
            pieces.text.append(character)

    def _variable(self, pieces: _Pieces) -> None:
        text, at = self._text, self._at
        if (name := _NAME.match(text, at)) is not None:
            self._at = name.end()
            pieces.add(Variable(name[1] or name[2]))
        elif text.startswith("(", at):
            self._fail("it has $(…), which a shell would execute: replace it by its result")
        elif text.startswith("{", at):
            self._fail("it has ${…} with more than the name of a variable: replace it by its value")
        elif text[at : at + 1] and (text[at].isdigit() or text[at] in "?$!@*#-"):
            self._fail("it has a variable that only a shell has, such as $1 or $?: replace it by its value")
        else:
            pieces.text.append("$")

    def _ansi(self) -> str:
        """A text in ``$'…'``; bytes that are not UTF-8 become surrogates."""
        start = self._at + 2
        end = start
        while self._text[end : end + 1] != "'":
            if end >= len(self._text):
                self._fail("a quote ($') is not closed")
            end += 2 if self._text[end] == "\\" else 1
        content = self._text[start:end]
        self._at = end + 1
        found, done = bytearray(), 0
        for escape in _ANSI_ESCAPE.finditer(content):
            found += content[done : escape.start()].encode("utf-8", "surrogatepass") + _ansi_bytes(escape)
            done = escape.end()
        found += content[done:].encode("utf-8", "surrogatepass")
        if 0 in found:
            self._fail("$'…' holds a zero byte, which a shell cannot pass on", start)
        return _paired(found.decode("utf-8", "surrogateescape"))

    def _closing(self, quote: str) -> int:
        end = self._text.find(quote, self._at + 1)
        if end < 0:
            self._fail(f"a single quote ({quote}) is not closed")
        return end

    def _fail(self, problem: str, at: int | None = None) -> NoReturn:
        line = self._text.count("\n", 0, self._at if at is None else at) + 1
        where = f" (line {line})" if "\n" in self._text.strip() else ""
        raise refused(f"{problem}{where}")


def _ansi_bytes(escape: re.Match[str]) -> bytes:
    byte, short, long, octal, control, other = escape.groups()
    if byte is not None:
        return bytes([int(byte, 16)])
    if octal is not None:
        return bytes([int(octal, 8) & 0xFF])
    if (code := short or long) is not None:
        number = int(code, 16)
        return chr(number).encode("utf-8", "surrogatepass") if number < 0x110000 else b"\xff"
    if control is not None:
        return bytes([ord(control.upper()) & 0x1F]) if control.isascii() else b"\xff"
    text = _ANSI_LETTERS.get(other, other if other in "\\'\"?" else f"\\{other}")
    return text.encode("utf-8", "surrogatepass")


def _paired(text: str) -> str:
    """A text in which two escapes of UTF-16 are the character that they mean, as some browsers copy them."""
    if not re.search("[\udc80-\udcff]", text):
        return text
    data = text.encode("utf-8", "surrogateescape")
    pairs = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")
    joined = pairs.sub(
        lambda pair: (
            pair[0].decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass").decode("utf-16").encode()
        ),
        data,
    )
    return joined.decode("utf-8", "surrogateescape")
