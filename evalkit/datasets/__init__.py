"""Files to conversations: JSON Lines, JSON lists and CSV, in evalkit's own form or in one of the forms that others
use. Errors name file, line and field. A dataset is data: nothing in it names code. Start with ``reader``; a new
form is added in ``row_formats``.
"""

__all__ = ["file_lines", "native_rows", "reader"]
