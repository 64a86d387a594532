"""The scripted server's profile ``taskingai``: as the service's recorded answers, and what it ignores and refuses."""

import json
import re

import openai
import pytest
from captures import FOLDER, load
from exchange import CHAT, ask, chat

from evalkit.scripted import profile_taskingai
from evalkit.scripted.http_messages import Request
from evalkit.scripted.server import Call, Calling, Fault, Law, Script, serve

ASSISTANT = "X5lM" + "a" * 20
MODEL = "Tp" + "b" * 6
KEY = "tk" + "Abcd1234" + "s" * 22
SSE = "text/event-stream; charset=utf-8"
PARIS, ROME = Call("get_weather", '{"city":"Paris"}'), Call("get_time", '{"city":"Rome"}')
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "call_abc", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
}


def taskingai(**settings):
    return Script(profile="taskingai", **{"key": KEY, **settings})


def post(script, body, **headers):
    with serve(script) as server:
        return ask(server.port, body, headers={"Authorization": f"Bearer {KEY}", **headers})


def seen(body, **settings):
    """What the model is given of a request."""
    given = []

    def answer(asked):
        given.append(asked)
        return "fine"

    heard = post(taskingai(answer=answer, **settings), body)
    assert heard.status == 200
    return given[0]


def error(heard):
    return heard.status, heard.json["error"]["code"], heard.json["error"]["message"]


# ---- the recorded answers


def said_in(name, sent):
    """The script that says what the recorded answer said: its text token by token, or its calls."""
    if "two_tool_calls" in name:
        return lambda body: [PARIS, ROME]
    if "tool_call" in name or "functions_legacy" in name:
        return lambda body: [PARIS]
    body = b"".join(load(name).body_reads()).decode()
    if sent.get("stream"):
        events = [json.loads(line[6:]) for line in body.split("\n") if line.startswith("data: {")]
        text = "".join(event["choices"][0]["delta"]["content"] for event in events)
    else:
        text = json.loads(body)["choices"][0]["message"]["content"] if load(name).status == 200 else ""
    return lambda body: text


FAULT_OF = {
    "A_50_up_cut_stream.txt": Fault("upstream_cut"),
    "A_71_llama_killed_midstream.txt": Fault("upstream_cut", options={"after": 22}),
    "A_50_up_err500.txt": Fault("upstream_error"),
    "A_50_up_err500_stream.txt": Fault("upstream_error"),
    "M_50_up_err500_stream.txt": Fault("upstream_error"),
    "M_50_up_err429.txt": Fault("upstream_error", options={"status": 429, "message": "stub says 429"}),
    "M_72_upstream_down.txt": Fault("upstream_down"),
}
SHAPES = sorted(path.name for path in FOLDER.glob("*.txt") if not path.name.startswith(("M_82", "95_")))


def shape(value, path=""):
    """Keys in their order and the types of values; texts, numbers and ids that must differ are left out."""
    if isinstance(value, dict):
        return {key: shape(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item, path) for item in value]
    varies = path.endswith((".id", ".created", "_tokens", ".model"))
    return type(value).__name__ if varies else value


@pytest.mark.parametrize("name", SHAPES)
def test_profile_answers_as_the_service_did(name):
    recorded, text = load(name), (FOLDER / name).read_bytes().decode()
    method, path = re.search(r"# REQUEST (\w+) \$SERVICE_HOST(\S+)", text).groups()
    body = re.search(r"# body: (.*)\n", text)[1].encode()
    key = {"30_wrong_key.txt": KEY[:10] + "x" * 22}.get(name, KEY)
    try:
        sent = json.loads(body)
    except ValueError:
        sent = {}
    script = taskingai(
        answer=said_in(name, sent) if sent else None, faults=[FAULT_OF[name]] if name in FAULT_OF else []
    )
    with serve(script) as server:
        authorization = None if "(no Authorization header)" in text else f"Bearer {key}"
        headers = {"Authorization": authorization} | ({} if body else {"Content-Type": None})
        heard = ask(server.port, body, method=method, path=path, headers=headers, silence=5)
    assert heard.status == recorded.status
    assert [line.partition(":")[0] for line in heard.head[1:]] == header_names(recorded)
    assert heard.headers.get("content-type") == recorded.headers.get("content-type")
    assert heard.ending == ("eof" if recorded.cut else "whole")
    body = b"".join(recorded.body_reads())
    if recorded.headers["content-type"] == SSE:
        recorded = [line.removeprefix("data: ") for line in body.decode().split("\n") if line.startswith("data: ")]
        assert comparable(heard.data) == comparable(recorded)
        assert spelling(heard.body) == spelling(body)
    else:
        body = body.replace(b"host:port", b"127.0.0.1:18080")
        ours, theirs = json.loads(heard.body), json.loads(body)
        assert json.dumps(shape(ours)) == json.dumps(shape(theirs))
        assert heard.body.count(b" ") == body.count(b" ")


