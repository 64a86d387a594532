"""The checkup of its endpoint that a run was given: the verdicts of all probes, kept in the settings of the run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.checkup.probes.verdicts import UNSUPPORTED, VERDICTS
from evalkit.endpoint import Endpoint
from evalkit.errors import SettingsError
from evalkit.runfile import json_checks
from evalkit.runfile.table_checks import short

SETTING = "checkup"
OPTIONS = "stream_options"  # the concern about a parameter of the run that the probe ``stream_usage`` found refused
_USAGE = "stream_usage"
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
        Names of the probes whose verdict touches the run, and ``OPTIONS``; see ``analysis.checkup_concerns``.
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

    @property
    def refuses_options(self) -> bool:
        """Whether ``stream_options`` was refused."""
        return _USAGE in self.probes and self.probes[_USAGE].verdict == UNSUPPORTED

    def stored(self) -> dict[str, Any]:
        """As the settings of a run hold it."""
        probes = {name: found._asdict() for name, found in self.probes.items()}
        parts = ("checked_at", "evalkit", "seconds", "calls_made", "tokens")
        return {name: getattr(self, name) for name in parts} | {"probes": probes, "concerns": list(self.concerns)}

    def to_json(self) -> dict[str, Any]:
        """``checkup`` of ``--json`` of a run."""
        of = {name: _USAGE if name == OPTIONS else name for name in self.concerns}
        concerns = [{"name": name, "probe": of[name], **self.probes[of[name]]._asdict()} for name in of]
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
    return _USAGE in probes and probes[_USAGE]["verdict"] == UNSUPPORTED


def take(checkup: Any, endpoint: Endpoint | None) -> KeptCheckup | None:
    """The checkup of an endpoint, to be kept.

    Parameters
    ----------
    checkup : path-like, mapping or Checkup
        A file that ``evalkit check -o FILE.json`` wrote, also with ``--against``; the object in it; or what
        ``check_endpoint`` returned.
    endpoint : Endpoint or None
        None: it is not known yet, and only the file is checked.

    Raises
    ------
    SettingsError
        There is no such file, it is no checkup, or it is of another endpoint or model.
    """
    where, value = _value(checkup)
    checks = value.get("checks", [value]) if isinstance(value, dict) and value.get("checkup") == 1 else None
    if not isinstance(checks, list) or not 1 <= len(checks) <= _MOST_CHECKS:
        raise SettingsError(f"{where} is not a checkup: {_ASK}")
    kept = [(one, _checked(where, one)) for one in checks]
    if endpoint is None:
        return None
    for one, found in kept:
        if _is_of(one, endpoint):
            return found
    others = " and ".join(f"{short(one.get('model'))} at {short(one.get('base_url'))}" for one, _ in kept)
    raise SettingsError(
        f"{where} is of {others}, and the run is against {short(endpoint.model)} at {short(endpoint.base_url)}: {_ASK}"
    )


def _value(checkup: Any) -> tuple[str, Any]:
    """What to call a checkup, and what it holds."""
    if isinstance(checkup, Mapping):
        return "the checkup", _parsed("the checkup", lambda: json.dumps(dict(checkup)))
    if hasattr(type(checkup), "to_json"):
        return "the checkup", checkup.to_json()
    if isinstance(checkup, str | os.PathLike) and isinstance(path := os.fspath(checkup), str):
        return path, _read(path)
    raise SettingsError(
        f"checkup is {short(checkup)}: it must be a file, the object in it, or what check_endpoint returned. {_ASK}"
    )


def _read(path: str) -> Any:
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"the checkup {path} cannot be read ({error.strerror}): {_ASK}") from None
    except ValueError:
        raise SettingsError(f"checkup is {short(path)}, which no file can be named: {_ASK}") from None
    return _parsed(path, lambda: text) if len(text) <= _MOST_BYTES else None


def _parsed(where: str, text: Callable[[], str | bytes]) -> Any:
    try:
        return json_checks.read(text())
    except (ValueError, TypeError, RecursionError):
        raise SettingsError(f"{where} is not a checkup, which is JSON: {_ASK}") from None


def _checked(where: str, one: Any) -> KeptCheckup:
    """The checkup in an object of ``evalkit check --json``."""
    stored: dict[str, Any] = {}
    try:
        parts = {name: one[name] for name in ("checked_at", "evalkit", "seconds", "calls_made", "tokens")}
        probes = {each["name"]: {"verdict": each["verdict"], "came": each["came"][:_LONGEST]} for each in one["probes"]}
        stored = {**parts, "probes": probes, "concerns": []}
    except (KeyError, TypeError, AttributeError):
        pass
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
