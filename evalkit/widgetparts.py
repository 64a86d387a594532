"""Scripts and style of the widgets: files beside this one, loaded from nowhere else."""

from __future__ import annotations

from importlib import resources


def script(name: str) -> str:
    """A widget's module, with what all widgets share in front of it."""
    return asset("widgets.js") + asset(name)


def style() -> str:
    """The style that all widgets share."""
    return asset("widgets.css")


def asset(name: str) -> str:
    """A file of the package."""
    return resources.files("evalkit").joinpath(name).read_text(encoding="utf-8")
