"""A request as a cURL command and as a Python program; safe to copy: it does nothing more than it shows."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from json.encoder import encode_basestring as _text
from typing import Any
from urllib.parse import quote, urlsplit

from evalkit.client.origin import Origin, path_of
from evalkit.client.request_head import USUAL_HEADERS
from evalkit.endpoint import CERTIFICATES, Endpoint
from evalkit.inputs.addresses import split_query
from evalkit.inputs.request_headers import suggested_variable

# parameters that the official client accepts by name besides model and messages; others go into ``extra_body``
_NAMED = (
    "stream", "stream_options", "temperature", "top_p", "max_tokens", "max_completion_tokens",
    "stop", "seed", "tools", "tool_choice", "response_format", "presence_penalty", "frequency_penalty",
)  # fmt: skip
# the key variable in reports: the run file, which names one, may come from a stranger, and so may its address
KEY_VARIABLE = "API_KEY"
_LONGEST_ARGUMENT = 100_000  # characters or bytes; Linux allows 128 KiB for one argument
_EXPECTED = 2**20  # bytes, above which curl waits for a server to say that it wants the body
_GLOBBED = re.compile(r"[\[\]{}]")
_CURL_FLAGS = {"client_cert_env": "--cert", "client_key_env": "--key", "ca_env": "--cacert"}
_LINE = " \\\n  "
_BETWEEN = ",\n  "  # two messages of a cURL command
_ITEM = "\n        "  # of a list in a Python program
_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class ReachedBy:
    """Headers and certificates of a request; secrets and paths by the names of their variables.

    Parameters
    ----------
    headers, headers_env : mapping
        As ``Endpoint`` has them.
    certificates : mapping
        ``client_cert_env``, ``client_key_env`` and ``ca_env``, those that are set.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    headers_env: Mapping[str, str] = field(default_factory=dict)
    certificates: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, endpoint: Endpoint) -> ReachedBy:
        """What an endpoint is reached by."""
        certificates = {name: value for name in CERTIFICATES if (value := getattr(endpoint, name))}
        return cls(endpoint.headers, endpoint.headers_env, certificates)

    @classmethod
    def for_report(cls, settings: Mapping[str, Any]) -> ReachedBy:
        """What the endpoint of a run file is reached by, for a reader to copy: the variables have names of our own."""
        headers_env = {name: f"HEADER_{suggested_variable(name)}" for name in settings.get("headers_env") or {}}
        files = {"client_cert_env": "CLIENT_CERT", "client_key_env": "CLIENT_KEY", "ca_env": "CA_FILE"}
        certificates = {name: variable for name, variable in files.items() if settings.get(name)}
        return cls(settings.get("headers") or {}, headers_env, certificates)

    def curl_lines(self) -> list[str]:
        """The arguments of cURL."""
        # a run file may come from a stranger, and a name may have characters that a shell interprets
        plain = [f"-H {_single_quoted(_shown(f'{name}: {value}'))}" for name, value in self.headers.items()]
        secret = [
            f'-H {_single_quoted(_shown(name))}": {_expanded(value)}"' for name, value in self.headers_env.items()
        ]
        return [
            *plain,
            *secret,
            *(f'{_CURL_FLAGS[name]} "{_expanded(self.certificates[name])}"' for name in self.certificates),
        ]

    def flags(self) -> list[str]:
        """The flags of evalkit's own commands."""
        words = [f"--header={name}={value}" for name, value in self.headers.items()]
        words += [f"--header-env={name}={variable}" for name, variable in self.headers_env.items()]
        return words + [f"--{name.replace('_', '-')}={variable}" for name, variable in self.certificates.items()]


@dataclass(frozen=True, slots=True)
class CodeInParts:
    """A request as code, in parts: requests of one conversation share all but messages.

    Parameters
    ----------
    head, tail : str
        The code before and after the messages.
    messages : tuple of str
        Each as the code has it.
    separator : str
        Between two messages.
    """

    head: str
    messages: tuple[str, ...]
    tail: str
    separator: str

    def __str__(self) -> str:
        return self.head + self.separator.join(self.messages) + self.tail


def curl(url: str, body: Mapping[str, Any], *, key_env: str | None = None, reached_by: ReachedBy | None = None) -> str:
    """A request as a command for a POSIX shell.

    Parameters
    ----------
    url : str
        Address of the chat-completion route.
    body : mapping
        The request's JSON.
    key_env : str, optional
        NAME of the environment variable that holds the key; the command contains this name.
    reached_by : ReachedBy, optional
    """
    return str(curl_command(url, body, key_env=key_env, reached_by=reached_by))


