"""The checkup of its endpoint that a run was given: the verdicts of all probes, kept in the settings of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.checkup.probes.verdicts import UNSUPPORTED, VERDICTS
from evalkit.endpoint import Endpoint
from evalkit.errors import SettingsError
from evalkit.runfile import json_checks
from evalkit.runfile.table_checks import short

SETTING = "checkup"
_MOST_BYTES = 64 * 2**20
_MOST_CHECKS = 100  # of one file
_LONGEST = 1_000  # characters of what came
_ASK = "make one with 'evalkit check -o FILE.json', for the endpoint and model of the run"


class Found(NamedTuple):
    """What a probe found: one of ``verdicts.VERDICTS``, and what came, in words that may quote the endpoint."""

    verdict: str
    came: str


@dataclass(frozen=True, slots=True)
class KeptCheckup:
    """The checkup of a run.

    Parameters
    ----------
    checked_at : str
        ISO time, UTC.
    evalkit : str
        The version that checked.
    seconds : float
        How long the check took.
    calls_made : int
        Requests sent.
    tokens : int or None
        Sent and received, as the endpoint counts them; None: it counts none.
    probes : mapping of str to Found
        By the name of the probe; the names may be those of another version.
    concerns : tuple of str
        Names of the probes whose verdict touches the run; see ``analysis.checkup_concerns``.
    """

    checked_at: str
    evalkit: str
    seconds: float
    calls_made: int
    tokens: int | None
    probes: Mapping[str, Found]
    concerns: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many probes have each verdict."""
        verdicts = [found.verdict for found in self.probes.values()]
        return {verdict: verdicts.count(verdict) for verdict in VERDICTS}

    def stored(self) -> dict[str, Any]:
        """As the settings of a run hold it."""
        probes = {name: found._asdict() for name, found in self.probes.items()}
        parts = ("checked_at", "evalkit", "seconds", "calls_made", "tokens")
        return {name: getattr(self, name) for name in parts} | {"probes": probes, "concerns": list(self.concerns)}

    def to_json(self) -> dict[str, Any]:
        """``checkup`` of ``--json`` of a run."""
        concerns = [{"probe": name, **self.probes[name]._asdict()} for name in self.concerns]
        return {
            "checked_at": self.checked_at, "evalkit": self.evalkit, "counts": self.counts, "concerns": concerns,
        }  # fmt: skip


def of_settings(settings: Mapping[str, Any]) -> KeptCheckup | None:
    """The checkup in the settings of a run; None: it was given none."""
    stored = settings.get(SETTING)
    return None if stored is None else _kept(stored)


def refuses_usage(settings: Mapping[str, Any]) -> bool:
    """Whether requests of a run never ask for token counts of streams, since its endpoint refuses ``stream_options``.

    The settings are those of the run.
    """
    probes = (settings.get(SETTING) or {}).get("probes", {})
    return "stream_usage" in probes and probes["stream_usage"]["verdict"] == UNSUPPORTED


def take(checkup: Any, endpoint: Endpoint | None) -> KeptCheckup | None:
    """The checkup of an endpoint, to be kept.

    Parameters
    ----------
    checkup : path-like or Checkup
        A file that ``evalkit check -o FILE.json`` wrote, also with ``--against``; or what ``check_endpoint`` returned.
    endpoint : Endpoint or None
        None: it is not known yet, and only the file is checked.

    Raises
    ------
    SettingsError
        There is no such file, it is no checkup, or it is of another endpoint or model.
    """
    where, value = ("the checkup", checkup.to_json()) if hasattr(checkup, "to_json") else _read(Path(checkup))
    checks = value.get("checks", [value]) if isinstance(value, dict) and value.get("checkup") == 1 else None
    if not isinstance(checks, list) or not 1 <= len(checks) <= _MOST_CHECKS:
        raise SettingsError(f"{where} is not a checkup: {_ASK}")
    kept = [(one, _checked(where, one)) for one in checks]
    if endpoint is None:
        return None
    for one, checkup in kept:
        if _is_of(one, endpoint):
            return checkup
    others = " and ".join(f"{short(one.get('model'))} at {short(one.get('base_url'))}" for one, _ in kept)
    raise SettingsError(
        f"{where} is of {others}, and the run is against {short(endpoint.model)} at {short(endpoint.base_url)}: {_ASK}"
    )


def _read(path: Path) -> tuple[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"the checkup {path} cannot be read ({error.strerror}): {_ASK}") from None
    try:
        return str(path), json_checks.read(text) if len(text) <= _MOST_BYTES else None
    except (ValueError, TypeError, RecursionError):
        raise SettingsError(f"{path} is not a checkup, which is JSON: {_ASK}") from None


def _checked(where: str, one: Any) -> KeptCheckup:
    """The checkup in an object of ``evalkit check --json``."""
    try:
        parts = {name: one[name] for name in ("checked_at", "evalkit", "seconds", "calls_made")}
        probes = {each["name"]: {"verdict": each["verdict"], "came": each["came"][:_LONGEST]} for each in one["probes"]}
        stored = {**parts, "tokens": one["tokens"], "probes": probes, "concerns": []}
    except (KeyError, TypeError, AttributeError):
        stored = None
    if not json_checks.is_checkup(stored):
        raise SettingsError(f"{where} is damaged or was changed: {_ASK}")
    return _kept(stored)


def _kept(stored: Mapping[str, Any]) -> KeptCheckup:
    probes = {name: Found(**found) for name, found in stored["probes"].items()}
    return KeptCheckup(**{**stored, "probes": probes, "concerns": tuple(stored["concerns"])})


def _is_of(one: Mapping[str, Any], endpoint: Endpoint) -> bool:
    """Whether a checkup is of this endpoint; the embedded model has another port each time."""
    embedded = one.get("source") == endpoint.source == "embedded"
    return one.get("model") == endpoint.model and (embedded or one.get("base_url") == endpoint.base_url)
