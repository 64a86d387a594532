"""Sentences on what a checkup found that touches a run."""

from dataclasses import replace

import pytest
from checkups import checkup

import evalkit as ek
from evalkit.checkup.probes.all_probes import PROBES
from evalkit.runfile import kept_checkup
from evalkit.wording import checkup_concerns

ENDPOINT = ek.Endpoint("http://127.0.0.1:9/v1", "m")


def said(*concerns, **verdicts):
    kept = kept_checkup.take(checkup(**verdicts), ENDPOINT).to_json()
    names = concerns or verdicts
    return list(checkup_concerns.sentences({**kept, "concerns": [
        {"name": name, "probe": name, "verdict": verdicts.get(name, "conforms"), "came": "\x1b[31m"} for name in names
    ]}))  # fmt: skip


@pytest.mark.parametrize(
    ("verdicts", "sentence"),
    [
        ({"seed": "ignored"}, "the checkup found seed ignored: repeats are not seeded, and the run cannot be repeated"),
        ({"stop": "unsupported"}, "the checkup found stop refused: requests with it fail"),
        (
            {"stream_usage": "unsupported"},
            "the checkup found stream_options.include_usage refused: it is not sent, so the tokens, costs and times "
            "per token of streamed answers are missing, and limits of tokens go by estimates",
        ),
        (
            {"system_message": "ignored"},
            "the checkup found a system message ignored: the system prompt has no effect on the answers",
        ),
        (
            {"temperature_0": "differs"},
            "the checkup found two different answers to one request at temperature 0: another run gives other scores",
        ),
        ({"tool_required": "unsupported"}, "the checkup found tool_choice required refused: the model decides whether "
         "to call"),
    ],
)  # fmt: skip
def test_a_concern_says_what_follows_for_the_run(verdicts, sentence):
    assert said(**verdicts) == [sentence]


def test_every_effect_is_of_a_probe():
    named = {*checkup_concerns._EFFECTS, *checkup_concerns._DIFFERING} - {kept_checkup.OPTIONS}
    assert named <= {probe.name for probe in PROBES}
    assert "n" not in named  # a run sends no other than 1, which no endpoint ignores


def test_stream_options_of_the_user_that_were_refused_are_not_called_left_out():
    kept = replace(kept_checkup.take(checkup(stream_usage="unsupported"), ENDPOINT), concerns=("stream_options",))
    again = kept_checkup.of_settings({"checkup": kept.stored()})
    assert list(checkup_concerns.sentences(again.to_json())) == [
        "the checkup found the parameter stream_options refused: requests with it fail"
    ]


def test_no_checkup_and_unknown_probes_have_no_sentence():
    assert list(checkup_concerns.sentences(None)) == []
    assert said("a_later_probe", seed="ignored") == []
    assert said("seed", seed="conforms") == []


def test_no_words_of_the_endpoint_are_in_a_sentence():
    every = dict.fromkeys(checkup_concerns._EFFECTS.keys() - {kept_checkup.OPTIONS}, "ignored")
    assert len(said(**every)) == len(every)
    assert "\x1b" not in "".join(said(**every))


def test_what_is_kept_has_its_day_and_its_counts():
    kept = kept_checkup.take(checkup(seed="ignored", n="ignored"), ENDPOINT).to_json()
    count = len(PROBES)
    assert checkup_concerns.kept(kept) == f"2026-12-01, {count} probes: {count - 2} conform, 2 ignored silently"
