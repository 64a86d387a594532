"""The options of curl: which have a value, and which matter for what is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evalkit.inputs.suggestions import nearest_name
from evalkit.replaying.shell_words import Variable, Word, refused

DATA = ("data", "data-ascii", "data-binary", "data-raw", "json")
_USED = {
    *DATA, "url", "header", "request", "user", "oauth2-bearer", "user-agent", "referer", "cookie", "cert", "key",
    "cacert", "max-time", "connect-timeout",
}  # fmt: skip
# about what curl shows, or how its connection is made
_NO_MATTER = {
    "output", "write-out", "retry", "retry-delay", "retry-max-time", "dump-header", "stderr", "trace", "trace-ascii",
    "cookie-jar", "limit-rate", "max-redirs", "keepalive-time", "speed-limit", "speed-time", "output-dir", "tls-max",
    "ciphers", "curves", "libcurl",
}  # fmt: skip
_FLAGS_WITHOUT_MATTER = {
    "silent", "show-error", "no-buffer", "verbose", "include", "location", "fail", "fail-with-body", "fail-early",
    "progress-bar", "no-progress-meter", "compressed", "globoff", "ipv4", "ipv6", "http1.0", "http1.1", "http2",
    "http2-prior-knowledge", "http3", "tlsv1", "tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3", "path-as-is", "raw",
    "remote-name", "create-dirs", "post301", "post302", "post303", "retry-all-errors", "retry-connrefused",
    "tcp-nodelay", "tr-encoding", "styled-output", "buffer", "no-silent", "no-keepalive", "ssl-no-revoke", "disable",
    "no-compressed", "no-location", "no-fail", "no-verbose", "no-include", "trace-time",
}  # fmt: skip
INSECURE = "insecure"
REFUSED = {
    "get": "-G makes another request than a POST with a body",
    "head": "-I requests no answer",
    "form": "-F sends a form, and a chat completion is JSON: use --data or --json",
    "form-string": "--form-string sends a form, and a chat completion is JSON: use --data or --json",
    "data-urlencode": "--data-urlencode sends a form, and a chat completion is JSON: use --data or --json",
    "upload-file": "-T uploads a file: use --data-binary @FILE",
    "config": "-K reads options from a file: put them into the command",
    "netrc": '-n reads a password from a file: name a variable instead, -H "Authorization: $BASIC_AUTH"',
    "next": "--next begins another request: paste one at a time",
    "parallel": "-Z makes several requests: paste one at a time",
    "proxy": "-x names a proxy: set the variable HTTPS_PROXY or HTTP_PROXY instead",
    "resolve": "--resolve is not supported: give the address itself",
    "connect-to": "--connect-to is not supported: give the address itself",
    "unix-socket": "--unix-socket is not supported: an endpoint is reached by an http:// or https:// address",
    "proxy-insecure": "--proxy-insecure is not supported",
    "digest": "--digest is not supported: an endpoint needs a key or a header",
    "aws-sigv4": "--aws-sigv4 is not supported: an endpoint needs a key or a header",
}
SHORT = {
    "d": "data", "H": "header", "X": "request", "u": "user", "A": "user-agent", "e": "referer", "b": "cookie",
    "E": "cert", "m": "max-time", "o": "output", "w": "write-out", "D": "dump-header", "c": "cookie-jar",
    "s": "silent", "S": "show-error", "N": "no-buffer", "v": "verbose", "i": "include", "L": "location", "f": "fail",
    "#": "progress-bar", "g": "globoff", "4": "ipv4", "6": "ipv6", "0": "http1.0", "1": "tlsv1", "O": "remote-name",
    "q": "disable", "k": INSECURE, "G": "get", "I": "head", "F": "form", "T": "upload-file", "K": "config",
    "n": "netrc", ":": "next", "Z": "parallel", "x": "proxy", "y": "speed-time", "Y": "speed-limit",
}  # fmt: skip
WITH_VALUE = _USED | _NO_MATTER
KNOWN = WITH_VALUE | _FLAGS_WITHOUT_MATTER | {INSECURE}

Option = tuple[str, Word]  # its long name, and its value; a flag has an empty word


def options(words: Sequence[Word]) -> Iterator[Option]:
    """The options of a curl command that matter, in order; an address is the option ``url``.

    Parameters
    ----------
    words : sequence of Word
        Those after ``curl``.

    Raises
    ------
    SettingsError
        An option is not known, cannot be part of a chat completion, or lacks its value. The message shows no value.
    """
    rest, only_addresses = iter(words), False
    for word in rest:
        first = word[0] if word else ""
        if only_addresses or isinstance(first, Variable) or not first.startswith("-") or word == ("-",):
            yield "url", word
        elif first.startswith("--"):
            if word == ("--",):
                only_addresses = True
                continue
            name, equals, value = first[2:].partition("=")
            _check(name, f"--{name}")
            if name in WITH_VALUE:
                given: Word | None = (value, *word[1:]) if equals else next(rest, None)
                yield from _kept(name, _value(f"--{name}", given))
            elif name == INSECURE:
                yield name, ()
        else:
            yield from _short(word, rest)


def _short(word: Word, rest: Iterator[Word]) -> Iterator[Option]:
    """The options of ``-sSN`` and ``-XPOST``: flags, and at the end one that may have a value."""
    first = str(word[0])
    for at, letter in enumerate(first[1:], start=2):
        name = SHORT.get(letter)
        if name is None:
            raise refused(f"the option -{letter if letter.isprintable() else '?'} is not known")
        _check(name, f"-{letter}")
        if name in WITH_VALUE:
            inside: Word = (first[at:], *word[1:]) if first[at:] else word[1:]
            yield from _kept(name, _value(f"-{letter}", inside or next(rest, None)))
            return
        if name == INSECURE:
            yield name, ()


def _kept(name: str, value: Word) -> Iterator[Option]:
    if name in _USED:
        yield name, value


def _value(option: str, value: Word | None) -> Word:
    if value is None:
        raise refused(f"the option {option} has no value")
    return value


def _check(name: str, shown: str) -> None:
    if name in REFUSED:
        raise refused(REFUSED[name])
    if name not in KNOWN:
        shown = "".join(c for c in shown if c.isprintable())[:40]
        nearest = nearest_name(name, KNOWN)
        hint = "" if nearest is None else f": did you mean --{nearest}?"
        raise refused(f"the option {shown} is not known{hint}")
