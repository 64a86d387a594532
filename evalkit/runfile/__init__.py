"""The SQLite run file: its tables, how turns come in, how others read it, scorings, transcripts, exports.

Files may come from strangers, so they are checked before they are read. What the numbers mean is for ``analysis``.
Start with ``store`` to write, ``reader`` to read; every table and migration is in ``schema``.
"""

__all__ = [
    "conversation_clusters",
    "exports",
    "file_names",
    "finished_turn",
    "output_files",
    "plain_transcripts",
    "query_arrays",
    "reader",
    "resume_command",
    "schema",
    "scorings",
    "store",
    "turn_columns",
]
