"""Datasets to ask: sums, each worded once, and a target that the server's every answer holds."""

from __future__ import annotations

import json
from pathlib import Path

TARGET = "tok3"  # also a stream's answer holds it, whose first and last tokens are clock readings


def question(number: int) -> str:
    return f"What is the sum of {number} + 23?"


def write(path: Path, conversations: int, turns: int = 1) -> Path:
    """A dataset of evalkit's own shape."""
    with path.open("w") as file:
        for number in range(conversations):
            asked = [{"user": question(number * turns + turn), "target": TARGET} for turn in range(turns)]
            file.write(json.dumps({"id": f"sum-{number:07d}", "turns": asked}) + "\n")
    return path
