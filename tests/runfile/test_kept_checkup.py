"""Checkups that are given to a run and kept in its file: from the right endpoint, and of the right form."""

import json
from pathlib import Path
from types import MappingProxyType

import pytest
from checkups import checkup, written
from comparing import said
from runfiles import S, T, write

import evalkit as ek
from evalkit.checkup.checkup import Checkup, kept_in, side_by_side
from evalkit.checkup.probes.all_probes import PROBES
from evalkit.errors import RunFileError, SettingsError
from evalkit.runfile import kept_checkup, raised_limits
from evalkit.settings import Settings

ENDPOINT = ek.Endpoint("http://127.0.0.1:9/v1", "m")
EMBEDDED = ek.Endpoint("http://127.0.0.1:8/v1", "m", source="embedded")
STORED = kept_checkup.take(checkup(seed="ignored"), ENDPOINT).stored()


@pytest.mark.parametrize(
    ("found", "endpoint"),
    [
        (checkup(), ENDPOINT),
        (checkup(), ek.Endpoint("http://127.0.0.1:9/v1/", "m")),
        (checkup("http://127.0.0.1:7/v1", source="embedded"), EMBEDDED),
    ],
    ids=["same", "slash", "embedded, on another port"],
)
def test_a_checkup_of_the_endpoint_is_taken_from_memory_and_from_its_file(tmp_path, found, endpoint):
    kept = kept_checkup.take(found, endpoint)
    assert kept == kept_checkup.take(written(tmp_path / "c.json", found), endpoint)
    assert kept == kept_checkup.take(found.to_json(), endpoint)
    assert kept == kept_checkup.take(MappingProxyType(json.loads(json.dumps(found.to_json()))), endpoint)
    assert kept == kept_checkup.of_settings({"checkup": json.loads(json.dumps(kept.stored()))})
    assert kept.counts == found.counts
    assert (kept.checked_at, kept.calls_made, kept.tokens) == (found.checked_at, 54, 7_000)


@pytest.mark.parametrize(
    ("found", "endpoint"),
    [
        (checkup(model="other"), ENDPOINT),
        (checkup("http://127.0.0.1:8/v1"), ENDPOINT),
        (checkup("http://127.0.0.1:9/v2"), ENDPOINT),
        (checkup("http://127.0.0.1:7/v1"), EMBEDDED),
        (checkup("http://127.0.0.1:8/v1", source="embedded"), ENDPOINT),
    ],
)
def test_a_checkup_of_another_endpoint_is_refused(tmp_path, found, endpoint):
    with pytest.raises(SettingsError, match=r"is of .* at .*, and the run is against 'm' at .*evalkit check -o"):
        kept_checkup.take(written(tmp_path / "c.json", found), endpoint)


def test_of_two_endpoints_side_by_side_the_right_one_is_taken(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(side_by_side([checkup(model="x"), checkup(n="ignored")])), encoding="utf-8")
    assert kept_checkup.take(path, ENDPOINT).probes["n"].verdict == "ignored"
    assert kept_checkup.take(path, None) is None
    with pytest.raises(SettingsError, match=r"is of 'x' at .* and 'm' at "):
        kept_checkup.take(path, EMBEDDED)


@pytest.mark.parametrize(
    "change",
    [
        {"probes": 5},
        {"probes": [{"name": "seed"}]},
        {"probes": [{"name": "seed", "verdict": "fine", "came": ""}]},
        {"probes": [{"name": "\x1b[31m", "verdict": "ignored", "came": ""}]},
        {"probes": [{"name": ["x"], "verdict": "ignored", "came": ""}]},
        {"probes": [{"name": "seed", "verdict": ["ignored"], "came": ""}]},
        {"probes": [{"name": "seed", "verdict": "ignored", "came": 7}]},
        {"checked_at": "<script>"},
        {"evalkit": "a b"},
        {"seconds": "20"},
        {"seconds": float("nan")},
        {"calls_made": -1},
        {"tokens": 1.5},
        {"checkup": 2},
        {"checks": []},
        {"checks": 5},
        {"checks": [7]},
        {"checks": [checkup().to_json()] * 101},
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, change):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({**checkup().to_json(), **change}), encoding="utf-8")
    for given in (path, str(path), {**checkup().to_json(), **change}):
        for endpoint in (ENDPOINT, None):
            with pytest.raises(SettingsError, match=r"is damaged or was changed|is not a checkup"):
                kept_checkup.take(given, endpoint)


