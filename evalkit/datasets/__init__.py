"""Files to conversations: JSON, CSV and Parquet, with rows in evalkit's own format or in one that other tools use.
Errors name file, line and field. A dataset is data: nothing in it names code. Start with ``reader``; ``dataset_file``
opens a file and recognises its form, ``raw_rows`` reads its rows. ``row_formats`` is the table of row formats, and the
files that end with ``_rows`` read one family each; ``column_map`` gives fields to columns and keys of other names.
``content_parts`` reads images and other parts of a message, ``part_files`` the files beside a dataset that they name.
"""

__all__ = [
    "content_parts",
    "contents",
    "dataset_file",
    "dry_run",
    "field_checks",
    "file_lines",
    "native_rows",
    "part_files",
    "reader",
]
