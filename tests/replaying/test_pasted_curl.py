"""cURL commands as documentation has them and browsers copy them, and those that cannot be a request."""

import warnings

import pytest

import evalkit as ek
from evalkit.errors import SettingsError
from evalkit.replaying.pasted_curl import from_curl

URL = "https://h.example/v1/chat/completions"
BODY = '{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
ESCAPED = BODY.replace('"', '\\"')


def read(command):
    """The request and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        request = from_curl(command)
    return request, [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    "command",
    [
        f"curl {URL} -d '{BODY}'",
        f"  $ curl '{URL}' --data '{BODY}' | jq -r '.choices[0]' > out.json 2>&1\n\n",
        f"# ask\n\ncurl {URL} \\\n  -H 'Content-Type: application/json' \\\n  -d '{BODY}'  # done",
        f"curl {URL} \\\r\n  -d '{BODY}'\r\n",
        f"/usr/bin/curl --json '{BODY}' --url {URL}",
        f"curl.exe -sSNLk --compressed -XPOST --url={URL} -d'{BODY}' -o out -w '%{{http_code}}'",
        f"curl -X 'POST' -g --retry 3 -m 30 --connect-timeout=5 -- {URL} -d '{BODY}'".replace(f"-- {URL} ", "")
        + f" -- {URL}",
        f'curl "{URL}" -d "{ESCAPED}"',
        f"curl {URL} -d $'{BODY}'",
        f"curl {URL} --data-binary @- <<'EOF'\n{BODY}\nEOF\n",
        f"curl {URL} -d @- <<-EOF | jq .\n\t{BODY}\n\tEOF",
        f"curl {URL} -d @- <<< '{BODY}'",
        f"echo '{BODY}' | curl -s {URL} -d @-",
        f"echo -n '{BODY}' |\n  curl {URL} --json @-",
        f"printf '%s' '{BODY}' | curl {URL} --data-binary @-",
        f"cat <<EOF | curl {URL} -d@-\n{BODY}\nEOF",
        f"curl {URL} --data-raw '{BODY[:20]}' --json '{BODY[20:]}'",
    ],
)
def test_forms_of_one_request(command):
    request, _ = read(command)
    assert (request.url, request.key_env) == (URL, None)
    assert request.json == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert request.conversation.turns[0].user == "hi"
    assert request.endpoint.base_url == "https://h.example/v1"


def test_a_body_and_an_input_from_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b ody.json").write_text(BODY.replace(" ", "\n"), encoding="utf-8")
    for option in ("-d '@b ody.json'", "--json '@b ody.json'", "--data-binary @- < 'b ody.json'"):
        assert from_curl(f"curl {URL} {option}").json["model"] == "m"
    assert b"\n" not in from_curl(f"curl {URL} -d '@b ody.json'").body  # as curl does it
    assert b"\n" in from_curl(f"cat 'b ody.json' | curl {URL} --data-binary @-").body


def test_what_a_browser_copies():
    request, notes = read(
        "curl 'https://h.example/api/chat/completions?v=2' \\\n  -H 'accept: */*' \\\n  -H 'content-length: 7' \\\n"
        "  -H 'content-type: application/json' \\\n  -b 'sid=0123456789abcdef' \\\n"
        "  -H 'origin: https://h.example' \\\n"
        '  --data-raw $\'{"model":"m","messages":[{"role":"user","content":"it\\\'s \\u0021 \\\\n"}]}\' \\\n'
        "  --compressed"
    )
    assert request.url == "https://h.example/api/chat/completions?v=2"
    assert request.reached_by.headers == {"accept": "*/*", "origin": "https://h.example"}
    assert request.reached_by.headers_env == {"Cookie": "COOKIE"}
    assert request.conversation.turns[0].user == "it's ! \n"
    assert [note for note in notes if "export COOKIE=" in note]
    assert "0123456789abcdef" not in repr(request) + request.curl() + request.python()


@pytest.mark.parametrize(
    ("header", "key_env", "headers_env"),
    [
        ('-H "Authorization: Bearer $OPENAI_API_KEY"', "OPENAI_API_KEY", {}),
        ('-H"authorization:bearer ${MY_KEY}"', "MY_KEY", {}),
        ("-H 'Authorization: Bearer $MY_KEY'", "MY_KEY", {}),
        ("--oauth2-bearer \"$MY_KEY\"", "MY_KEY", {}),
        ('-H "api-key: $AZURE"', None, {"api-key": "AZURE"}),
        ('-H "Authorization: $WHOLE"', None, {"Authorization": "WHOLE"}),
        ('-H "X-Team: $TEAM"', None, {"X-Team": "TEAM"}),
    ],
)  # fmt: skip
def test_variables_in_headers_stay_names(header, key_env, headers_env):
    request, notes = read(f"curl {URL} {header} -d '{BODY}'")
    assert (request.key_env, request.reached_by.headers_env, notes) == (key_env, headers_env, [])


@pytest.mark.parametrize(
    ("header", "variable"),
    [
        ("-H 'Authorization: Bearer hush-hush-1234567'", "API_KEY"),
        ("-H 'Authorization: Bearer <hush-hush>'", "API_KEY"),
        ('-H "Authorization: Bearer hush-hush$X"', "API_KEY"),
        ("--oauth2-bearer hush-hush", "API_KEY"),
        ("-u me:hush-hush", "BASIC_AUTH"),
        ("-H 'Authorization: Basic aHVzaC1odXNo hush-hush'", "BASIC_AUTH"),
        ("-H 'x-api-key: hush-hush'", "X_API_KEY"),
        ("-H 'x-api-key: hush'", "X_API_KEY"),
        ("-H 'X-Other: sk-abcdefghijklmnop1234hush'", "X_OTHER"),
        ("--cookie 'sid=hush-hush'", "COOKIE"),
        ("--cert /hush/hush.pem", "CLIENT_CERT"),
    ],
)
def test_a_secret_in_the_text_is_not_kept(header, variable, monkeypatch, tmp_path):
    request, notes = read(f"curl {URL} {header} -d '{BODY}'")
    assert [note for note in notes if f"export {variable}=" in note]
    shown = [
        repr(request),
        request.curl(),
        request.python(),
        repr(request.conversation),
        *notes,
        repr(request.reached_by),
    ]
    assert not [text for text in shown if "hush" in text]
    assert variable in request.curl()
    monkeypatch.setenv(variable, str(tmp_path / "x.pem"))
    assert read(f"curl {URL} {header} -d '{BODY}'")[1] == []
    assert "hush" not in repr(request.endpoint)


def test_a_key_that_a_variable_holds_is_named_by_it(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "hush-hush")
    request, notes = read(f"curl {URL} -H 'Authorization: Bearer hush-hush' -d '{BODY}'")
    assert (request.key_env, notes) == ("OPENAI_API_KEY", [])


def test_variables_outside_of_headers_are_replaced_unless_they_hold_secrets(monkeypatch):
    monkeypatch.setenv("BASE", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("WORD", "hey")
    monkeypatch.setenv("MY_SECRET", "hush-hush")
    monkeypatch.setenv("INNOCENT", "sk-abcdefghijklmnop1234hush")
    request = from_curl(f'curl ${{BASE}}/chat/completions -d "{ESCAPED.replace("hi", "$WORD")}" -H "X-A: a $WORD"')
    assert request.url == "http://127.0.0.1:9/v1/chat/completions"
    assert request.conversation.turns[0].user == "hey"
    assert request.reached_by.headers == {"X-A": "a hey"}
    for place in ('-d "$MY_SECRET"', '-d "$INNOCENT"', '-H "X-A: a $MY_SECRET" -d x', f"-d '{BODY}' -A \"$MY_SECRET\""):
        with pytest.raises(SettingsError, match="seems to hold a secret") as error:
            from_curl(f"curl {URL} {place}")
        assert "hush" not in str(error.value)


@pytest.mark.parametrize("header", ["X-Team", "X-Request-Id", "Accept", "OpenAI-Organization"])
def test_a_secret_is_only_sent_in_a_header_for_secrets(header, monkeypatch):
    monkeypatch.setenv("INNOCENT", "sk-abcdefghijklmnop1234hush")
    for variable in ("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "INNOCENT"):
        with pytest.raises(
            SettingsError, match=f"the header {header} has the variable {variable}, which seems"
        ) as error:
            from_curl(f"curl {URL} -H \"{header}: ${variable}\" -d '{BODY}'")
        assert "hush" not in str(error.value)
    for name in ("api-key", "x-api-key", "x-goog-api-key", "Ocp-Apim-Subscription-Key"):
        request = from_curl(f"curl {URL} -H \"{name}: $INNOCENT\" -d '{BODY}'")
        assert request.reached_by.headers_env == {name: "INNOCENT"}


@pytest.mark.parametrize(
    ("arguments", "sends"),
    [
        (f"{URL} -d '{BODY}'", ()),
        (f"{URL} -d @body.json", ("the file 'body.json'",)),
        (f"{URL} -d @$FOLDER/body.json", ("the file './body.json'",)),
        (f"{URL} --data-binary @- < body.json", ("the file 'body.json'",)),
        (f"{URL} --data-raw '{BODY}' < body.json", ()),
        (f"$ADDRESS/chat/completions -m $SECONDS -d '{BODY}'", ("the variable ADDRESS",)),
        (f'{URL} -d "{ESCAPED.replace("hi", "$WORD $WORD")}" -A "$WORD"', ("the variable WORD",)),
        (f"{URL} -d @- <<E\n{BODY.replace('hi', '$WORD')}\nE", ("the variable WORD",)),
        (f"{URL} -H \"Authorization: Bearer $A_KEY\" -H \"X-A: $WORD\" -H \"X-B: b $ADDRESS\" -d '{BODY}'",
         ("the variable ADDRESS", "the variable A_KEY", "the variable WORD")),
        (f"{URL} -H 'Authorization: Bearer $A_KEY' -d '{BODY}'", ("the variable A_KEY",)),
        (f"{URL} -H \"Host: $WORD\" --cacert $WORD -d '{BODY}'", ()),
    ],
)  # fmt: skip
def test_files_and_variables_that_are_sent_are_named(arguments, sends, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "body.json").write_text(BODY)
    values = {"FOLDER": ".", "ADDRESS": "http://127.0.0.1:9/v1", "SECONDS": "3", "WORD": "hey"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert read(f"curl {arguments}")[0].sends == sends


def test_insecure_is_not_obeyed_silently():
    assert ["certificates are always checked" in note for note in read(f"curl -sk {URL} -d '{BODY}'")[1]] == [True]


def test_time_limits_are_those_of_the_endpoint():
    endpoint = from_curl(f"curl -m 30 --connect-timeout 2.5 {URL} -d '{BODY}'").endpoint
    assert (endpoint.timeout_s, endpoint.connect_timeout_s) == (30, 2.5)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "it is empty"),
        ("# only this", "it is empty"),
        ("wget x", "does not begin with curl"),
        ("Invoke-WebRequest x", "does not begin with curl"),
        (f"curl {URL}", "it has no body"),
        (f"curl -d '{BODY}'", "it has no address"),
        (f"curl {URL} {URL} -d '{BODY}'", "it has 2 addresses"),
        (f"curl {URL} -d {{'model': 'm'}}", "it has 2 addresses"),
        (f"curl {URL}?a=1&b=2 -d '{BODY}'", "an & outside of quotes"),
        (f"curl {URL} -d '{BODY}' -X GET", r"its method \(-X\) is not POST"),
        (f"curl {URL} -d '{BODY}' -XDELETE", "is not POST"),
        (f"curl -G {URL} -d '{BODY}'", "-G makes another request"),
        (f"curl -I {URL}", "-I requests no answer"),
        (f"curl {URL} -F a=b", "-F sends a form"),
        (f"curl {URL} --data-urlencode a=b", "sends a form"),
        (f"curl {URL} -T x", "-T uploads"),
        (f"curl {URL} -d '{BODY}' --next {URL}", "--next begins another request"),
        (f"curl {URL} -d '{BODY}' --dataa x", "--dataa is not known: did you mean --data?"),
        (f"curl {URL} -sQd '{BODY}'", "the option -Q is not known"),
        (f"curl {URL} -d", "the option -d has no value"),
        (f"curl {URL} --json", "the option --json has no value"),
        (f"curl {URL} -m soon -d '{BODY}'", "--max-time is not a number"),
        (f"curl {URL} -d '{BODY}' -H \"$X\"", "does not begin with its name"),
        (f"curl {URL} -d '{BODY}' -H 'X-A: 1' -H 'x-a: 2'", "the header x-a twice"),
        (f"curl {URL} -d '[1]'", "no list 'messages'"),
        (f"curl {URL} -d '{{\"messages\": []}}'", "no list 'messages'"),
        (f"curl {URL} -d '{{'", r"its body is not JSON \(line 1, column 2\)"),
        (f"curl {URL} -d ''", "it is empty"),
        (f"curl {URL} -d '{BODY}' -d '{BODY}'", "is not JSON"),
        (f"curl {URL} -d $'\\xff'", "is not UTF-8"),
        (f"curl {URL} -d '{'[' * 100_000}'", "nested too deeply|is not JSON"),
        (f"curl {URL} -d @nosuch.json", "there is no file 'nosuch.json'"),
        (f"curl {URL} -d @/dev/zero", "there is no file '/dev/zero'"),
        (f"curl {URL} -d @-", "from standard input"),
        (f"curl {URL} -d \"$EVALKIT_NOT_SET\"", "EVALKIT_NOT_SET, which is not set"),
        ("curl https://h/v1/completions -d '{}'", r"https://h/v1/completions, is not that of chat completions"),
        ("curl https://me:hush@h/v1/chat/completions -d '{}'", "user name or password"),
        ("curl 'https://h/v1/chat/completions?key=hush-hush' -d '{}'", "a secret in its query"),
        ("curl 'https://{a,b}/v1/chat/completions' -d '{}'", "braces"),
        *((f"curl '{bad}/v1/chat/completions' -d '{{}}'", "address cannot be read|the base URL .* cannot be read")
          for bad in ("[", "[::1", "]", "h]", "[x]", "http://[", "https://[::1", "h\u2100", "https://h:x", "h:99999")),
        (f"curl {URL} -d @body.json -d '{BODY}'", "a file can only be the whole body"),
        (f"curl {URL} -d '{BODY[:20]}' --json @body.json", "a file can only be the whole body"),
        (f"curl {URL} -d '{BODY[:20]}' --data-binary @- < body.json", "a file can only be the whole body"),
        (f"cat body.json | curl {URL} -d '{BODY[:20]}' -d @-", "a file can only be the whole body"),
        ("curl ftp://h/v1/chat/completions -d '{}'", "not an http:// or https:// address"),
        (f"curl {URL} -d '{BODY}'\ncurl {URL} -d '{BODY}'", "several curl commands"),
        (f"export A=hush; curl {URL} -d '{BODY}'", "other commands besides curl"),
        (f"curl {URL}\n  -d '{BODY}'", "a line that ends without a backslash"),
        (f"A=hush curl {URL} -d '{BODY}'", "does not begin with curl"),
        (f"curl {URL} -d '{BODY}' && rm -rf x", "it has && outside of quotes"),
        (f"python make.py | curl {URL} -d @-", "a command that is not executed"),
        (f"printf '%d' 3 | curl {URL} -d @-", "the format of printf has more"),
        (f"printf '%s' 3 4 | curl {URL} -d @-", "printf has more values"),
        (f"printf \"$X\" | curl {URL} -d @-", "the format of printf has a variable"),
        (f"a | b | curl {URL} -d @-", "several commands write its input"),
        (f"curl {URL} -d '{BODY}' >", "nothing follows >"),
        (f"curl {URL} -x http://p -d '{BODY}'", "HTTPS_PROXY"),
    ],
)  # fmt: skip
def test_commands_that_are_no_request(command, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "body.json").write_text(BODY)
    with pytest.raises(SettingsError, match=words) as error:
        from_curl(command)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize("command", ["$(touch owned)", "`touch owned`", "<(touch owned)", "${x:=$(touch owned)}"])
def test_nothing_is_executed(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for place in (f'curl {URL} -d "{command}"', f"curl {URL} -d {command}", f"curl {URL} -d @- <<E\n{command}\nE"):
        with pytest.raises(SettingsError):
            from_curl(place)
    assert not list(tmp_path.iterdir())


def test_it_is_a_public_name():
    assert ek.from_curl is from_curl
