"""Which models answered a run, and which answers came from a fallback or a cache."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evalkit.client.model_names import names_another_model

MOST_NAMED = 10  # models and providers that are named; others are counted
_KINDS = 10_000  # a run file may hold a name of its own for every answer
_NOTED = f"""
    SELECT json_extract(provenance, '$.model'), json_extract(provenance, '$.route'),
      json_extract(provenance, '$.provider'), json_extract(provenance, '$.fallback') NOT NULL,
      json_extract(provenance, '$.cache') NOT NULL, json_extract(provenance, '$.repeated_id') NOT NULL, count(*)
    FROM attempt WHERE provenance NOT NULL AND error_kind IS NULL GROUP BY 1, 2, 3, 4, 5, 6 LIMIT {_KINDS}"""  # noqa: S608
_FINGERPRINTS = """
    SELECT count(DISTINCT json_extract(provenance, '$.system_fingerprint')) FROM attempt
    WHERE provenance NOT NULL AND error_kind IS NULL"""
_ANSWERS = "SELECT count(*), count(provenance) FROM attempt WHERE error_kind IS NULL"


@dataclass(frozen=True, slots=True)
class AnsweringModels:
    """Which models answered, as far as answers and gateways say; every good request counts, also between tool rounds.

    Parameters
    ----------
    asked : str
        The model that was asked for.
    answers : int
    models : dict
        Name to number of answers, the most frequent first, 10 at most. An answer that names no model counts under the
        one that was asked for; one through a gateway under the name that the gateway gives, where that is another.
    others : int
        Answers of models that are not among those.
    another : int
        Answers that name another model than the one that was asked for: see ``model_names.names_another_model``.
    several : bool
        They name models of which one is not another's version.
    fallbacks : int
        Answers of which a gateway says that they come from a fallback.
    cached : int
        Answers of which a header says that they come from a cache.
    repeated_ids : int
        Answers with the id and the text of an earlier one.
    not_independent : int
        Those that are cached, or repeated, or both.
    providers : dict
        As ``models``, where answers name one.
    fingerprints : int
        Different values of ``system_fingerprint``.
    """

    asked: str
    answers: int
    models: dict[str, int]
    others: int = 0
    another: int = 0
    several: bool = False
    fallbacks: int = 0
    cached: int = 0
    repeated_ids: int = 0
    not_independent: int = 0
    providers: dict[str, int] = field(default_factory=dict)
    fingerprints: int = 0

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        names = (
            "asked", "answers", "models", "others", "another", "several", "fallbacks", "cached", "repeated_ids",
            "not_independent", "providers", "fingerprints",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}


def answering_models(connection: sqlite3.Connection, info: Mapping[str, Any]) -> AnsweringModels:
    """Count where the answers of a run came from; ``info`` as ``store.run_info`` tells."""
    asked = str(info["endpoint"].get("model", ""))
    answers, noted = connection.execute(_ANSWERS).fetchone()
    if not noted:
        return AnsweringModels(asked, answers, {asked: answers} if answers else {})
    models, providers = Counter[str](), Counter[str]()
    counts = Counter[str]()
    for model, route, provider, fallback, cached, repeated, count in connection.execute(_NOTED):
        models[str(route or model or asked)] += count
        if provider is not None:
            providers[str(provider)] += count
        named = route if model is None and route is not None and fallback else model
        for name, true in (
            ("another", named is not None and names_another_model(asked, str(named))), ("fallbacks", fallback),
            ("cached", cached), ("repeated_ids", repeated), ("not_independent", cached or repeated),
        ):  # fmt: skip
            counts[name] += count if true else 0
    (fingerprints,) = connection.execute(_FINGERPRINTS).fetchone()
    if (rest := answers - models.total()) > 0:
        models[asked] += rest
    named_models = dict(models.most_common(MOST_NAMED))
    return AnsweringModels(
        asked,
        answers,
        named_models if answers else {},
        models.total() - sum(named_models.values()),
        several=_are_several(list(models)),
        providers=dict(providers.most_common(MOST_NAMED)),
        fingerprints=fingerprints,
        **counts,
    )


def _are_several(names: list[str]) -> bool:
    """Whether one of them is another model than the first; a file of weights is compared as the name it is."""
    return any(names_another_model(names[0], name) and names_another_model(name, names[0]) for name in names[1:])