@pytest.mark.parametrize("text", [b"", b"\xff", b"[1]", b'"x"', b"[" * 100_000, b"{}", b"# Markdown"])
def test_a_file_that_is_no_checkup_is_refused(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_bytes(text)
    with pytest.raises(SettingsError, match="is not a checkup"):
        kept_checkup.take(path, ENDPOINT)


def test_a_file_that_cannot_be_read_is_an_error_in_words(tmp_path):
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(SettingsError, match=r"cannot be read \(.*\): make one with"):
            kept_checkup.take(path, ENDPOINT)


@pytest.mark.parametrize(
    "given",
    [
        *(5, b"c.json", True, [], [checkup().to_json()], object(), Checkup, "a\0b", "\ud800", "", Path("a\0b")),
        *({}, {"checkup": 1}, {"checkup": object()}, {("a", 1): 2}, {**checkup().to_json(), "probes": [{1, 2}]}),
    ],
)
def test_what_is_neither_a_file_nor_a_checkup_is_an_error_in_words(given):
    with pytest.raises(SettingsError, match=r"^(the )?checkup .*make one with 'evalkit check -o"):
        kept_checkup.take(given, ENDPOINT)


def test_long_words_of_an_endpoint_are_cut():
    found = checkup()
    long = found.to_json()
    long["probes"][0]["came"] = "x" * 100_000

    class Long:
        def to_json(self):
            return long

    assert len(kept_checkup.take(Long(), ENDPOINT).probes[PROBES[0].name].came) == 1_000


@pytest.mark.parametrize(
    ("verdict", "refused"), [("unsupported", True), ("ignored", False), ("failed", False), ("conforms", False)]
)
def test_only_a_refusal_of_stream_options_keeps_them_from_being_sent(verdict, refused):
    kept = kept_checkup.take(checkup(stream_usage=verdict), ENDPOINT)
    assert kept_checkup.refuses_usage({"checkup": kept.stored()}) is refused
    assert kept_checkup.refuses_usage({}) is kept_checkup.refuses_usage({"checkup": None}) is False


def test_a_checkup_is_no_setting_that_a_resumed_run_must_be_given_again():
    settings = {**Settings().to_json(), "checkup": STORED}
    assert Settings(**raised_limits.without(settings)) == Settings()


def test_a_run_file_gives_its_checkup_back(tmp_path):
    path = said(write(tmp_path / "r.evalkit", [S([T("a", 1)])]), settings={"checkup": STORED})
    said(path, endpoint=ENDPOINT.to_json())
    found = kept_in(path)
    assert found["seed"].verdict == "ignored"
    assert found.to_json() == checkup(seed="ignored").to_json()


def test_probes_of_another_version_are_left_out(tmp_path):
    probes = {"seed": STORED["probes"]["seed"], "a_later_probe": STORED["probes"]["seed"]}
    path = said(write(tmp_path / "r.evalkit", [S([T("a", 1)])]), settings={"checkup": {**STORED, "probes": probes}})
    said(path, endpoint=ENDPOINT.to_json())
    assert [finding.name for finding in kept_in(path).findings] == ["seed"]


@pytest.mark.parametrize(
    "value",
    [
        5, [], {}, {**STORED, "more": 1}, {**STORED, "probes": {"seed": "ignored"}}, {**STORED, "concerns": ["x"]},
        {**STORED, "probes": {}, "concerns": ["stream_options"]},
        {**STORED, "concerns": [{}]}, {**STORED, "concerns": "seed"}, {**STORED, "calls_made": None},
        {**STORED, "probes": {"seed": {"verdict": "ignored", "came": "", "more": 1}}},
    ],
)  # fmt: skip
def test_a_run_file_with_another_checkup_is_refused(tmp_path, value):
    path = said(write(tmp_path / "r.evalkit", [S([T("a", 1)])]), settings={"checkup": value})
    with pytest.raises(RunFileError, match=r"checkup is .*, and the verdicts of a checkup, or null was expected"):
        ek.Run(path)


def test_a_run_without_one_says_so(tmp_path):
    path = said(write(tmp_path / "r.evalkit", [S([T("a", 1)])]), endpoint=ENDPOINT.to_json())
    with pytest.raises(RunFileError, match="keeps no checkup: one is kept in runs of 'evalkit run --checkup FILE'"):
        kept_in(path)
