"""Files to conversations: JSON Lines, JSON lists and CSV, with rows in evalkit's own format or in one that other tools
use. Errors name file, line and field. A dataset is data: nothing in it names code. Start with ``reader``; a new row
format is an entry in ``row_formats``, and ``csv_rows`` maps the columns of a CSV file to fields.
"""

__all__ = ["field_checks", "file_lines", "native_rows", "reader"]
