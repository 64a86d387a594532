import pytest

from evalkit.analysis.price_file import default_path, price_if_known, price_of
from evalkit.errors import SettingsError

HOW = 'write it as:\n["m"]\nprompt = 0.15   # per million tokens\noutput = 0.60'


def test_a_model_has_the_prices_of_its_table(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text('["gpt-4o-mini"]\nprompt = 0.15\noutput = 0.6\n\n[m]\nprompt = 0\noutput = 1\n', encoding="utf-8")
    assert price_of("gpt-4o-mini", path) == (0.15, 0.6)
    assert price_of("m", path) == (0.0, 1.0)


def test_prices_of_cached_prompts_may_be_left_out(tmp_path):
    path = tmp_path / "prices.toml"
    table = "[{}]\nprompt = 2\noutput = 8\n{}\n"
    path.write_text(
        table.format("a", "cached = 0.5") + table.format("b", "cache_write = 3") + table.format("c", "cached = -1")
    )
    assert price_of("a", path) == (2.0, 8.0, 0.5, 2.0)
    assert price_of("b", path) == (2.0, 8.0, 2.0, 3.0)
    with pytest.raises(SettingsError, match="a number from 0 up as cached of 'c'"):
        price_of("c", path)


def test_the_file_is_named_by_a_variable_or_lies_among_the_users_settings(tmp_path, monkeypatch):
    monkeypatch.delenv("EVALKIT_PRICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_path() == tmp_path / "evalkit" / "prices.toml"
    monkeypatch.setenv("EVALKIT_PRICES", str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_text("[m]\nprompt = 1\noutput = 2\n", encoding="utf-8")
    assert price_of("m") == (1.0, 2.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no price file {path}, which is needed for the cost: {how}"),
        ("[m", "the price file {path} is not TOML (Expected ']' at the end of a table declaration "
               "(at end of document)): {how}"),
        ("[other]\nprompt = 1", "the price file {path} has no model 'm' (it has: other): {how}"),
        ("[m]\nprompt = 1", "the price file {path} needs a number from 0 up as output of 'm'"),
        ("[m]\nprompt = -1\noutput = 1", "the price file {path} needs a number from 0 up as prompt of 'm'"),
        ("[m]\nprompt = nan\noutput = 1", "the price file {path} needs a number from 0 up as prompt of 'm'"),
        ("[m]\nprompt = 1\noutput = 1" + "0" * 400, "the price file {path} needs a number from 0 up as output of 'm'"),
        ("m = 3", "the price file {path} needs a number from 0 up as prompt of 'm'"),
    ],
)  # fmt: skip
def test_an_unknown_price_is_said_and_never_taken_for_0(tmp_path, text, message):
    path = tmp_path / "prices.toml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        price_of("m", path)
    assert str(caught.value) == message.format(path=path, how=HOW)


def test_an_unknown_price_is_missing_but_a_broken_file_is_an_error(tmp_path, monkeypatch):
    monkeypatch.delenv("EVALKIT_PRICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert price_if_known("m") is None  # nobody named a file
    path = tmp_path / "prices.toml"
    monkeypatch.setenv("EVALKIT_PRICES", str(path))
    with pytest.raises(SettingsError, match=r"there is no price file .*, which EVALKIT_PRICES names"):
        price_if_known("m")
    path.write_text("[other]\nprompt = 1\noutput = 2\n", encoding="utf-8")
    assert price_if_known("m") is None
    assert price_if_known("other") == (1.0, 2.0)
    path.write_text("[m]\nprompt = 1\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="needs a number from 0 up as output of 'm'"):
        price_if_known("m")


@pytest.mark.parametrize("price", [price_of, price_if_known])
def test_a_name_with_a_dot_and_without_quotes_is_not_quietly_missing(tmp_path, monkeypatch, price):
    """TOML reads ``[gpt-4.1]`` as a table ``1`` in a table ``gpt-4``."""
    path = tmp_path / "prices.toml"
    monkeypatch.setenv("EVALKIT_PRICES", str(path))
    path.write_text("[gpt-4.1]\nprompt = 1\noutput = 2\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        price("gpt-4.1")
    assert str(caught.value) == (
        f"the price file {path} has 'gpt-4.1' without quotes, which makes a table in a table: "
        + HOW.replace('"m"', '"gpt-4.1"')
    )
    path.write_text('["gpt-4.1"]\nprompt = 1\noutput = 2\n', encoding="utf-8")
    assert price("gpt-4.1") == (1.0, 2.0)
