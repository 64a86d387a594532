"""Records of a CSV file: decoded, separated as the file does it, each with its line and limited in size."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain

from evalkit.datasets.csv_dialect import delimiter_of, separator_line
from evalkit.datasets.decoded_lines import DecodedLines
from evalkit.datasets.file_lines import LONGEST_LINE
from evalkit.errors import DatasetError


def csv_records(lines: DecodedLines, column: str) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the number of its first line.

    Parameters
    ----------
    lines : DecodedLines
    column : str
        A column that the header should have: what separates the cells is what makes it one.

    Raises
    ------
    DatasetError
        With the line.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))  # a limit of the whole process
    texts = iter(lines)
    skipped = 0
    header: list[str] = []
    delimiter = None
    for text in texts:
        if not header and delimiter is None and (text.isspace() or (delimiter := separator_line(text))):
            skipped += 1
            continue
        header.append(text)
        if "".join(header).count('"') % 2 == 0:
            break
    delimiter = delimiter or delimiter_of("".join(header), column)
    reader = csv.reader(chain(header, texts), strict=True, delimiter=delimiter)
    while True:
        line = reader.line_num + 1 + skipped
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DatasetError(f"the record that starts here is not valid CSV: {error}", line=line) from None
        if any(cell.strip() for cell in cells):
            yield line, cells
