"""The table of options agrees with curl itself."""

import re
import subprocess

import pytest

from evalkit.errors import SettingsError
from evalkit.replaying import curl_options
from evalkit.replaying.curl_options import options


@pytest.fixture(scope="module")
def help_of_curl():
    """Long name to short letter, and whether it has a value, as the curl of this machine says."""
    text = subprocess.run(["curl", "--help", "all"], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"(?m)^ (?:-(.), |    )--([\w.-]+)( [<[]|  )", text)
    assert len(found) > 150
    return {name: (letter, end != "  ") for letter, name, end in found}


def test_options_have_a_value_where_curl_wants_one(help_of_curl):
    known = {name: value for name, (_, value) in help_of_curl.items() if name in curl_options.KNOWN}
    assert len(known) > 60
    wrong = [name for name, value in known.items() if value != (name in curl_options.WITH_VALUE)]
    assert wrong == []


def test_letters_are_those_of_curl(help_of_curl):
    letters = {letter: name for name, (letter, _) in help_of_curl.items() if letter}
    assert {letter: letters.get(letter) for letter in curl_options.SHORT} == curl_options.SHORT


def test_refused_options_exist(help_of_curl):
    assert [name for name in curl_options.REFUSED if name not in help_of_curl] == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["u"], [("url", ("u",))]),
        (["-sSNXPOST", "-L", "u"], [("request", ("POST",)), ("url", ("u",))]),
        (["-sSd", "b", "u"], [("data", ("b",)), ("url", ("u",))]),
        (["--json=b=c", "--", "-u"], [("json", ("b=c",)), ("url", ("-u",))]),
        (["-o", "-d", "--no-buffer", "-k"], [("insecure", ())]),
        (["--data", "-x"], [("data", ("-x",))]),
    ],
)
def test_flags_are_read_as_curl_reads_them(words, expected):
    assert list(options([(word,) for word in words])) == expected


@pytest.mark.parametrize("words", [["--nothing"], ["-j"], ["-d"], ["-sd"], ["--data"], ["-F", "x"], ["--\x1b[31m"]])
def test_other_options_are_refused(words):
    with pytest.raises(SettingsError) as error:
        list(options([(word,) for word in words]))
    assert "\x1b" not in str(error.value)
