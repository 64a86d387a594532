"""All limits of a project in one file, ``gates.toml``: gates of each run, and margins of comparisons.

[run]
gates = ["accuracy>=0.8", "errors<=1%"]

[compare]
allow = ["accuracy -2%", "ttft_p95 +10%"]
fail_on = "worse"
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from evalkit.errors import SettingsError
from evalkit.inputs import suggestions

_KEYS: dict[str, dict[str, type]] = {"run": {"gates": list}, "compare": {"allow": list, "fail_on": str}}
_EXAMPLES = {
    "gates": 'gates = ["accuracy>=0.8", "errors<=1%"] under [run]',
    "allow": 'allow = ["accuracy -2%", "ttft_p95 +10%"] under [compare]',
}
Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class GatesFile:
    """The limits of a project.

    Parameters
    ----------
    path : Path
    text : str
        The file itself, for the line numbers of messages.
    gates : tuple of str
        Of each run, as for ``--fail-under``.
    allow : tuple of str
        Margins of comparisons, as for ``--allow``.
    fail_on : str or None
        As for ``--fail-on``. None: not given.
    """

    path: Path
    text: str
    gates: tuple[str, ...]
    allow: tuple[str, ...]
    fail_on: str | None

    def parsed(self, key: str, parse: Callable[[str], Parsed]) -> list[Parsed]:
        """The limits under a key, ``gates`` or ``allow``, each parsed.

        Raises
        ------
        SettingsError
            There are none, or one cannot be parsed: the message names the file and the line.
        """
        limits: tuple[str, ...] = getattr(self, key)
        if not limits:
            raise SettingsError(f"{self.path} has no limit for this command: write {_EXAMPLES[key]}")
        found = []
        for limit in limits:
            try:
                found.append(parse(limit))
            except SettingsError as error:
                raise SettingsError(f"{_place(self.path, self.text, limit)}: {error}") from None
        return found


def read(path: Path) -> GatesFile:
    """Read a gates file.

    Raises
    ------
    SettingsError
        It cannot be read, is not TOML, or has a table, key or value of another form.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"the gates file {path} cannot be read: {reason}") from None
    except RecursionError:
        raise SettingsError(f"{path} is nested too deeply: it holds the tables [run] and [compare]") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    for table, values in content.items():
        _check_name(path, text, table, _KEYS, "table")
        if not isinstance(values, dict):
            raise SettingsError(f"{_place(path, text, table)}: {table} must be a table: write [{table}]")
        for key, value in values.items():
            _check_name(path, text, key, _KEYS[table], "key")
            _check_value(path, text, key, value, _KEYS[table][key])
    run, compare = content.get("run", {}), content.get("compare", {})
    return GatesFile(path, text, tuple(run.get("gates", ())), tuple(compare.get("allow", ())), compare.get("fail_on"))


def _check_name(path: Path, text: str, name: str, known: dict[str, Any], what: str) -> None:
    if name not in known:
        near = suggestions.nearest_name(name, known, cutoff=0.6)
        hint = "" if near is None else f" (did you mean {near}?)"
        raise SettingsError(
            f"{_place(path, text, name)}: there is no {what} {name!r}{hint}; there are: {', '.join(known)}"
        )


def _check_value(path: Path, text: str, key: str, value: Any, kind: type) -> None:
    if kind is list and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise SettingsError(f"{_place(path, text, key)}: {key} must be a list of texts, such as {_EXAMPLES[key]}")
    if kind is str and not isinstance(value, str):
        raise SettingsError(f'{_place(path, text, key)}: {key} must be a text, such as {key} = "worse"')


def _place(path: Path, text: str, part: str) -> str:
    """The file, and the first line that has this text and is no comment."""
    lines = enumerate(text.splitlines(), 1)
    line = next((number for number, line in lines if part in line and not line.lstrip().startswith("#")), None)
    return str(path) if line is None else f"{path}, line {line}"
