"""Words as bash reads them, without bash."""

import os
import random
import subprocess

import pytest

from evalkit.errors import SettingsError
from evalkit.replaying.shell_words import HereDocument, Operator, Variable, shell_tokens

PLAIN = ("a", "B7", "-x", "é", "🙂", "=", ",", "/", ":", "@", "%", "+", ".", "^", "]")
INSIDE = (*PLAIN, " ", "\t", "#", "*", "?", "|", ";", "&", "<", ">", "(", ")", "{", "}", "!x", "~", "\u2028")

IN_DOUBLE = ("", "'", '\\"', "\\\\", "\\$", "\\`", "\\a", "\\\n", "\n", "$", "$ ")
ANSI = (
    "\\n", "\\'", "\\\\", "\\x41", "\\xc3\\xa9", "\\101", "\\u00e9", "\\U0001f642", "\\e",
    "\\t", "\\\"", "\\q", "\\?", "\\cA",
)  # fmt: skip


def piece(chance):
    """A part of a word, in one of the ways to write it."""
    text = "".join(chance.choice(INSIDE) for _ in range(chance.randrange(4)))
    return chance.choice([
        lambda: chance.choice(PLAIN),
        lambda: "'" + text + chance.choice(["", '"', "\\", "$x", "`", "\n"]) + "'",
        lambda: '"' + text + chance.choice(IN_DOUBLE) + '"',
        lambda: '"' + chance.choice(["$ONE", "${ONE}", "${ONE}x", "$ONE-$ONE"]) + '"',
        lambda: "\\" + chance.choice([*INSIDE, "'", '"', "\\", "$", "`"]),
        lambda: "$'" + text + chance.choice(ANSI) + "'",
        lambda: "\\\n",
    ])()  # fmt: skip


def test_words_are_those_of_bash():
    """Hundreds of words in one script; bash prints each with a zero byte after it."""
    chance, lines = random.Random(3), []
    for _ in range(300):
        words = ["".join(piece(chance) for _ in range(chance.randrange(1, 5))) for _ in range(chance.randrange(1, 4))]
        # a word that is only a line continuation is none, and one that begins like an option of printf is not wanted
        lines.append(" ".join(f"w{word}" for word in words))
    script = "".join(f"printf '%s\\0' {line}\n" for line in lines)
    environment = {**os.environ, "ONE": "1 $x `y`", "LC_ALL": "C.UTF-8"}
    result = subprocess.run(["bash", "--norc"], input=script.encode(), capture_output=True, env=environment, check=True)
    expected = result.stdout.split(b"\0")[:-1]
    found = []
    for line in lines:
        tokens = shell_tokens(line)
        assert all(isinstance(token, tuple) for token in tokens), line
        found += ["".join("1 $x `y`" if isinstance(p, Variable) else p for p in token) for token in tokens]
    assert [word.encode("utf-8", "surrogateescape") for word in found] == expected


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a # b\nc", [("a",), Operator("\n"), ("c",)]),
        ("a#b", [("a#b",)]),
        ("a \\\r\n  b\r\n", [("a",), ("b",), Operator("\n")]),
        ("a 2>&1 >x", [("a",), Operator(">&"), ("1",), Operator(">"), ("x",)]),
        ('"$a"b$c', [(Variable("a"), "b", Variable("c"))]),
        ("'' \"\"", [("",), ("",)]),
        ("a <<E\n$x `\n".replace("`", "\\`") + "E\n", [("a",), HereDocument((Variable("x"), " `\n")), Operator("\n")]),
        ("a <<'E' b\n$x `y`\nE", [("a",), HereDocument(("$x `y`\n",)), ("b",), Operator("\n")]),
        ("a <<-\"E\"\n\tx\n\tE\n", [("a",), HereDocument(("x\n",)), Operator("\n")]),
        ("$'\\ud83d\\ude42'", [("🙂",)]),
        ("$'\\xff'", [("\udcff",)]),
        ("$ a", [("$",), ("a",)]),
    ],
)  # fmt: skip
def test_tokens(text, tokens):
    assert shell_tokens(text) == tokens


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\n'b", r"a single quote \('\) is not closed \(line 2\)"),
        ('a "b\nc', r'a double quote \("\) is not closed \(line 1\)'),
        ("$'b", "is not closed"),
        ("$(id)", "which a shell would execute"),
        ('"$(id)"', "which a shell would execute"),
        ("$((1+1))", "which a shell would execute"),
        ("`id`", "a backtick"),
        ('"`id`"', "a backtick"),
        ("<(id)", "parentheses"),
        ("a <<E\n$(id)\nE\n", "which a shell would execute"),
        ("${a:-b}", "more than the name of a variable"),
        ("${!a}", "more than the name of a variable"),
        ("$1", "a variable that only a shell has"),
        ("a <<E\nb", "no line that ends it"),
        ("a <<E", "no line that ends it"),
        ("“a”", "typographic quotes"),
        ("a \\ \nb", "a blank follows the backslash"),
        ("$'\\0'", "zero byte"),
        ("curl ^\"x^\" ^\n -d", "cmd of Windows"),
        ("curl.exe \"x\" ^\n -d", "cmd of Windows"),
    ],
)  # fmt: skip
def test_what_is_refused(text, words):
    with pytest.raises(SettingsError, match=words):
        shell_tokens(text)
