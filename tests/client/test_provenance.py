"""What answers and gateways say of where an answer comes from, over real sockets."""

import pytest
from answering import stream, whole
from loops import pytest_generate_tests  # noqa: F401  (runs each test that takes ``run`` on both loops)
from raw_server import ask, writes

from evalkit.client.provenance import ProvenanceTracker, of_headers
from evalkit.record import Answer

# as LiteLLM 1.108 sends them: it writes the name that was asked for over the model's
LITELLM = {
    "x-litellm-model-id": "c4c8bf2d", "x-litellm-model-name": "openai/m", "x-litellm-model-group": "m",
    "x-litellm-model-api-base": "http://127.0.0.1:18801/v1", "x-litellm-attempted-retries": "0",
    "x-litellm-attempted-fallbacks": "0",
}  # fmt: skip


def provenance(run, reply, **more):
    attempts, _ = ask(run, writes(reply), **more)
    assert attempts[0].failure is None
    return attempts[0].provenance


@pytest.mark.parametrize("form", [whole, stream])
def test_an_answer_as_it_was_asked_for_keeps_nothing(run, form):
    assert provenance(run, form()) is None
    assert provenance(run, form(model="m", id="chatcmpl-1", system_fingerprint=None, provider=None)) is None
    assert provenance(run, form(model="m", headers=LITELLM | {"cache-control": "no-cache"})) is None


@pytest.mark.parametrize("form", [whole, stream])
def test_another_name_and_the_first_fingerprint_are_kept(run, form):
    result = provenance(run, form(model="m-2024-08-06", system_fingerprint="fp_1", provider="Azure", id="x"))
    assert result == {"model": "m-2024-08-06", "system_fingerprint": "fp_1", "provider": "Azure"}


def test_a_stream_whose_every_event_has_a_text_says_its_model_too(run):
    assert provenance(run, stream(["3", "5"], finish=None, model="other")) == {"model": "other"}


def test_a_first_event_that_names_nothing_is_not_taken_for_the_answer(run):
    empty = stream([], finish=None, model="", id="").removesuffix(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    rest = stream(["35"], model="other").partition(b"\r\n\r\n")[2]
    assert provenance(run, empty + rest) == {"model": "other"}


def test_a_gateway_that_writes_over_the_name_is_believed_by_its_headers(run):
    result = provenance(run, stream(model="m", headers=LITELLM | {"x-litellm-model-name": "openai/gpt-4o-mini"}))
    assert result == {"route": "openai/gpt-4o-mini"}
    fallback = LITELLM | {"x-litellm-attempted-fallbacks": "1", "x-litellm-model-name": "openai/gpt-4o-mini"}
    assert provenance(run, stream(model="other", headers=fallback)) == {
        "model": "other", "route": "openai/gpt-4o-mini", "fallback": "x-litellm-attempted-fallbacks: 1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-litellm-cache-key", "767bba1f"),
        ("cf-aig-cache-status", "HIT"),
        ("cf-cache-status", "HIT"),
        ("x-portkey-cache-status", "SEMANTIC HIT"),
        ("helicone-cache", "HIT"),
        ("x-cache-status", "Hit"),
        ("x-cache", "MISS, HIT"),
        ("x-cache", "TCP_HIT from proxy"),
        ("x-cache", "RefreshHit from cloudfront"),
        ("x-cache-hits", "0, 1"),
        ("x-semantic-cache-hit", "true"),
        ("cache-status", "Squid; hit; ttl=376"),
        ("age", "12"),
    ],
)
def test_an_answer_from_a_cache_is_noticed(run, name, value):
    assert provenance(run, whole(headers={name: value})) == {"cache": f"{name}: {value}"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cf-aig-cache-status", "MISS"),
        ("cf-cache-status", "DYNAMIC"),
        ("x-portkey-cache-status", "DISABLED"),
        ("x-cache", "Miss from cloudfront"),
        ("x-cache", "hit-for-pass"),
        ("x-cache-hits", "0, 0"),
        ("cache-status", "Squid; fwd=miss"),
        ("cache-control", "no-cache"),
        ("x-prompt-cache-hit", "true"),
        ("x-prefix-cache-hit-tokens", "512"),
        ("age", "0"),
        ("x-litellm-attempted-fallbacks", "None"),
        ("x-litellm-max-fallbacks", "5"),
        ("cf-aig-step", "0"),
        ("x-bifrost-fallback-index", "0"),
    ],
)
def test_what_is_no_cache_and_no_fallback_is_not_taken_for_one(name, value):
    assert of_headers({name: value}) == {}


@pytest.mark.parametrize(
    ("name", "value"), [("x-litellm-attempted-fallbacks", "2"), ("cf-aig-step", "1"), ("helicone-fallback-index", "1")]
)
def test_a_fallback_is_noticed(name, value):
    assert of_headers({name: value}) == {"fallback": f"{name}: {value}"}


def test_an_id_that_comes_again_with_its_text_is_a_repeated_answer():
    notes = ProvenanceTracker("m")
    first, second = Answer("it is 35"), Answer("it is 36")
    assert notes.note({"id": "a"}, {}, first) is None
    assert notes.note({"id": "b"}, {}, second) is None
    assert notes.note({"id": "a"}, {}, first) == {"repeated_id": "a"}


def test_an_endpoint_that_gives_every_answer_one_id_repeats_none():
    notes = ProvenanceTracker("m")
    assert [notes.note({"id": "chatcmpl-1"}, {}, Answer(text)) for text in ("1", "2", "1", "2")] == [None] * 4


def test_few_ids_are_remembered(monkeypatch):
    monkeypatch.setattr("evalkit.client.provenance.MOST_IDS", 10)
    notes = ProvenanceTracker("m")
    for number in range(100):
        assert notes.note({"id": str(number)}, {}, Answer(str(number))) is None
    assert notes.note({"id": "95"}, {}, Answer("95")) == {"repeated_id": "95"}
    assert notes.note({"id": "5"}, {}, Answer("5")) is None


def test_the_key_is_not_kept_where_a_gateway_sends_it_back(run, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-local-0123456789")
    result = provenance(run, whole(model="of sk-local-0123456789"), key_env="MY_KEY")
    assert result == {"model": "of ***"}
