"""Files of the package that pages are made of: scripts and styles, each in the folder ``static`` of its subject."""

from importlib import resources


def static_file(folder: str, name: str) -> str:
    """The text of a file in the folder ``static`` of a folder of the package."""
    return resources.files("evalkit").joinpath(folder, "static", name).read_text(encoding="utf-8")