def curl_command(
    url: str, body: Mapping[str, Any], *, key_env: str | None = None, reached_by: ReachedBy | None = None
) -> CodeInParts:
    """``curl`` in parts: with fewer of its messages, it is the command of an earlier request."""
    lines = _head_lines(shlex.quote(_encoded(url)), bool(body.get("stream")), key_env, reached_by)
    messages = [_visible(_json(message)).replace("\n", "\n  ") for message in body.get("messages", ())]
    # quotes inside of a JSON text are escaped, so that these are those of the key
    text, found, rest = _visible(_json({**body, "messages": []})).partition('"messages": []')
    text, rest = (f"{text}{found[:-1]}\n  ", f"\n ]{rest}") if messages else (text + found, rest)
    if sum(map(len, messages)) + len(text) + len(rest) > _LONGEST_ARGUMENT:
        lines.append(f"--data-binary @- <<'END'\n{text}")  # a line of JSON is never the word that ends the input
        return CodeInParts(_LINE.join(lines), tuple(messages), f"{rest}\nEND", _BETWEEN)
    text, *messages, rest = (_in_single_quotes(part) for part in (text, *messages, rest))
    lines.append(f"--data-raw '{text}")
    return CodeInParts(_LINE.join(lines), tuple(messages), f"{rest}'", _BETWEEN)


def exact_curl(
    url: str,
    body: bytes,
    *,
    stream: bool,
    key_env: str | None = None,
    reached_by: ReachedBy | None = None,
    host_env: str | None = None,
) -> str:
    """A request as a command for a POSIX shell that sends the same bytes: body, path and headers.

    Parameters
    ----------
    url : str
        Address of the chat-completion route.
    body : bytes
        JSON in UTF-8, as it is sent. A body that is too long for an argument, or has invisible characters, is written
        to curl's input by ``printf``, which shells have built in; a here document would add a line break.
    stream : bool
        Print the answer as it comes.
    key_env : str, optional
        NAME of the environment variable that holds the key; the command contains this name.
    reached_by : ReachedBy, optional
    host_env : str, optional
        NAME of the environment variable that holds scheme and host, in place of those of ``url``.
    """
    origin, reached_by = Origin.of(url), reached_by or ReachedBy()
    path = _in_single_quotes(path_of(url))
    address = f"'{origin.scheme}://{origin.authority}{path}'" if host_env is None else f"\"${host_env}\"'{path}'"
    given = {name.lower() for name in (*reached_by.headers, *reached_by.headers_env)}
    usual = {name: value for name, value in USUAL_HEADERS.items() if name.lower() not in given}
    if len(body) > _EXPECTED:
        usual["Expect"] = ""
    lines = _head_lines(address, stream, key_env, replace(reached_by, headers={**usual, **reached_by.headers}))
    text = body.decode()
    visible = text.replace("\n", "").isprintable()
    if visible and len(body) <= _LONGEST_ARGUMENT:
        return _LINE.join([*lines, f"--data-raw {_single_quoted(text)}"])
    printed = f"%s {_single_quoted(text)}" if visible else _single_quoted(_printf_format(text))
    return f"printf {printed} |\n{_LINE.join([*lines, '--data-binary @-'])}"


def _printf_format(text: str) -> str:
    """A format with which ``printf`` writes this text; invisible characters are octal escapes of their bytes."""
    text = text.replace("\\", "\\\\").replace("%", "%%")
    return "".join(c if c.isprintable() or c == "\n" else "".join(f"\\{byte:03o}" for byte in c.encode()) for c in text)


def _head_lines(address: str, stream: bool, key_env: str | None, reached_by: ReachedBy | None) -> list[str]:
    """The command, its address and what the request is reached by."""
    # curl would take brackets and braces for a list of addresses
    flags = f"{'-N ' if stream else ''}{'-g ' if _GLOBBED.search(address) else ''}"
    lines = [f"curl {flags}{address}", "-H 'Content-Type: application/json'"]
    if key_env is not None:
        lines.append(f'-H "Authorization: Bearer {_expanded(key_env)}"')
    return lines if reached_by is None else lines + reached_by.curl_lines()


def file_note(name: str) -> str:
    """A line for a command with the name of a file in place of its content."""
    return f"# the run sent the content of this file: put it in place of its name: {_visible(_json(name))}\n"


def _expanded(variable: str) -> str:
    """A variable as a shell expands it in double quotes; printenv reads names that are not valid in a shell."""
    return f"${variable}" if _SHELL_NAME.fullmatch(variable) else f"$(printenv {shlex.quote(variable)})"


def python(
    base_url: str,
    body: Mapping[str, Any],
    *,
    key_env: str | None = None,
    reached_by: ReachedBy | None = None,
    host_env: str | None = None,
) -> str:
    """A request as a Python program that uses the official client and prints the answer.

    Parameters
    ----------
    base_url : str
    body : mapping
        The request's JSON.
    key_env : str, optional
        NAME of the environment variable that holds the key.
    reached_by : ReachedBy, optional
    host_env : str, optional
        NAME of the environment variable that holds scheme and host, in place of those of ``base_url``.
    """
    return str(python_program(base_url, body, key_env=key_env, reached_by=reached_by, host_env=host_env))


