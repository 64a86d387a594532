"""Reports of runs: one HTML file, or Markdown for a pull request.

The page loads nothing, and untrusted text is never markup. ``run_contents`` has what both forms show of a run.
Scripts and styles are in ``static``. Start with ``html_report``; the list of transcripts, which a widget shows too, is
in ``transcript_browser``.
"""

__all__ = [
    "checkup_markdown", "comparison_markdown", "html_elements", "html_report", "transcript_browser", "transcript_data",
]  # fmt: skip
