"""Runs in one HTML file, or in Markdown for a pull request.

The page loads nothing from elsewhere, and text from strangers is never markup. ``run_contents`` says what is told of
a run, whatever its form. Scripts and styles are in ``static``. Start with ``html_report``.
"""

__all__ = ["html_report"]
