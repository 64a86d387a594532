"""Scripts and styles of HTML pages, read from the package; each is in the folder ``static`` of its subject."""

from importlib import resources


def static_file(folder: str, name: str) -> str:
    """The text of the file ``FOLDER/static/NAME`` of the package."""
    return resources.files("evalkit").joinpath(folder, "static", name).read_text(encoding="utf-8")
