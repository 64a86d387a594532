"""Text that users see is plain, present-day English: no word that a reader has to translate."""

import argparse
import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from evalkit.cli.main import command_parser

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "evalkit"

# a pattern, and what to write instead
OLD_WORDS = {
    r"anew|once more": "again",
    r"told": "reported, sent, returned",
    r"begun": "started",
    r"of themselves": "by itself",
    r"held (?:against|to)": "compared with, checked against",
    r"(?:hangs?|go|goes) together": "are correlated",
    r"cannot be had": "is not available",
    r"mend(?:s|ed|ing)?": "fix",
    r"parted by": "separated by",
    r"by turns|right and wrong by": "sometimes right, sometimes wrong",
    r"what (?:came|has come|becomes|comes) of": "the result of",
    r"asked of|ask(?:s|ed)? [^.\n]{0,60}\bof (?:an?|the|this) endpoint": "run against",
    r"much beside": "large compared with",
    r"as far as": "if, up to",
    r"\d+ at once": "in parallel",
    r"tells? it to(?= ±)|so many tell": "20 conversations give ± 11 points",
}
PATTERN = re.compile(rf"\b(?:{'|'.join(OLD_WORDS)})\b", re.IGNORECASE)


def strings_of(source: str) -> Iterator[tuple[int, str]]:
    """The string constants of a module, with docstrings and the text of f-strings, without keys.

    Keys of dicts are names that programs read: columns, JSON, messages between processes. They do not change.
    """
    nodes = list(ast.walk(ast.parse(source)))
    keys = {id(key) for node in nodes if isinstance(node, ast.Dict) for key in node.keys}
    keys |= {id(node.slice) for node in nodes if isinstance(node, ast.Subscript)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in keys:
            yield node.lineno, re.sub(r"``\w+``", "", node.value)  # names of columns and fields


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """What a reader sees of a file, with line numbers (of a notebook: numbers of its Markdown cells)."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from strings_of(text)
    elif path.suffix == ".ipynb":
        for number, cell in enumerate(json.loads(text)["cells"]):
            if cell["cell_type"] == "markdown":
                yield number, "".join(cell["source"])
    else:
        yield 1, text


def old_words(texts: Iterator[tuple[int, str]]) -> list[str]:
    """Line, old word, its context, and what to write instead."""
    return [
        f"{line + text.count(chr(10), 0, found.start())}: {found[0]!r} in {context(text, found)!r}: write {instead}"
        for line, text in texts
        for found in PATTERN.finditer(text)
        for old, instead in OLD_WORDS.items()
        if re.compile(old, re.IGNORECASE).match(text, found.start())
    ]


def context(text: str, found: re.Match[str]) -> str:
    return " ".join(text[max(0, found.start() - 40) : found.end() + 40].split())


def visible(paths: Iterator[Path]) -> list[Path]:
    """Paths without what tools made or downloaded, which is in folders that start with a dot."""
    return sorted(path for path in paths if not any(part.startswith(".") for part in path.relative_to(ROOT).parts))


# The built-in rubrics are prompts, kept by their hash: answers of a judge are used again where it is the same.
MODULES = [path for path in visible(PACKAGE.rglob("*.py")) if path != PACKAGE / "judging" / "rubric.py"]
DOCUMENTS = visible(ROOT.rglob("*.md"))
NOTEBOOKS = visible((ROOT / "notebooks").rglob("*.ipynb"))
PARSERS = {"evalkit": command_parser(), **command_parser().commands}


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in MODULES}), ids=lambda path: str(path.relative_to(ROOT))
)
def test_strings_and_docstrings_hold_no_old_word(folder):
    found = {path.name: words for path in MODULES if path.parent == folder and (words := old_words(prose_of(path)))}
    assert not found


@pytest.mark.parametrize("path", [*DOCUMENTS, *NOTEBOOKS], ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_and_notebooks_hold_no_old_word(path):
    assert not old_words(prose_of(path))


@pytest.mark.parametrize("name", PARSERS)
def test_help_holds_no_old_word(name):
    assert not old_words(iter([(1, " ".join(PARSERS[name].format_help().split()))]))


@pytest.mark.parametrize("name", PARSERS)
def test_every_argument_of_a_command_is_explained(name):
    """A flag without a help text is a riddle too."""
    unexplained = [
        action.option_strings or action.dest
        for action in PARSERS[name]._actions
        if not action.help and not isinstance(action, argparse._SubParsersAction)
    ]
    assert not unexplained


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Score the answers anew.", "anew"),
        ("sums.jsonl asked of a model", "asked of"),
        ("Ask a dataset of an endpoint.", "Ask a dataset of an endpoint"),
        ("own history, 4 at once", "4 at once"),
        ("When that is mended, go on.", "mended"),
        ("This run tells it to ± 11 points.", "tells it to"),
    ],
)
def test_an_old_word_is_found(text, word):
    (found,) = old_words(iter([(1, text)]))
    assert repr(word) in found


@pytest.mark.parametrize("text", ["It stops at once.", "Ask the endpoint again.", "an amendment", "a toldbooth"])
def test_a_plain_sentence_passes(text):
    assert not old_words(iter([(1, text)]))


def test_text_of_f_strings_is_read_and_keys_are_not():
    assert not old_words(strings_of('row = {"begun": 1}\nprint(row["begun"])\n'))
    assert old_words(strings_of('def f(n):\n    """Fine."""\n    return f"{n} begun"\n')) == [
        "3: 'begun' in 'begun': write started"
    ]
