"""Where an answer comes from: the model it names, and the caches, fallbacks and routes that gateways report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from evalkit.client.model_names import names_another_model
from evalkit.record import Answer

MOST_IDS = 32_768  # answers that are remembered, and up to as many before them
_LONGEST = 200  # characters of one text
_HIT = re.compile(r"hit(?![a-z]|-for)", re.IGNORECASE)  # Varnish: "hit-for-pass" is not a hit
_NO = ("", "0", "no", "none", "null", "false", "off")
# a cached prompt prefix is not a cached answer
_NOT_THE_ANSWER = re.compile(r"control|prompt|prefix|kv|token|creation")
_NEVER_A_FALLBACK = re.compile(r"max|allow|enabled|config|models|policy")
# headers that name the model behind a gateway, which may write the requested name into the answer
_ROUTES = ("x-litellm-model-name", "x-kong-llm-model", "ngrok-aig-model", "x-bifrost-resolved-model")
_PROVIDERS = ("x-portkey-provider", "x-portkey-last-used-option-index", "x-bifrost-provider", "cf-aig-provider")


def has_provenance(event: Mapping[str, Any]) -> bool:
    """Whether an event of a stream, or a whole answer, says where it comes from."""
    return bool(event.get("model") or event.get("id") or event.get("system_fingerprint") or event.get("provider"))


def of_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Where an answer comes from by its headers, whose names are in lower case.

    ``cache`` and ``fallback`` hold the header that reports it. Any header with a suitable name and value is used, since
    gateways and caches are many and name their headers similarly.
    """
    found: dict[str, str] = {}
    for name, kind in _relevant(tuple(headers)):
        value = headers[name]
        if _applies(kind, name, value):
            found.setdefault(kind, _text(value if kind in ("route", "provider") else f"{name}: {value}"))
    return found


@lru_cache(maxsize=64)
def _relevant(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The headers that may report something, with its kind; cached, since an endpoint repeats its headers."""
    return tuple((name, kind) for name in names if (kind := _kind(name)) is not None)


def _kind(name: str) -> str | None:
    """What a header may report by its name; None: nothing, like nearly all headers."""
    if name == "age" or ("cache" in name and not _NOT_THE_ANSWER.search(name)):
        return "cache"
    if name == "cf-aig-step" or ("fallback" in name and not _NEVER_A_FALLBACK.search(name)):
        return "fallback"
    return "route" if name in _ROUTES else "provider" if name in _PROVIDERS else None


def _applies(kind: str, name: str, value: str) -> bool:
    if kind == "cache":
        return _is_hit(name, value)
    return kind != "fallback" or value.strip().lower() not in _NO


class ProvenanceTracker:
    """Records where the answers of a session come from, if that differs from what was requested.

    Parameters
    ----------
    model : str
        The requested model.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._fingerprint: str | None = None
        self._named: tuple[Any, ...] = ()  # what the previous answer named
        self._noted: dict[str, str] = {}  # and what is to be stored of it
        self._seen: dict[int, int] = {}
        self._seen_before: dict[int, int] = {}
        self._ids_are_unique = True

    def note(self, body: Mapping[str, Any], headers: Mapping[str, str], answer: Answer | None) -> dict[str, str] | None:
        """The provenance to store with an answer; None: nothing, as for nearly all answers.

        Parameters
        ----------
        body : mapping
            The answer, or the first event of its stream that says where it comes from; empty: none does.
        headers : mapping
        answer : Answer or None
            None: it is not a good one.

        Returns
        -------
        dict or None
            ``model``: the name in the answer, if it is not the requested one; ``route``: the model that a gateway
            names, if it is another; ``system_fingerprint``: if it differs from that of the previous answer;
            ``provider``; ``cache``, ``fallback``: the header that reports it; ``repeated_id``: the id, if an earlier
            answer has the same id and text.
        """
        provenance = of_headers(headers)
        if "route" in provenance and not names_another_model(self._model, provenance["route"]):
            del provenance["route"]
        if not body:
            return provenance or None
        named = (body.get("model"), body.get("provider"), body.get("system_fingerprint"))
        provenance |= self._noted if named == self._named else self._note_names(named)
        name = body.get("id")
        if name and answer is not None and isinstance(name, str) and self._is_repeated(name, answer):
            provenance["repeated_id"] = _text(name)
        return provenance or None

    def _note_names(self, named: tuple[Any, ...]) -> dict[str, str]:
        """What to store of an answer that names something else than the previous one."""
        model, provider, fingerprint = named
        self._named, self._noted = named, {}
        if model != self._model and model and isinstance(model, str):
            self._noted["model"] = _text(model)
        if provider and isinstance(provider, str):
            self._noted["provider"] = _text(provider)
        if fingerprint == self._fingerprint or not (fingerprint and isinstance(fingerprint, str)):
            return self._noted
        self._fingerprint = fingerprint
        return {**self._noted, "system_fingerprint": _text(fingerprint)}

    def _is_repeated(self, name: str, answer: Answer) -> bool:
        """Whether this answer was received before, by its id; False if different answers share an id."""
        if not self._ids_are_unique:
            return False
        calls = answer.tool_calls
        key = hash(name)
        text = hash((answer.text, *((call.name, call.arguments) for call in calls)) if calls else answer.text)
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
    """Untrusted text, shortened and without unpaired surrogates."""
    return text[:_LONGEST].encode("utf-8", "replace").decode()
