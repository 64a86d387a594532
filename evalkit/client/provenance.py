"""Where an answer came from: the model that it names, and what gateways say of caches, fallbacks and routes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from evalkit.client.model_names import is_another
from evalkit.record import Answer

MOST_IDS = 32_768  # answers that are remembered, and up to as many before them
_LONGEST = 200  # characters of one text
_HIT = re.compile(r"hit(?![a-z]|-for)", re.IGNORECASE)  # Varnish: "hit-for-pass" was none
_NO = ("", "0", "no", "none", "null", "false", "off")
# a prompt whose beginning was computed before is answered afresh
_NOT_THE_ANSWER = re.compile(r"control|prompt|prefix|kv|token|creation")
_NEVER_A_FALLBACK = re.compile(r"max|allow|enabled|config|models|policy")
# headers that name the model behind a gateway, which may write the name that was asked for into the answer
_ROUTES = ("x-litellm-model-name", "x-kong-llm-model", "ngrok-aig-model", "x-bifrost-resolved-model")
_PROVIDERS = ("x-portkey-provider", "x-portkey-last-used-option-index", "x-bifrost-provider", "cf-aig-provider")


def is_told(event: Mapping[str, Any]) -> bool:
    """Whether an event of a stream, or a whole answer, names where it comes from."""
    return bool(event.get("model") or event.get("id") or event.get("system_fingerprint") or event.get("provider"))


def of_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What the headers of an answer say of it, by names in lower case.

    ``cache`` and ``fallback`` hold the header that says so. Any header will do whose name and value do: gateways and
    caches are many, and their names for this are alike.
    """
    told: dict[str, str] = {}
    for name, kind in _telling(tuple(headers)):
        value = headers[name]
        if _says_so(kind, name, value):
            told.setdefault(kind, _text(value if kind in ("route", "provider") else f"{name}: {value}"))
    return told


@lru_cache(maxsize=64)
def _telling(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Those of an answer's headers that may tell something, with what; an endpoint sends the same ones each time."""
    return tuple((name, kind) for name in names if (kind := _kind(name)) is not None)


def _kind(name: str) -> str | None:
    """What a header may tell; None: nothing, as nearly every one."""
    if name == "age" or ("cache" in name and not _NOT_THE_ANSWER.search(name)):
        return "cache"
    if name == "cf-aig-step" or ("fallback" in name and not _NEVER_A_FALLBACK.search(name)):
        return "fallback"
    return "route" if name in _ROUTES else "provider" if name in _PROVIDERS else None


def _says_so(kind: str, name: str, value: str) -> bool:
    if kind == "cache":
        return _is_hit(name, value)
    return kind != "fallback" or value.strip().lower() not in _NO


class Provenance:
    """Notes where the answers of a session come from, as far as that is not as it was asked for.

    Parameters
    ----------
    model : str
        The one that is asked for.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._fingerprint: str | None = None
        self._seen: dict[int, int] = {}
        self._seen_before: dict[int, int] = {}
        self._ids_are_unique = True

    def note(self, body: Mapping[str, Any], headers: Mapping[str, str], answer: Answer | None) -> dict[str, str] | None:
        """What to keep of an answer; None: nothing, as of nearly every one.

        Parameters
        ----------
        body : mapping
            The answer, or the first event of its stream that names where it comes from; empty: none does.
        headers : mapping
        answer : Answer or None
            None: it is no good one.

        Returns
        -------
        dict or None
            ``model``: as it names itself, where that is not the name that was asked for; ``route``: the model that a
            gateway names, where that is another; ``system_fingerprint``: where it is not that of the answer before;
            ``provider``; ``cache``, ``fallback``: the header that says so; ``repeated_id``: of an earlier answer with
            the same text.
        """
        kept = of_headers(headers)
        if "route" in kept and not is_another(self._model, kept["route"]):
            del kept["route"]
        if not body:
            return kept or None
        model, fingerprint = body.get("model"), body.get("system_fingerprint")
        if model != self._model and model and isinstance(model, str):
            kept["model"] = _text(model)
        if (provider := body.get("provider")) and isinstance(provider, str):
            kept["provider"] = _text(provider)
        if fingerprint != self._fingerprint and fingerprint and isinstance(fingerprint, str):
            self._fingerprint = fingerprint
            kept["system_fingerprint"] = _text(fingerprint)
        if (
            answer is not None
            and (name := body.get("id"))
            and isinstance(name, str)
            and self._is_repeated(name, answer)
        ):
            kept["repeated_id"] = _text(name)
        return kept or None

    def _is_repeated(self, name: str, answer: Answer) -> bool:
        """Whether this answer has come before, by its id; not where answers that differ have one id."""
        if not self._ids_are_unique:
            return False
        calls = tuple((call.name, call.arguments) for call in answer.tool_calls) if answer.tool_calls else ()
        key, text = hash(name), hash((answer.text, calls))
        earlier = self._seen.get(key, self._seen_before.get(key))
        if earlier is None:
            if len(self._seen) >= MOST_IDS:
                self._seen, self._seen_before = {}, self._seen
            self._seen[key] = text
            return False
        if earlier != text:
            self._ids_are_unique = False
            self._seen, self._seen_before = {}, {}
        return earlier == text


def _is_hit(name: str, value: str) -> bool:
    if name == "age":
        return value.isdecimal() and value.strip("0") != ""
    if name == "x-litellm-cache-key":  # sent with answers from its cache alone
        return bool(value)
    if name.endswith(("hit", "hits")):
        return any(part.strip().lower() not in (*_NO, "miss") for part in value.split(","))
    return _HIT.search(value) is not None


def _text(text: str) -> str:
    """A text from a stranger, cut, and free of halves of characters."""
    return text[:_LONGEST].encode("utf-8", "replace").decode()
