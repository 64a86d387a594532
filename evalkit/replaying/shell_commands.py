"""The one curl command in a pasted text, and what it reads from its input."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.replaying.shell_words import HereDocument, Operator, Token, Word, quoted_text, refused, shell_tokens

_PROMPTS = ("$", "%", ">", "#")
_CURL = re.compile(r"(?:\S*/)?curl(?:\.exe)?")
_ENDS = ("\n", ";")
_PIPES = ("|", "|&")
_OUTPUTS = (">", ">>", ">&", "&>", "&>>", ">|", "<&")
_PRINTF_ESCAPE = re.compile(r"%(%|s)|\\([0-7]{1,3})|\\(.)|%", re.DOTALL)
_PRINTF_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


@dataclass(frozen=True, slots=True)
class ShellCommand:
    """A command without its redirections.

    Parameters
    ----------
    words : tuple of Word
        Those after its name.
    input, input_file : Word or None
        What it reads from standard input, or from which file.
    """

    words: tuple[Word, ...]
    input: Word | None = None
    input_file: Word | None = None


def curl_command(text: str) -> ShellCommand:
    """The only curl command of a text.

    Comments, a prompt before the command, and what is done with its output are left out. A body may come from
    ``printf``, ``echo`` or ``cat`` in front of it.

    Raises
    ------
    SettingsError
        There is none, or more, or another command.
    """
    found = [command for command in _split(shell_tokens(text), _ENDS) if command]
    if not found:
        raise refused("it is empty")
    pipelines = [_split(command, _PIPES) for command in found]
    curls = [[at for at, command in enumerate(line) if _is_curl(command)] for line in pipelines]
    if not any(curls):
        raise refused("it does not begin with curl")
    if sum(map(len, curls)) > 1:
        raise refused("it has several curl commands: paste one at a time")
    if len(pipelines) > 1:
        raise refused(
            "it has other commands besides curl, or a line that ends without a backslash: paste only curl and its "
            "arguments"
        )
    (line,), (at,) = pipelines, curls[0]
    command = _without_redirections(line[at], 1)
    if not at:
        return command
    if at > 1 or command.input is not None:
        raise refused("several commands write its input: put the body after -d")
    return _with_input(command, _without_redirections(line[0], 0))


def _split(tokens: Sequence[Token], operators: Sequence[str]) -> list[list[Token]]:
    """The parts of a text between some operators; a line break after a pipe, and a prompt, are left out."""
    parts: list[list[Token]] = [[]]
    after_pipe = False
    for token in tokens:
        is_break = isinstance(token, Operator) and token.text == "\n"
        if is_break and after_pipe:
            continue
        after_pipe = isinstance(token, Operator) and token.text in _PIPES
        if isinstance(token, Operator) and token.text in operators:
            parts.append([])
        elif parts[-1] or not (isinstance(token, tuple) and token in [(prompt,) for prompt in _PROMPTS]):
            parts[-1].append(token)
    return parts


def _is_curl(command: Sequence[Token]) -> bool:
    first = command[0] if command else None
    return isinstance(first, tuple) and _CURL.fullmatch(quoted_text(first) or "") is not None


def _without_redirections(tokens: Sequence[Token], skipped: int) -> ShellCommand:
    words: list[Word] = []
    given: Word | None = None
    file: Word | None = None
    rest = iter(tokens)
    for token in rest:
        if isinstance(token, HereDocument):
            given = token.text
        elif isinstance(token, tuple):
            words.append(token)
        elif token.text in ("<", "<<<", *_OUTPUTS):
            target = next(rest, None)
            if not isinstance(target, tuple):
                raise refused(f"nothing follows {token.text}")
            if token.text == "<":
                file = target
            elif token.text == "<<<":
                given = (*target, "\n")
        elif token.text == "&":
            raise refused("it has an & outside of quotes, which ends a command in a shell: put the address in quotes")
        else:
            raise refused(f"it has {token.text} outside of quotes: paste only curl and its arguments")
    return ShellCommand(tuple(words[skipped:]), given, file)


def _with_input(command: ShellCommand, writer: ShellCommand) -> ShellCommand:
    """The command, with what another one writes to its input."""
    name, *arguments = writer.words or ((),)
    called = quoted_text(name)
    if called == "cat":
        if not arguments:
            return ShellCommand(command.words, writer.input, writer.input_file)
        if len(arguments) == 1:
            return ShellCommand(command.words, input_file=arguments[0])
    elif called == "echo" and arguments:
        newline = arguments[0] != ("-n",)
        spaced = [piece for word in arguments[0 if newline else 1 :] for piece in (" ", *word)][1:]
        return ShellCommand(command.words, (*spaced, "\n") if newline else tuple(spaced))
    elif called == "printf" and arguments:
        return ShellCommand(command.words, _printed(*arguments))
    raise refused("its input comes from a command that is not executed: put the body after -d")


def _printed(form: Word, *values: Word) -> Word:
    """What ``printf`` writes: escapes, and one ``%s`` for each value."""
    text = quoted_text(form)
    if text is None:
        raise refused("the format of printf has a variable: put it in single quotes")
    pieces: list[Word] = []
    rest, done, octal = iter(values), 0, bytearray()
    for escape in _PRINTF_ESCAPE.finditer(text):
        between = text[done : escape.start()]
        if octal and (between or escape[2] is None):
            pieces.append((octal.decode("utf-8", "surrogateescape"),))
            octal = bytearray()
        pieces.append((between,))
        done = escape.end()
        percent, number, letter = escape.groups()
        if number is not None:
            octal.append(int(number, 8) & 0xFF)
        elif percent == "%":
            pieces.append(("%",))
        elif percent == "s":
            pieces.append(next(rest, ("",)))
        elif letter in _PRINTF_LETTERS:
            pieces.append((_PRINTF_LETTERS[letter],))
        else:
            raise refused("the format of printf has more than text, %s, %% and escapes: put the body after -d")
    pieces += [(octal.decode("utf-8", "surrogateescape"),), (text[done:],)]
    if next(rest, None) is not None:
        raise refused("printf has more values than its format has %s: put the body after -d")
    return tuple(piece for word in pieces for piece in word if piece != "")
