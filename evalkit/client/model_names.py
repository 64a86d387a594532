"""Whether two names are names of one model: what was asked for, and what an answer says it is from."""

from __future__ import annotations

import re

_WEIGHTS = re.compile(r"\.(?:gguf|ggml|bin|safetensors|pth?|onnx|mlmodel)$")
# a region and a vendor before the name, as "us.anthropic.claude-…"; not the "gpt-3." of "gpt-3.5"
_VENDOR = re.compile(r"^(?:[a-z]+\.)+(?=[a-z])")
# how a router is to choose among those who serve a model
_ROUTING = re.compile(r":(?:free|paid|nitro|floor|online|exacto|extended|beta)$")
_DATE = r"\d{4}-\d{2}-\d{2}|\d{2}-\d{4}|\d{2}-\d{2}|\d{3,8}"
_VERSION = re.compile(rf"(?:[-_@:](?:{_DATE}|v\d+(?:[.:]\d+)*|latest))+$")


def is_another(asked: str, told: str) -> bool:
    """Whether an answer names another model than the one that was asked for.

    A route before the name says nothing (``openai/gpt-4o``), nor does a version that only one of the two has
    (``gpt-4o-2024-08-06``, ``llama3:latest``). A file of weights is what a server of one model calls it, whatever it
    is asked for; two files are compared.

    Parameters
    ----------
    asked, told : str

    Examples
    --------
    >>> is_another("gpt-4o", "gpt-4o-2024-08-06")
    False
    >>> is_another("gpt-4o", "gpt-4o-mini")
    True
    """
    if _is_file(told) and not _is_file(asked):
        return False
    first, second = _parts(asked), _parts(told)
    return first[0] != second[0] or ("" not in (first[1], second[1]) and first[1] != second[1])


def _is_file(name: str) -> bool:
    return bool(_WEIGHTS.search(name.lower())) or name.startswith(("/", "./", "~")) or "\\" in name


def _parts(name: str) -> tuple[str, str]:
    """A name without its route, and its version; empty: it has none, or asks for the latest."""
    name = re.split(r"[/\\]", name.strip().lower().rstrip("/\\"))[-1]
    name = _VENDOR.sub("", _ROUTING.sub("", _WEIGHTS.sub("", name)))
    found = _VERSION.search(name)
    version = found[0] if found else ""
    # Azure writes gpt-35-turbo for gpt-3.5-turbo
    base = name.removesuffix(version).replace(".", "")
    return base, re.sub(r"[-_@:]latest|[-_@:.]", "", version)
