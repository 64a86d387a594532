"""Compares the requested model name with the one that an answer reports."""

from __future__ import annotations

import re

_WEIGHTS = re.compile(r"\.(?:gguf|ggml|bin|safetensors|pth?|onnx|mlmodel)$")
# a region and a vendor before the name, as "us.anthropic.claude-…"; not the "gpt-3." of "gpt-3.5"
_VENDOR = re.compile(r"^(?:[a-z]+\.)+(?=[a-z])")
# how a router chooses among the providers of a model
_ROUTING = re.compile(r":(?:free|paid|nitro|floor|online|exacto|extended|beta)$")
_DATE = r"\d{4}-\d{2}-\d{2}|\d{2}-\d{4}|\d{2}-\d{2}|\d{3,8}"
_VERSION = re.compile(rf"(?:[-_@:](?:{_DATE}|v\d+(?:[.:]\d+)*|latest))+$")


def names_another_model(requested: str, reported: str) -> bool:
    """Whether an answer reports another model than the requested one.

    A route before the name is ignored (``openai/gpt-4o``), and so is a version that only one of the names has
    (``gpt-4o-2024-08-06``, ``llama3:latest``). A server of one model may report the file of its weights, whatever
    name is requested; two file names are compared.

    Parameters
    ----------
    requested, reported : str

    Examples
    --------
    >>> names_another_model("gpt-4o", "gpt-4o-2024-08-06")
    False
    >>> names_another_model("gpt-4o", "gpt-4o-mini")
    True
    """
    if _is_file(reported) and not _is_file(requested):
        return False
    first, second = _parts(requested), _parts(reported)
    return first[0] != second[0] or ("" not in (first[1], second[1]) and first[1] != second[1])


def _is_file(name: str) -> bool:
    return bool(_WEIGHTS.search(name.lower())) or name.startswith(("/", "./", "~")) or "\\" in name


def _parts(name: str) -> tuple[str, str]:
    """A name without its route, and its version; empty: it has none, or it is ``latest``."""
    name = re.split(r"[/\\]", name.strip().lower().rstrip("/\\"))[-1]
    name = _VENDOR.sub("", _ROUTING.sub("", _WEIGHTS.sub("", name)))
    found = _VERSION.search(name)
    version = found[0] if found else ""
    # Azure writes gpt-35-turbo for gpt-3.5-turbo
    base = name.removesuffix(version).replace(".", "")
    return base, re.sub(r"[-_@:]latest|[-_@:.]", "", version)
