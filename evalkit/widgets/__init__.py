"""Runs, transcripts and endpoints in JupyterLab, and the same in words where nothing can be drawn.

Scripts and styles are in ``static`` and loaded from nowhere else. A cell's stop button is in ``button_comm``. Start
with ``display``.
"""

__all__ = ["display"]
