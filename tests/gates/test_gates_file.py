import pytest

from evalkit.comparing import margin_expression
from evalkit.errors import SettingsError
from evalkit.gates import gate_expression, gates_file

WHOLE = """\
# what a run must keep
[run]
gates = [
  "accuracy>=0.8",
  "errors<=1%",
]

[compare]
allow = ["accuracy -2%", "cost +5%"]
fail_on = "not-shown"
"""


def file(tmp_path, text):
    path = tmp_path / "gates.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_holds_gates_and_margins(tmp_path):
    for text in (WHOLE, WHOLE.replace("\n", "\r\n"), "\ufeff" + WHOLE):
        read = gates_file.read(file(tmp_path, text))
        assert read.fail_on == "not-shown"
        assert [gate.text for gate in read.parsed("gates", gate_expression.parse)] == ["accuracy>=0.8", "errors<=1%"]
        allowed = read.parsed("allow", margin_expression.parse)
        assert [margin.left for margin in allowed] == ["accuracy", "cost"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[run\n", "is not TOML: "),
        ("[runs]\n", "line 1: there is no table 'runs' (did you mean run?); there are: run, compare"),
        ("\n\n[run]\ngate = []\n", "line 4: there is no key 'gate' (did you mean gates?); there are: gates"),
        ("run = 3\n", "line 1: run must be a table: write [run]"),
        ("[run]\ngates = 'accuracy>=0.8'\n", "line 2: gates must be a list of texts"),
        ("[run]\ngates = ['accuracy>=0.8', 1]\n", "line 2: gates must be a list of texts"),
        ("[compare]\nfail_on = true\n", "line 2: fail_on must be a text"),
        (b"[run]\ngates = ['\xff']\n", "cannot be read: "),
        ("run = " + "[" * 9_000, "is nested too deeply"),
        ("# gate = 1\n[run]\ngate = []\n", "line 3: there is no key 'gate'"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_line(tmp_path, text, says):
    path = file(tmp_path, text)
    with pytest.raises(SettingsError) as refused:
        gates_file.read(path)
    assert str(path) in str(refused.value)
    assert says in str(refused.value)


def test_a_limit_that_cannot_be_parsed_is_named_with_its_line(tmp_path):
    path = file(tmp_path, WHOLE.replace("errors<=1%", "eror<=1%").replace("cost +5%", "cost -5%"))
    read = gates_file.read(path)
    with pytest.raises(SettingsError, match=r"gates.toml, line 5: gate 'eror<=1%', character 1: there is no metric"):
        read.parsed("gates", gate_expression.parse)
    with pytest.raises(SettingsError, match=r"line 9: margin 'cost -5%', character 6: cost is worse when it is higher"):
        read.parsed("allow", margin_expression.parse)


def test_a_file_without_limits_for_the_command_is_refused(tmp_path):
    read = gates_file.read(file(tmp_path, "[compare]\nallow = ['accuracy -2%']\n"))
    with pytest.raises(SettingsError, match=r"has no limit for this command: write gates = \[.*\] under \[run\]"):
        read.parsed("gates", gate_expression.parse)
    with pytest.raises(SettingsError, match="cannot be read: "):
        gates_file.read(tmp_path / "missing.toml")