def python_program(
    base_url: str,
    body: Mapping[str, Any],
    *,
    key_env: str | None = None,
    reached_by: ReachedBy | None = None,
    host_env: str | None = None,
) -> CodeInParts:
    """``python`` in parts: with fewer of its messages, it is the program of an earlier request."""
    key = "'no-key'" if key_env is None else f"os.environ[{key_env!r}]"
    reached_by = reached_by or ReachedBy()
    modules = ["import os"] if key_env or host_env or reached_by.headers_env or reached_by.certificates else []
    modules += ["import ssl"] if reached_by.certificates else []
    names = [name.lower() for name in reached_by.headers_env]
    keyless = key_env is None and bool(names) and "authorization" not in names
    client = ["OpenAI", *(["Omit"] if keyless else [])]
    client += ["DefaultHttpxClient"] if reached_by.certificates else []
    lines = [*modules, *([""] if modules else []), f"from openai import {', '.join(sorted(client))}", ""]
    lines += _client_lines(base_url, key, reached_by, host_env)
    lines.append("answer = client.chat.completions.create(")
    lines += [f"    model={body['model']!r},"] if "model" in body else []
    messages = tuple(map(repr, body.get("messages", ())))
    if messages:
        lines.append(f"    messages=[{_ITEM}")
        return CodeInParts(
            "\n".join(lines), messages, "\n".join([",", "    ],", *_last_lines(body, keyless)]), f",{_ITEM}"
        )
    lines += ["    messages=[],"] if "messages" in body else []
    return CodeInParts("\n".join([*lines, *_last_lines(body, keyless)]), (), "", "")


def _last_lines(body: Mapping[str, Any], keyless: bool) -> list[str]:
    """The lines of a program after the messages."""
    lines = [f"    {name}={_literal(body[name])}," for name in _NAMED if name in body]
    others = {name: value for name, value in body.items() if name not in ("model", "messages", *_NAMED)}
    if others:
        lines.append(f"    extra_body={_literal(others)},")
    if keyless:  # where a header holds the key, a made-up one next to it would be refused
        lines.append("    extra_headers={'Authorization': Omit()},")
    lines.append(")")
    if body.get("stream"):
        lines += ["for chunk in answer:", "    if chunk.choices:"]
        lines.append("        print(chunk.choices[0].delta.content or '', end='', flush=True)")
    else:
        lines.append("print(answer.choices[0].message.content)")
    return lines


def _client_lines(base_url: str, key: str, reached_by: ReachedBy, host_env: str | None) -> list[str]:
    """The lines that make the official client."""
    lines, (address, query) = [], split_query(base_url)
    host = "" if host_env is None else f"os.environ[{host_env!r}] + "
    path = address if host_env is None else urlsplit(address).path
    arguments = [f"base_url={host}{_encoded(path)!r}", f"api_key={key}"]
    if query:
        arguments.append(f"default_query={query!r}")
    headers = [f"{name!r}: {value!r}" for name, value in reached_by.headers.items()]
    headers += [f"{name!r}: os.environ[{variable!r}]" for name, variable in reached_by.headers_env.items()]
    if headers:
        arguments.append(f"default_headers={{{', '.join(headers)}}}")
    if reached_by.certificates:
        named = {name: f"os.environ[{variable!r}]" for name, variable in reached_by.certificates.items()}
        cafile = f"cafile={named['ca_env']}" if "ca_env" in named else ""
        lines.append(f"tls = ssl.create_default_context({cafile})")
        pair = [named[name] for name in ("client_cert_env", "client_key_env") if name in named]
        lines += [f"tls.load_cert_chain({', '.join(pair)})"] if pair else []
        arguments.append("http_client=DefaultHttpxClient(verify=tls)")
    return [*lines, f"client = OpenAI({', '.join(arguments)})"]


def _literal(value: Any) -> str:
    """A Python literal, a list with one item per line; ``repr`` escapes invisible characters."""
    if isinstance(value, list) and value:
        return "[" + ",".join(f"{_ITEM}{item!r}" for item in value) + ",\n    ]"
    return repr(value)


def _visible(text: str) -> str:
    """JSON with invisible characters escaped, such as marks that change the direction of text."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _json(value: Any) -> str:
    if isinstance(value, dict) and value and all(type(each) is str for each in value.values()):  # most messages: fast
        return "{\n" + ",\n".join(f" {_text(key)}: {_text(each)}" for key, each in value.items()) + "\n}"
    return json.dumps(value, ensure_ascii=False, indent=1)


def _shown(header: str) -> str:
    return _visible(header).replace("\n", " ")


def _encoded(url: str) -> str:
    """An address with invisible characters, including line breaks, percent-encoded."""
    return "".join(c if c.isprintable() else quote(c, errors="replace") for c in url)


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"


def _single_quoted(text: str) -> str:
    """Text in single quotes, where a POSIX shell interprets nothing but the single quote."""
    return f"'{_in_single_quotes(text)}'"


def _in_single_quotes(text: str) -> str:
    return text.replace("'", "'\\''")