def header_names(recorded):
    return [line.partition(b":")[0].decode() for line in recorded.raw.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]]


def comparable(data):
    """Shapes of the events, the texts joined: the service's tokens need not be words."""
    events = [json.loads(item) for item in data if item != "[DONE]"]
    joined = "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
    kinds = []
    for place, event in enumerate(events):
        choice = event["choices"][0]
        assert choice["index"] == place
        if choice["delta"]["content"] is not None:
            choice["delta"]["content"] = "text"
        choice["index"] = "counts up"
        kinds.append(json.dumps(shape(event)))
    return joined, set(kinds), data[-1:] == ["[DONE]"]


def spelling(body):
    """How the first event is written: separators, escapes."""
    return re.sub(rb'"(id|model)": "[^"]*"|"created": \d+|"content": "[^"]*"', b"", body.split(b"\n\n")[0])


def test_error_page_of_the_proxy_is_the_recorded_one():
    recorded = load("95_nginx_backend_down_502.txt")
    heard = post(taskingai(faults=[Fault("html_error")]), chat(model=MODEL))
    assert [line.partition(":")[0] for line in heard.head[1:]] == header_names(recorded)
    assert heard.body.split() == b"".join(recorded.body_reads()).split()


def test_a_model_ids_stream_of_a_very_long_text_ends_without_done():
    words = " ".join(["word" * 20] * 2_000)
    short, long = (post(taskingai(answer=lambda body, t=t: t), chat(model=MODEL, stream=True)) for t in ("a", words))
    assert (short.ending, short.data[-1]) == ("whole", "[DONE]")
    assert (long.ending, long.data[-1] == "[DONE]", long.text == words) == ("eof", False, True)
    whole = post(taskingai(answer=lambda body: words), chat(model=ASSISTANT, stream=True))
    assert (whole.ending, whole.data[-1]) == ("whole", "[DONE]")


# ---- key, address, order of checks


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, (401, "APIKEY_VALIDATION_FAILED", "API Key validation failed")),
        ("Basic eDp5", (401, "APIKEY_VALIDATION_FAILED", "API Key validation failed")),
        ("Bearer ", (401, "APIKEY_VALIDATION_FAILED", "API Key validation failed")),
        (f"bearer {KEY}", (401, "APIKEY_VALIDATION_FAILED", "API Key validation failed")),
        (f"Bearer {KEY[:10]}{'x' * 22}", (401, "TOKEN_VALIDATION_FAILED", "Invalid apikey")),
        ("Bearer sk-nope", (404, "OBJECT_NOT_FOUND", "apikey -nope not found")),
    ],
)
def test_keys(header, expected):
    assert error(post(taskingai(), chat(model=ASSISTANT), Authorization=header)) == expected


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/v1/chat/completions", 405, "Method Not Allowed"),
        ("GET", "/v1/models", 404, "Not Found"),
        ("POST", "/v1/completions", 404, "Not Found"),
        ("POST", "/v1/responses", 404, "Not Found"),
    ],
)
def test_other_addresses_have_another_form_of_error(method, path, status, detail):
    with serve(taskingai()) as server:
        heard = ask(server.port, method=method, path=path)
    assert (heard.status, heard.json) == (status, {"detail": detail})


