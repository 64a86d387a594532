"""The SQLite run file: its tables, writing and reading it, scorings, transcripts and exports.

Files may come from strangers, so they are checked before they are read. What the numbers mean is in ``analysis``.
Start with ``store`` to write, ``reader`` to read; the tables are in ``migrations``, their columns in ``schema``.
"""

__all__ = [
    "conversation_clusters",
    "corrected_targets",
    "exports",
    "file_names",
    "finished_turn",
    "kept_checkup",
    "output_files",
    "plain_text",
    "plain_transcripts",
    "query_arrays",
    "raised_limits",
    "reader",
    "reasoning_only",
    "record_rows",
    "request_messages",
    "resume_command",
    "schema",
    "scorings",
    "store",
    "transcripts",
    "trusted_endpoint",
    "turn_columns",
]
