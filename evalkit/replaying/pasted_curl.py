"""A pasted cURL command as a request: ``from_curl``. Nothing of it is executed, and no key in it is kept."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from evalkit.client.request_as_code import KEY_VARIABLE, ReachedBy
from evalkit.client.request_head import USUAL_HEADERS
from evalkit.endpoint import ENVIRONMENT
from evalkit.errors import SettingsError
from evalkit.inputs.addresses import ROUTE, hidden_secrets, is_loopback, normalise_base_url
from evalkit.inputs.request_headers import SET_BY_CLIENT, suggested_variable
from evalkit.inputs.secret_names import is_secret_name, is_secret_value
from evalkit.replaying import curl_options
from evalkit.replaying.chat_request import ChatRequest
from evalkit.replaying.shell_commands import ShellCommand, curl_command
from evalkit.replaying.shell_words import Variable, Word, quoted_text, refused

BASIC_VARIABLE = "BASIC_AUTH"
_BEARER = re.compile(r"(?i)bearer[ \t]+")
_NAMED = re.compile(r"\$\{?([A-Za-z_]\w*)\}?", re.ASCII)
_MOST_BYTES = 256 * 2**20  # of a file with a body
_FILES = {"cert": "client_cert_env", "key": "client_key_env", "cacert": "ca_env"}
_LIMITS = {"max-time": "timeout_s", "connect-timeout": "connect_timeout_s"}
_USUAL = {name.lower(): value for name, value in USUAL_HEADERS.items()}


def from_curl(text: str) -> ChatRequest:
    """Read a cURL command, as documentation has it and browsers copy it, without a shell: nothing in it is executed.

    Parameters
    ----------
    text : str
        A command for bash or a POSIX shell: quotes, ``$'…'``, line continuations, here documents, ``-d @FILE``,
        ``--json``. Variables outside of single quotes are read from the environment; those in headers stay names.

    Returns
    -------
    ChatRequest
        ``endpoint`` and ``conversation`` are what ``converse`` and ``evaluate`` need; ``python()`` and ``curl()`` are
        the request as code; ``sends`` names the files and variables that it sends to the address in the command. A
        key that is in the text is not kept: a warning says which variable to set.

    Raises
    ------
    SettingsError
        The command cannot be read, or is not a chat completion; or a shell would execute a part of it.

    Examples
    --------
    >>> request = from_curl('''curl https://host/v1/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY"
    ...     -d '{"model": "m", "messages": [{"role": "user", "content": "What is 12 + 23?"}]}' ''')
    >>> request.key_env, request.conversation.turns[0].user
    ('OPENAI_API_KEY', 'What is 12 + 23?')
    """
    command = curl_command(text)
    given = _Given()
    for name, value in curl_options.options(command.words):
        given.add(name, value)
    return given.request(command)


@dataclass(slots=True)
class _Sent:
    """The files and variables whose contents a request sends."""

    files: list[str] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)

    def in_words(self) -> tuple[str, ...]:
        """Each once, as a message names it."""
        named = [f"the file {name!r}" for name in self.files] + [f"the variable {name}" for name in self.variables]
        return tuple(dict.fromkeys(named))


@dataclass(slots=True)
class _Given:
    """What the options of a command say."""

    addresses: list[Word] = field(default_factory=list)
    data: list[tuple[str, Word]] = field(default_factory=list)
    methods: list[Word] = field(default_factory=list)
    key_env: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    headers_env: dict[str, str] = field(default_factory=dict)
    certificates: dict[str, str] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)
    sent: _Sent = field(default_factory=_Sent)

    def add(self, name: str, value: Word) -> None:
        """Note an option."""
        if name == "url":
            self.addresses.append(value)
        elif name in curl_options.DATA:
            self.data.append((name, value))
        elif name == "request":
            self.methods.append(value)
        elif name == "header":
            self._add_header(value)
        elif name in ("user", "oauth2-bearer"):
            self._add_authorization(("Basic ", *value) if name == "user" else ("Bearer ", *value))
        elif name in ("user-agent", "referer"):
            self.headers[{"user-agent": "User-Agent", "referer": "Referer"}[name]] = expanded(
                value, "a header", self.sent
            )
        elif name == "cookie":
            self._add_secret("Cookie", value)
        elif name in _FILES:
            self._add_file(_FILES[name], value)
        elif name in _LIMITS:
            self.limits[_LIMITS[name]] = _seconds(name, expanded(value, "a time limit"))
        elif name == curl_options.INSECURE:
            self.advice.append(
                "-k is ignored, certificates are always checked: give the authority with --cacert, or set SSL_CERT_FILE"
            )

    def _add_header(self, word: Word) -> None:
        name, colon, value = _split_header(word)
        lower = name.lower()
        if not colon or lower in SET_BY_CLIENT or not value:
            return  # curl sends no header without a value
        if lower == "authorization":
            self._add_authorization(value)
        elif len(value) == 1 and isinstance(value[0], Variable) and not is_secret_name(name):
            _check_no_secret(value[0].name, f"the header {name}")
            self.headers_env[name] = value[0].name
        elif is_secret_name(name) or is_secret_value(quoted_text(value) or ""):
            self._add_secret(name, value)
        elif (text := expanded(value, f"the header {name}", self.sent)) != _USUAL.get(lower):
            self.headers[name] = text

    def _add_authorization(self, value: Word) -> None:
        """The key of ``Bearer …``, or another header of that name."""
        first = value[0]
        scheme = _BEARER.match(first) if isinstance(first, str) else None
        if scheme is None:
            self._add_secret("Authorization", value, BASIC_VARIABLE)
            return
        rest = (str(first)[scheme.end() :], *value[1:])
        parts = [part for part in rest if part != ""]
        if len(parts) == 1 and isinstance(parts[0], Variable):
            self.key_env = parts[0].name
        elif (named := _NAMED.fullmatch(quoted_text(rest) or "")) is not None:
            self.key_env = named[1]  # in single quotes, where a shell would not replace it
        else:
            self.key_env = _variable_with(quoted_text(rest)) or KEY_VARIABLE
            if not os.environ.get(self.key_env):
                self.advice.append(f"the key in the command is not kept: set the variable, export {self.key_env}=…")

    def _add_secret(self, name: str, value: Word, variable: str | None = None) -> None:
        if len(value) == 1 and isinstance(value[0], Variable):
            self.headers_env[name] = value[0].name
            return
        variable = variable or suggested_variable(name)
        self.headers_env[name] = variable
        if not os.environ.get(variable):
            example = "\"Basic $(printf %s 'USER:PASSWORD' | base64)\"" if variable == BASIC_VARIABLE else "…"
            self.advice.append(
                f"the value of the header {name} in the command is not kept: set the variable, "
                f"export {variable}={example}"
            )

    def _add_file(self, name: str, value: Word) -> None:
        if len(value) == 1 and isinstance(value[0], Variable):
            self.certificates[name] = value[0].name
            return
        variable = {"client_cert_env": "CLIENT_CERT", "client_key_env": "CLIENT_KEY", "ca_env": "CA_FILE"}[name]
        self.certificates[name] = variable
        if not os.environ.get(variable):
            self.advice.append(f"paths of certificates are read from variables: export {variable}=PATH")

    def request(self, command: ShellCommand) -> ChatRequest:
        """The request, after a check that it is a chat completion."""
        if any(quoted_text(method) != "POST" for method in self.methods):
            raise refused("its method (-X) is not POST, and a chat completion is a POST")
        url = _address(self.addresses, self.sent)
        if not self.data:
            raise refused("it has no body: give the JSON of the request with -d, --json or --data-binary")
        body = _body(self.data, command, self.sent)
        names = [name.lower() for name in (*self.headers, *self.headers_env)]
        if (twice := next((name for name in names if names.count(name) > 1), None)) is not None:
            raise refused(f"it has the header {twice} twice: leave one out")
        key_env = None if "authorization" in names else self.key_env
        reached_by = ReachedBy(self.headers, self.headers_env, self.certificates)
        for advice in self.advice:
            warnings.warn(advice, stacklevel=3)
        self.sent.variables += [*([key_env] if key_env else []), *self.headers_env.values()]
        return ChatRequest(url, body, key_env, reached_by, limits=self.limits, sends=self.sent.in_words())


def expanded(word: Word, place: str, sent: _Sent | None = None) -> str:
    """The text of a word, with the values of its variables, whose names are added to those that are sent.

    Raises
    ------
    SettingsError
        A variable is not set, or holds a secret, which must be neither stored nor shown.
    """
    text = []
    for piece in word:
        if isinstance(piece, str):
            text.append(piece)
            continue
        if not os.environ.get(piece.name):
            raise refused(f"it needs the variable {piece.name}, which is not set: export {piece.name}=…")
        _check_no_secret(piece.name, place)
        if sent is not None:
            sent.variables.append(piece.name)
        text.append(os.environ[piece.name])
    return "".join(text)


def _check_no_secret(variable: str, place: str) -> None:
    """Raise for a variable that seems to hold a secret, outside of a header for secrets."""
    if is_secret_name(variable) or is_secret_value(os.environ.get(variable, "")):
        raise refused(
            f"{place} has the variable {variable}, which seems to hold a secret: that can only be in a header for "
            'secrets, such as -H "Authorization: Bearer $KEY" or -H "api-key: $KEY"'
        )


def _split_header(word: Word) -> tuple[str, str, Word]:
    """Name, colon and value of a header, the value without blanks around it."""
    first = word[0] if word else ""
    if isinstance(first, Variable) or first.startswith("@"):
        raise refused("a header (-H) does not begin with its name: write it as -H 'NAME: VALUE'")
    name, colon, start = first.partition(":")
    pieces: list[str | Variable] = [start.lstrip(), *word[1:]]
    if isinstance(pieces[-1], str):
        pieces[-1] = pieces[-1].rstrip()
    return name.strip(), colon, tuple(piece for piece in pieces if piece != "")


def _variable_with(value: str | None) -> str | None:
    """The variable of the environment that holds this key already."""
    return next((key for _, _, key in ENVIRONMENT if value and os.environ.get(key) == value), None)


def _seconds(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise refused(f"the value of --{option} is not a number of seconds") from None


def _address(words: Sequence[Word], sent: _Sent) -> str:
    """The address of the chat-completion route."""
    if not words:
        raise refused("it has no address: curl https://HOST/v1/chat/completions …")
    if len(words) > 1:
        raise refused(
            f"it has {len(words)} addresses, or words that are not quoted: put the body and the headers in quotes"
        )
    text = expanded(words[0], "the address", sent).strip()
    if re.search(r"[{}]", text):
        raise refused("its address has braces: replace what they stand for")
    if "://" not in text:
        try:
            loopback = is_loopback(urlsplit(f"//{text}").hostname or "")
        except ValueError:
            raise refused("its address cannot be read") from None
        text = f"{'http' if loopback else 'https'}://{text}"
    normalise_base_url(text)  # raises for what is not an address, and for secrets
    path, mark, query = text.partition("#")[0].partition("?")
    if not path.rstrip("/").endswith(ROUTE):
        raise refused(f"its address, {hidden_secrets(text)}, is not that of chat completions, which ends in {ROUTE}")
    return f"{path.rstrip('/')}{mark}{query}"


def _body(data: Sequence[tuple[str, Word]], command: ShellCommand, sent: _Sent) -> bytes:
    """The body: JSON with messages.

    Raises
    ------
    SettingsError
        It is something else; the message does not show it.
    """
    body, joint = b"", b""
    for name, word in data:
        body += (joint if name != "json" else b"") + _data(name, word, command, sent)
        joint = b"&"
    if sent.files and len(data) > 1:
        raise refused("a file can only be the whole body: leave out the other options with data")
    try:
        value: Any = json.loads(body.decode())
    except UnicodeDecodeError:
        raise refused("its body is not UTF-8 text") from None
    except RecursionError:
        raise refused("its body is nested too deeply") from None
    except ValueError as error:
        place = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "a number"
        hint = "" if body else ": it is empty"
        raise refused(f"its body is not JSON ({place}){hint}") from None
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list) or not messages:
        raise refused("its body is not that of a chat completion: it has no list 'messages'")
    return body


def _data(name: str, word: Word, command: ShellCommand, sent: _Sent) -> bytes:
    """The bytes of one option with data."""
    first = word[0] if word else ""
    if name == "data-raw" or not (isinstance(first, str) and first.startswith("@")):
        return as_bytes(expanded(word, "the body", sent))
    file: str | None = expanded((first[1:], *word[1:]), "the name of a file")
    if file == "-":
        file = None if command.input_file is None else expanded(command.input_file, "the name of a file")
    if file is not None:
        sent.files.append(file)
    content = _input(command, sent) if file is None else read_file(file)
    return re.sub(rb"[\r\n\0]", b"", content) if name in ("data", "data-ascii") else content


def _input(command: ShellCommand, sent: _Sent) -> bytes:
    if command.input is None:
        raise refused("its body comes from standard input (@-), which is not part of the text: put it after -d")
    return as_bytes(expanded(command.input, "the body", sent))


def as_bytes(text: str) -> bytes:
    """Text as UTF-8; the surrogates of ``$'…'`` are bytes."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise refused("its body has half of a surrogate pair: write it as a JSON escape") from None


def read_file(name: str) -> bytes:
    """The content of a file that a command names."""
    path = Path(name)
    try:
        if not path.is_file():
            raise refused(f"there is no file {name!r}")
        if path.stat().st_size > _MOST_BYTES:
            raise refused(f"the file {name!r} has more than {_MOST_BYTES >> 20} MiB")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, SettingsError):
            raise
        raise refused(f"the file {name!r} cannot be read") from None
