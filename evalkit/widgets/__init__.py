"""Widgets for JupyterLab that show runs, transcripts and endpoints, and text where widgets are not available.

Scripts and styles are in ``static``; nothing is loaded from elsewhere. How a stop button reaches Python while a cell
runs is in ``button_comm``. Start with ``display``.
"""

__all__ = ["display"]