def test_trailing_slash_is_redirected():
    with serve(taskingai()) as server:
        heard = ask(server.port, chat(), path="/v1/chat/completions/", headers={"Host": "example:1"})
    assert (heard.status, heard.headers["location"]) == (307, "http://example:1/v1/chat/completions")


def test_body_is_read_before_the_key_is_checked_and_the_key_before_the_fields():
    wrong = {"Authorization": "Bearer sk-nope"}
    for body in (b"", b"{", b"[1]"):
        assert error(post(taskingai(), body, **wrong))[:2] == (422, "REQUEST_VALIDATION_ERROR")
    assert error(post(taskingai(), {}, **wrong))[:2] == (404, "OBJECT_NOT_FOUND")
    heard = post(taskingai(), b'{"model": "\xff"}', **wrong)
    assert (heard.status, heard.json) == (400, {"detail": "There was an error parsing the body"})


@pytest.mark.parametrize("content_type", [None, "text/plain"])
def test_content_type_must_be_json(content_type):
    heard = post(taskingai(), chat(model=MODEL), **{"Content-Type": content_type})
    assert error(heard)[:2] == (422, "REQUEST_VALIDATION_ERROR")
    assert post(taskingai(), chat(model=MODEL), **{"Content-Type": "application/json; charset=utf-8"}).status == 200


def test_a_body_over_20_mb_stops_at_the_proxy():
    heard = post(taskingai(), chat("x" * 20_000_001, model=MODEL))
    assert (heard.status, heard.headers["Content-Type"]) == (413, "text/html")
    assert post(taskingai(), chat("x" * 6_000_000, model=MODEL)).status == 200


def test_origin_opens_cors():
    assert post(taskingai(), chat(model=MODEL), Origin="http://x").headers["access-control-allow-origin"] == "*"


# ---- what is checked


def message_of(body):
    return error(post(taskingai(models=(MODEL, ASSISTANT)), body))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model": "gpt-4o"}, (422, "REQUEST_VALIDATION_ERROR", "Invalid model_id: gpt-4o")),
        ({"model": "TpNobody"}, (404, "OBJECT_NOT_FOUND", "model TpNobody not found")),
        ({"model": "X5lM" + "n" * 20}, (404, "OBJECT_NOT_FOUND", f"assistant X5lM{'n' * 20} not found")),
        ({"model": None}, (422, "REQUEST_VALIDATION_ERROR", "body/model: Input should be a valid string")),
        ({"stream": None}, (422, "REQUEST_VALIDATION_ERROR", "body/stream: Input should be a valid boolean")),
        (
            {"stream": "perhaps"},
            (
                422,
                "REQUEST_VALIDATION_ERROR",
                "body/stream: Input should be a valid boolean, unable to interpret input",
            ),
        ),
        (
            {"tool_choice": "required"},
            (
                422,
                "REQUEST_VALIDATION_ERROR",
                "body/tool_choice/literal['none','auto']: Input should be 'none' or 'auto'",
            ),
        ),
        ({"messages": "x"}, (422, "REQUEST_VALIDATION_ERROR", "body/messages: Input should be a valid list")),
        ({"messages": ["x"]}, (422, "REQUEST_VALIDATION_ERROR", "body/messages/0: Input should be a valid dictionary")),
        ({"messages": [{"content": "x"}]}, (422, "REQUEST_VALIDATION_ERROR", "role is required for each message.")),
        (
            {"messages": [{"role": "robot", "content": "x"}]},
            (500, "INTERNAL_SERVER_ERROR", "Unsupported message type: <class 'dict'>"),
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "description": "d"}}]},
            (500, "INTERNAL_SERVER_ERROR", "'NoneType' object has no attribute 'model_dump'"),
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
                ]
            },
            (
                500,
                "INTERNAL_SERVER_ERROR",
                "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            ),
        ),
    ],
)
def test_first_fault_of_a_request_is_told(fields, expected):
    assert message_of(chat(**{"model": MODEL, **fields})) == expected


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, ("string_type", "('content',)")),
        ({"messages": []}, ("value_error", "messages cannot be empty.")),
        ({"model": ""}, ("string_too_short", "('model_id',)", "at least 1 character")),
        ({"model": "x" * 51}, ("string_too_long", "at most 50 characters")),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {}}}}]},
            ("string_type", "('description',)"),
        ),
    ],
)
def test_some_faults_are_told_as_a_python_repr(fields, words):
    status, code, message = message_of(chat(**{"model": MODEL, **fields}))
    assert (status, code) == (422, "DATA_MODEL_VALIDATION_ERROR")
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({"type": "object", "properties": {}}, "/type: String should match pattern"),
        ({"type": "array"}, ": Value error, items is required when type is 'array'"),
        ({"type": "integer", "enum": [1]}, ": Value error, enum is only allowed when type is 'string'"),
        ({}, "/type: Field required"),
    ],
)
def test_tool_properties_are_plain(rule, place):
    function = {"name": "f", "description": "d", "parameters": {"properties": {"p": rule}}}
    status, code, message = message_of(chat(model=MODEL, tools=[{"type": "function", "function": function}]))
    assert (status, code) == (422, "REQUEST_VALIDATION_ERROR")
    assert message.startswith("body/tools/0/function/parameters/properties/p" + place)


