"""A run whose own scorer finds nothing right."""

from pathlib import Path

from runfiles import S, T, write


def nothing_right(path: Path) -> Path:
    """Two conversations of three turns with the targets 35, 276, 311; by the run none of their turns is right."""
    answers = ["It is 35.", "276", "I do not know.", "It's 36.", "The product is 276", "311"]
    turns = [T("ab"[n // 3], n % 3 + 1, text=text, score=0.0, scorer="exact") for n, text in enumerate(answers)]
    return write(path, [S(turns)])
