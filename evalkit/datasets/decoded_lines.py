"""Lines of a file as text: in UTF-8 or, where they are not, in the encoding that they look like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from evalkit.datasets.character_sets import NAMES, SAVE_AS_UTF8, character_set
from evalkit.datasets.file_lines import LONGEST_LINE, Line, why_not_text
from evalkit.errors import DatasetError

_SAMPLE_LINES = 1_000
_SAMPLE_BYTES = 20_000  # of the lines that are not ASCII


class DecodedLines:
    """Lines of a file as text.

    The first line that is not UTF-8 decides: if all before it are ASCII, the encoding of the rest is found from it and
    from the lines after it.

    Parameters
    ----------
    lines : iterable
        From ``file_lines.read_lines``.
    notes : list of str, optional
        Gets a sentence that says how the file was read, if it is not in UTF-8.

    Attributes
    ----------
    begin, end : int
        Bytes from the start of the file, to where a row began and to the end of the last line. A row that has more than
        10 MB between them is refused; who reads rows sets ``begin``.
    """

    def __init__(self, lines: Iterable[Line | DatasetError], notes: list[str] | None = None) -> None:
        self._lines = iter(lines)
        self._notes = [] if notes is None else notes
        self.begin = self.end = 0

    def __iter__(self) -> Iterator[str]:
        """The lines.

        Raises
        ------
        DatasetError
            With the line.
        """
        ascii_only = True
        for line in self._checked():
            try:
                text = line.raw.decode()
            except UnicodeDecodeError:
                if not ascii_only:
                    raise DatasetError(str(why_not_text(line.raw, line.offset)), line=line.number) from None
                yield from self._others(line)
                return
            ascii_only = ascii_only and text.isascii()
            if "\0" in text:
                raise DatasetError(str(why_not_text(line.raw, line.offset)), line=line.number)
            yield text

    def _checked(self) -> Iterator[Line]:
        for line in self._lines:
            if isinstance(line, DatasetError):
                raise line
            self.end = line.offset + len(line.raw)
            if self.end - self.begin > LONGEST_LINE:
                raise DatasetError(
                    f"the row has more than {LONGEST_LINE:,} bytes up to here, which is the limit: is a quotation mark "
                    "not closed, or an id given to too many records?",
                    line=line.number,
                )
            yield line

    def _others(self, first: Line) -> Iterator[str]:
        """The rest of the lines, the first of which is not UTF-8."""
        ahead: list[Line | DatasetError] = [first]
        sample = first.raw
        for line in islice(self._lines, _SAMPLE_LINES):
            ahead.append(line)
            if isinstance(line, Line) and not line.raw.isascii():
                sample += line.raw
            if len(sample) > _SAMPLE_BYTES:
                break
        try:
            codec = character_set(sample)
        except DatasetError as error:
            raise DatasetError(error.problem, line=first.number) from None
        self._lines = chain(ahead, self._lines)
        name = NAMES[codec]
        example = next((word for word in first.raw.decode(codec, "replace").split() if not word.isascii()), "")[:40]
        self._notes.append(
            f"line {first.number} is not UTF-8: the file is read as {name}, {example!r} for example. "
            f"If that is wrong, {SAVE_AS_UTF8}"
        )
        for line in self._checked():
            try:
                yield line.raw.decode(codec)
            except UnicodeDecodeError as error:
                raise DatasetError(
                    f"byte {line.offset + error.start} of the file, 0x{line.raw[error.start]:02X}, is not {name}, "
                    f"which the lines before look like: {SAVE_AS_UTF8}",
                    line=line.number,
                ) from None