def test_missing_fields_are_told_with_a_debug_text():
    heard = post(taskingai(), {"model": MODEL})
    assert error(heard) == (422, "REQUEST_VALIDATION_ERROR", "body/messages: Field required")
    assert heard.json["error"]["debug"] == (
        "{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required', 'input': {'model': '" + MODEL + "'}}"
    )


@pytest.mark.parametrize("yes", [True, "true", 1, "yes"])
def test_what_counts_as_a_stream(yes):
    assert post(taskingai(), chat(model=MODEL, stream=yes)).headers["content-type"] == SSE


# ---- what the model is given


def test_parameters_are_ignored_without_an_error():
    ignored = {
        "temperature": "hot", "top_p": 3, "max_tokens": -5, "n": 7, "stop": 1, "seed": "x", "user": [], "logprobs": "?",
        "stream_options": 4, "response_format": "xml", "store": 1, "unknown": {}, "parallel_tool_calls": "no",
    }  # fmt: skip
    given = seen(chat("hi", model=MODEL, **ignored))
    assert given == {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": False}


def test_messages_of_one_role_are_joined_and_blank_ones_dropped():
    turns = [("user", "a"), ("user", ""), ("user", "b"), ("assistant", None), ("assistant", "c"), ("user", "d")]
    messages = [{"role": role, "content": content, "name": "Bob"} for role, content in turns]
    assert seen({"model": MODEL, "messages": messages})["messages"] == [
        {"role": "user", "content": "a\n\nb"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]


@pytest.mark.parametrize(
    ("prompt", "system", "given"),
    [
        ("Own.", ["First.", "Second."], "Own.\n\nFirst."),
        ("Own.", [], "Own."),
        ("Own. {{user_system_prompt}}!", ["First."], "Own. First.!"),
    ],
)
def test_an_assistants_own_prompt_comes_first(prompt, system, given):
    messages = [{"role": "user", "content": "hi"}, *({"role": "system", "content": text} for text in system)]
    received = seen({"model": ASSISTANT, "messages": messages}, system=prompt)["messages"]
    assert received == [{"role": "system", "content": given}, {"role": "user", "content": "hi"}]


def test_a_model_id_takes_one_system_message_and_that_first():
    one = {"role": "system", "content": "Be brief."}
    user = {"role": "user", "content": "hi"}
    assert seen({"model": MODEL, "messages": [one, user]})["messages"] == [one, user]
    prefix = "body/messages: Value error, "
    for messages, problem in (
        ([one, one, user], "more than one system message found."),
        ([user, one], "system message is not at the first position."),
        ([{"role": "user", "content": ""}], "messages cannot be empty."),
    ):
        body = {"model": MODEL, "messages": messages}
        assert error(post(taskingai(), body)) == (422, "REQUEST_VALIDATION_ERROR", prefix + problem)
        broken = post(taskingai(), {**body, "stream": True})
        assert (broken.status, broken.body, broken.ending) == (200, b"", "eof")


def test_an_assistant_without_a_prompt_cannot_answer_nothing_but_one_with_a_prompt_can():
    body = {"model": ASSISTANT, "messages": [{"role": "user", "content": ""}]}
    assert error(post(taskingai(), body))[:2] == (500, "GENERATION_ERROR")
    assert post(taskingai(), {**body, "stream": True}).data == ["[DONE]"]
    assert post(taskingai(system="Own."), body).status == 200


def test_one_call_and_its_result_work_and_two_do_not():
    user, result = {"role": "user", "content": "weather?"}, {"role": "tool", "tool_call_id": "x", "content": "sunny"}
    given = seen({"model": MODEL, "messages": [user, CALLED, result], "tools": [TOOL], "tool_choice": "none"})
    assert [message["role"] for message in given["messages"]] == ["user", "assistant", "tool"]
    assert [tool["function"]["name"] for tool in given["tools"]] == ["get_weather"]
    for later in ([result], [{"role": "user", "content": "and now?"}], [CALLED, result]):
        body = {"messages": [user, CALLED, result, *later]}
        assert error(post(taskingai(), {**body, "model": MODEL}))[:2] == (422, "REQUEST_VALIDATION_ERROR")
        assert error(post(taskingai(), {**body, "model": ASSISTANT}))[:2] == (500, "GENERATION_ERROR")


def test_a_named_function_call_counts_for_a_model_id_only():
    other = {**TOOL, "function": {**TOOL["function"], "name": "other"}}
    asked = {"tools": [other, TOOL], "function_call": {"name": "get_weather"}}
    assert seen(chat(model=MODEL, **asked))["tool_choice"] == {"name": "get_weather"}
    assert "tool_choice" not in seen(chat(model=ASSISTANT, **asked), system="Own.")
    assert error(post(taskingai(), chat(model=MODEL, tools=[TOOL], function_call={"name": "x"})))[2] == (
        "body: Value error, x is not a function name"
    )


# ---- answers


def test_text_of_a_whole_answer_is_stripped_and_of_a_stream_is_not():
    script = taskingai(answer=lambda body: "  two words \n")
    assert post(script, chat(model=MODEL)).json["choices"][0]["message"]["content"] == "two words"
    assert post(script, chat(model=MODEL, stream=True)).text == "  two words \n"


def test_legacy_functions_always_finish_with_function_call():
    legacy = [TOOL["function"]]
    choice = post(taskingai(), chat(model=MODEL, functions=legacy)).json["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert list(choice["message"]) == ["role", "content"]
    called = post(taskingai(answer=Calling()), chat("Paris?", model=MODEL, functions=legacy)).json["choices"][0]
    assert called["message"]["function_call"] == {"arguments": '{"city": "Paris"}', "name": "get_weather"}
    assert called["message"]["content"] is None


def test_official_client_sees_the_services_errors_and_answers():
    with serve(taskingai(law=Law(tokens=3))) as server:
        with openai.OpenAI(api_key=KEY, base_url=server.base_url, max_retries=0) as client:
            ask_it = client.chat.completions.create
            asked = [{"role": "user", "content": "hi"}]
            assert ask_it(model=ASSISTANT, messages=asked).choices[0].message.content == "tok0 tok1 tok2"
            chunks = list(ask_it(model=ASSISTANT, messages=asked, stream=True))
            assert [chunk.choices[0].index for chunk in chunks] == [0, 1, 2]
            assert {chunk.choices[0].finish_reason for chunk in chunks} == {None}
            assert {chunk.usage for chunk in chunks} == {None}
            with pytest.raises(openai.UnprocessableEntityError) as caught:
                ask_it(model="gpt-4o", messages=asked)
            assert (caught.value.code, caught.value.type) == ("REQUEST_VALIDATION_ERROR", None)
        with (
            openai.OpenAI(api_key="sk-nope", base_url=server.base_url, max_retries=0) as stranger,
            pytest.raises(openai.NotFoundError, match="apikey -nope not found"),
        ):
            stranger.chat.completions.create(model=ASSISTANT, messages=asked)


# ---- failures behind the service


@pytest.mark.parametrize(
    ("kind", "options", "of_model", "of_assistant"),
    [
        ("upstream_error", {}, (400, "PROVIDER_ERROR"), (500, "GENERATION_ERROR")),
        ("upstream_error", {"status": 401}, (400, "PROVIDER_ERROR"), (500, "GENERATION_ERROR")),
        ("upstream_down", {}, (422, "REQUEST_VALIDATION_ERROR"), (500, "GENERATION_ERROR")),
        ("upstream_cut", {}, (500, "INTERNAL_SERVER_ERROR"), (500, "GENERATION_ERROR")),
        ("upstream_empty", {}, (400, "PROVIDER_ERROR"), (500, "GENERATION_ERROR")),
        ("upstream_hang", {"seconds": 0.05}, (500, "INTERNAL_SERVER_ERROR"), (500, "GENERATION_ERROR")),
    ],
)
def test_failure_of_a_whole_answer(kind, options, of_model, of_assistant):
    script = taskingai(faults=[Fault(kind, options=options)])
    for model, expected in ((MODEL, of_model), (ASSISTANT, of_assistant)):
        assert error(post(script, chat(model=model)))[:2] == expected


@pytest.mark.parametrize(
    ("kind", "options", "of_model", "of_assistant"),
    [
        ("upstream_error", {}, ([], "eof"), (["[DONE]"], "whole")),
        ("upstream_down", {}, ([], "eof"), (["[DONE]"], "whole")),
        ("upstream_empty", {}, (["[DONE]"], "whole"), (["[DONE]"], "whole")),
        ("upstream_hang", {"seconds": 0.05}, ([], "eof"), (["[DONE]"], "whole")),
    ],
)
def test_failure_of_a_stream_comes_with_status_200(kind, options, of_model, of_assistant):
    script = taskingai(faults=[Fault(kind, options=options)])
    for model, expected in ((MODEL, of_model), (ASSISTANT, of_assistant)):
        heard = post(script, chat(model=model, stream=True))
        assert (heard.status, heard.data, heard.ending) == (200, *expected)


def test_a_hanging_model_keeps_the_stream_silent_after_its_head():
    heard = post(taskingai(faults=[Fault("upstream_hang", options={"seconds": 0.1})]), chat(model=MODEL, stream=True))
    assert heard.raw.endswith(b"\r\n\r\n")
    assert heard.ending == "eof"


def test_head_of_a_stream_comes_before_the_model_is_asked():
    fields = {"authorization": "Bearer x", "content-type": "application/json"}
    request = Request("POST", CHAT, headers=fields, body=json.dumps(chat(model=MODEL, stream=True)).encode())
    reply = profile_taskingai.reply(Script(profile="taskingai", law=Law(ttft_ms=60)), request, 1)
    assert (reply.head_at, next(iter(reply.pieces)).at) == (0, 60_000_000)


def test_a_model_without_tools_or_streams():
    tools = taskingai(faults=[Fault("no_function_call")], system="Own.")
    assert error(post(tools, chat(model=MODEL, tools=[TOOL])))[0] == 422
    assert post(tools, chat(model=MODEL)).status == post(tools, chat(model=ASSISTANT, tools=[TOOL])).status == 200
    streams = taskingai(faults=[Fault("no_streaming")])
    assert error(post(streams, chat(model=MODEL, stream=True)))[0] == 422
    assert post(streams, chat(model=ASSISTANT, stream=True)).data == ["[DONE]"]
    assert post(streams, chat(model=MODEL)).status == 200


def test_an_assistants_own_tool_starts_the_index_anew():
    script = taskingai(law=Law(tokens=5), faults=[Fault("own_tool", options={"after": 2})])
    heard = post(script, chat(model=ASSISTANT, stream=True))
    assert [event["choices"][0]["index"] for event in heard.events] == [0, 1, 0, 1, 2]
    assert heard.text == "tok0 tok1 tok2 tok3 tok4"
