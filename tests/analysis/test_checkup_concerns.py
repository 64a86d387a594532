"""Which verdicts of a checkup touch a run: those on what its requests hold, and no others."""

import json
from dataclasses import replace

import pytest
from checkups import checkup

import evalkit as ek
from evalkit.analysis import checkup_concerns
from evalkit.checkup.probes.all_probes import PROBES
from evalkit.conversation import INSTRUCTION_ROLES
from evalkit.datasets import reader
from evalkit.runfile import kept_checkup
from evalkit.settings import Settings
from evalkit.wording import checkup_concerns as in_words

ENDPOINT = ek.Endpoint("http://127.0.0.1:9/v1", "m")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
PART = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
ALWAYS = {"stream_usage"}


def concerns(verdict, rows=({},), params=None, whole=True, folder=None, **settings):
    """The probes with this verdict that touch a run of these rows."""
    path = folder / "data.jsonl"
    rows = [{"id": str(n), "turns": [{"user": "x"}], **row} for n, row in enumerate(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    endpoint = replace(ENDPOINT, params=params or {})
    kept = kept_checkup.take(checkup(**dict.fromkeys([probe.name for probe in PROBES], verdict)), ENDPOINT)
    settings = Settings(**settings)
    return set(checkup_concerns.with_concerns(kept, endpoint, settings, path, whole=whole).concerns)


@pytest.mark.parametrize(
    ("found", "run"),
    [
        (set(), {}),
        ({"max_tokens"}, {"params": {"max_tokens": 3}}),
        ({"max_completion_tokens", "stop"}, {"rows": [{}, {"params": {"max_completion_tokens": 3, "stop": "x"}}]}),
        ({"seed"}, {"seed": 0}),
        ({"seed"}, {"params": {"seed": 0}}),
        ({"logprobs"}, {"params": {"n": 1, "logprobs": True}}),
        (set(), {"rows": [{"params": {"n": 1}}]}),
        (set(), {"params": {"max_tokens": None, "logprobs": False, "stop": None, "functions": None}}),
        (set(), {"params": {"stop": []}, "rows": [{"params": {"stop": "", "functions": []}}]}),
        ({"json_object"}, {"params": {"response_format": {"type": "json_object"}}}),
        ({"json_schema"}, {"rows": [{"params": {"response_format": FORM}}]}),
        (set(), {"params": {"response_format": {"type": "text"}}}),
        ({"system_message"}, {"rows": [{}, {"system": "Be brief."}]}),
        ({"system_message"}, {"system": "Be brief."}),
        (set(), {"rows": [{"system": "Be brief."}], "system": ""}),
        ({"system_message"}, {"rows": [{"context": [{"role": "system", "content": "x"}]}]}),
        ({"developer_message"}, {"rows": [{"context": [{"role": "developer", "content": "x"}]}]}),
        (
            {"late_system_message", "history"},
            {"rows": [{"context": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]}]},
        ),
        ({"history"}, {"rows": [{"turns": [{"user": "x"}, {"user": "y"}]}]}),
        ({"content_parts"}, {"rows": [{"turns": [{"user": PART}]}]}),
        ({"tool_call", "streamed_call"}, {"rows": [{"tools": [TOOL]}]}),
        ({"tool_call"}, {"rows": [{"tools": [TOOL]}], "stream": False}),
        ({"tool_call", "streamed_call"}, {"params": {"tools": [TOOL]}}),
        (
            {"tool_call", "streamed_call", "tool_result", "after_tool_round", "history"},
            {"rows": [{"tools": [TOOL], "tool_results": {"f": 1}, "turns": [{"user": "x"}, {"user": "y"}]}]},
        ),
        ({"tool_required"}, {"params": {"tool_choice": "required"}}),
        ({"tool_none"}, {"rows": [{"params": {"tool_choice": "none"}}]}),
        ({"tool_named"}, {"params": {"tool_choice": {"type": "function", "function": {"name": "f"}}}}),
        (set(), {"params": {"tool_choice": "auto"}}),
        ({"functions"}, {"params": {"functions": [TOOL["function"]]}}),
    ],
)  # fmt: skip
def test_what_was_ignored_matters_where_the_run_requests_it(tmp_path, found, run):
    always = ALWAYS if run.get("stream", True) else set()
    assert concerns("ignored", folder=tmp_path, **run) == found | always


def test_what_cannot_be_judged_or_conforms_is_no_concern(tmp_path):
    row = {"system": "x", "tools": [TOOL], "turns": [{"user": "x"}, {"user": "y"}], "params": {"stop": "x", "n": 2}}
    for verdict in ("conforms", "not_judged", "failed"):
        assert concerns(verdict, [row], {"temperature": 0}, folder=tmp_path) == set()


@pytest.mark.parametrize(
    ("temperature", "matters"), [(0, True), (0.0, True), (0.1, False), (None, False), (False, False)]
)
def test_answers_that_vary_at_temperature_0_matter_only_there(tmp_path, temperature, matters):
    found = concerns("differs", params={"temperature": temperature}, folder=tmp_path)
    assert ("temperature_0" in found) is matters
    assert found - {"temperature_0"} == {"usage_exact", "stream_gradual"}
    assert concerns("differs", folder=tmp_path, stream=False) == {"usage_exact"}


def test_streamed_calls_are_not_called_refused_where_stream_options_are(tmp_path):
    found = concerns("unsupported", [{"tools": [TOOL]}], folder=tmp_path)
    assert found == {"tool_call", "stream_usage"}


ASKED, UNASKED = {"stream_options": {"include_usage": True}}, {"stream_options": {"include_usage": False}}


@pytest.mark.parametrize(
    ("verdict", "run", "found"),
    [
        ("ignored", {}, {"stream_usage"}),
        ("ignored", {"params": ASKED}, {"stream_usage"}),
        ("ignored", {"params": ASKED, "stream": False}, set()),
        ("ignored", {"params": UNASKED}, set()),
        ("ignored", {"params": {"stream_options": {"x": 1}}}, set()),
        ("ignored", {"params": {"stream_options": None}}, set()),
        ("unsupported", {}, {"stream_usage"}),
        ("unsupported", {"stream": False}, set()),
        ("unsupported", {"params": ASKED}, {"stream_options"}),
        ("unsupported", {"params": UNASKED}, {"stream_options"}),
        ("unsupported", {"params": UNASKED, "stream": False}, {"stream_options"}),
        ("unsupported", {"params": {"stream_options": None}}, set()),
    ],
)
def test_stream_options_of_the_user_are_sent_and_need_not_ask_for_counts(tmp_path, verdict, run, found):
    assert concerns(verdict, folder=tmp_path, **run) == found


def test_only_rows_of_the_run_count_and_without_a_check_only_the_first(tmp_path):
    rows = [{}, {"system": "x"}]
    assert concerns("ignored", rows, folder=tmp_path) == {"system_message", "stream_usage"}
    assert concerns("ignored", rows, folder=tmp_path, limit=1) == {"stream_usage"}
    assert concerns("ignored", rows, folder=tmp_path, whole=False) == {"stream_usage"}
    assert concerns("ignored", rows[1:], folder=tmp_path, whole=False) == {"system_message", "stream_usage"}


@pytest.mark.parametrize(
    ("verdicts", "settings", "rows_read"),
    [
        ({"seed": "ignored"}, {"seed": 1}, 0),
        ({"compression": "unsupported", "n": "unsupported", "usage_exact": "unsupported"}, {}, 0),
        ({"stream_usage": "ignored", "stream_gradual": "differs", "usage_exact": "differs"}, {}, 0),
        ({"stream_usage": "ignored", "stream_gradual": "differs", "streamed_call": "ignored"}, {"stream": False}, 0),
        ({"system_message": "ignored", "developer_message": "ignored"}, {"system": ""}, 0),
        ({"compression": "unsupported", "system_message": "ignored"}, {}, 3),
        ({"compression": "unsupported", "system_message": "ignored", "stop": "ignored"}, {}, 5),
        ({"developer_message": "ignored"}, {}, 9),
    ],
)
def test_rows_are_read_only_until_those_that_may_matter_do(tmp_path, monkeypatch, verdicts, settings, rows_read):
    rows = [{"turns": [{"user": "x"}]} for _ in range(9)]
    rows[2]["system"], rows[4]["params"] = "x", {"stop": "x"}
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"id": str(n), **row}) + "\n" for n, row in enumerate(rows)), encoding="utf-8")
    read, came = reader.read, []

    def counted(*arguments, **options):
        for conversation in read(*arguments, **options):
            came.append(conversation.id)
            yield conversation

    monkeypatch.setattr(reader, "read", counted)
    kept = kept_checkup.take(checkup(**verdicts), ENDPOINT)
    checkup_concerns.with_concerns(kept, ENDPOINT, Settings(**settings), path)
    assert len(came) == rows_read


def test_whatever_can_matter_has_a_sentence_and_the_other_way_round():
    roles = {f"{role}_message" for role in INSTRUCTION_ROLES}
    always = {"usage_exact", "stream_gradual", "stream_usage", "stream_options"}
    can = checkup_concerns._BY_ROWS | {"streamed_call"} | roles | always
    assert can == {*in_words._EFFECTS, *in_words._DIFFERING}
