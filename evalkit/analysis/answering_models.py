"""Which models answered in a run, and which answers are from a fallback or a cache."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evalkit.client.model_names import is_another

MOST_NAMED = 10  # models and providers listed by name; others are counted
_MOST_ROWS = 10_000  # a run file may have a different name for every answer
_WITH_PROVENANCE = f"""
    SELECT json_extract(provenance, '$.model'), json_extract(provenance, '$.route'),
      json_extract(provenance, '$.provider'), json_extract(provenance, '$.fallback') NOT NULL,
      json_extract(provenance, '$.cache') NOT NULL, json_extract(provenance, '$.repeated_id') NOT NULL, count(*)
    FROM attempt WHERE provenance NOT NULL AND error_kind IS NULL GROUP BY 1, 2, 3, 4, 5, 6 LIMIT {_MOST_ROWS}"""  # noqa: S608
_FINGERPRINTS = """
    SELECT count(DISTINCT json_extract(provenance, '$.system_fingerprint')) FROM attempt
    WHERE provenance NOT NULL AND error_kind IS NULL"""
_ANSWERS = "SELECT count(*), count(provenance) FROM attempt WHERE error_kind IS NULL"


@dataclass(frozen=True, slots=True)
class AnsweringModels:
    """Which models answered, according to answers and gateways, over all successful requests, including tool rounds.

    Parameters
    ----------
    asked : str
        The requested model.
    answers : int
    models : dict
        Name to number of answers, the most frequent first, 10 at most. An answer without a model name counts under the
        requested model, and one through a gateway under the name that the gateway reports, if it is another one.
    others : int
        Answers of other models.
    another : int
        Answers that name another model than the requested one: see ``model_names.is_another``.
    several : bool
        The answers name models that are not versions of one another.
    fallbacks : int
        Answers that a gateway reports to be from a fallback.
    cached : int
        Answers that a header reports to be from a cache.
    repeated_ids : int
        Answers with the id and text of an earlier one.
    not_independent : int
        Answers that are cached or repeated or both.
    providers : dict
        As ``models``, where answers name one.
    fingerprints : int
        Number of different values of ``system_fingerprint``.
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
    """Count the answers of a run by model and origin; ``info`` is from ``store.run_info``."""
    asked = str(info["endpoint"].get("model", ""))
    answers, with_provenance = connection.execute(_ANSWERS).fetchone()
    if not with_provenance:
        return AnsweringModels(asked, answers, {asked: answers} if answers else {})
    models, providers = Counter[str](), Counter[str]()
    counts = Counter[str]()
    for model, route, provider, fallback, cached, repeated, count in connection.execute(_WITH_PROVENANCE):
        models[str(route or model or asked)] += count
        if provider is not None:
            providers[str(provider)] += count
        named = route if model is None and route is not None and fallback else model
        for name, true in (
            ("another", named is not None and is_another(asked, str(named))), ("fallbacks", fallback),
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
    """Whether one of them is another model than the first; a name of a weights file is compared literally."""
    return any(is_another(names[0], name) and is_another(name, names[0]) for name in names[1:])
