# ruff: noqa: E501 - a refusal a line
"""Refused requests of many services: what was refused, and the advice that goes with it."""

import json
import re
import time

import pytest

from evalkit.client import refusals
from evalkit.client.error_answers import failure_of


def openai(message, code=None, param=None, type="invalid_request_error"):
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def vllm(message, status=400):
    return {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": status}


def litellm(message):
    return {"error": {"message": f"litellm.BadRequestError: {message}. Received Model Group=gpt\nAvailable Model Group "
                      "Fallbacks=None", "type": None, "param": None, "code": "400"}}  # fmt: skip


def google(message):
    return [{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}]


def fastapi(*errors):
    return {"detail": [{"type": kind, "loc": loc, "msg": msg, "input": "x"} for kind, loc, msg in errors]}


CASES = [
    # the conversation is longer than the context
    ("context", 400, openai("This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. Please reduce the length of the messages.", "context_length_exceeded", "messages")),
    ("context", 400, openai("Your input exceeds the context window of this model. Please adjust your input and try again.", "context_length_exceeded", "input")),
    ("context", 400, vllm("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the messages, 1000 in the completion). Please reduce the length of the messages or completion.")),
    ("context", 400, vllm("The decoder prompt (length 9001) is longer than the maximum model length of 8192. Make sure that `max_model_len` is no smaller than the number of text tokens.")),
    ("context", 400, vllm("max_tokens must be at least 1, got -1012.")),
    ("context", 400, vllm("The input (61709 tokens) is longer than the model's context length (40960 tokens).")),
    ("context", 400, vllm("Requested token count exceeds the model's maximum context length of 32768 tokens. You requested a total of 33000 tokens: 32000 tokens from the input messages and 1000 tokens for the completion.")),
    ("context", 422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 1000 `max_new_tokens`", "error_type": "validation"}),
    ("context", 422, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1500", "error_type": "validation"}),
    ("context", 400, {"error": {"code": 400, "message": "the request exceeds the available context size, try increasing it", "type": "exceed_context_size_error", "n_prompt_tokens": 5000, "n_ctx": 4096}}),
    ("context", 400, {"error": {"message": "prompt too long; exceeded max context length by 200 tokens", "type": "api_error"}}),
    ("context", 400, litellm("ContextWindowExceededError: AnthropicException - prompt is too long: 210000 tokens > 200000 maximum")),
    ("context", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}}),
    ("context", 400, google("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).")),
    ("context", 400, {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."}),
    ("context", 400, {"message": "Input is too long for requested model."}),
    ("context", 400, openai("Invalid request: Your request exceeded model token limit: 8192")),
    ("context", 400, {"object": "error", "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length", "type": "invalid_request_prompt", "code": "3051"}),
    ("context", 400, openai("Range of input length should be [1, 30720]", "invalid_parameter_error")),
    ("context", 400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}),
    ("context", 400, openai("This endpoint's maximum context length is 131072 tokens. However, you requested about 140000 tokens (139000 of text input, 1000 in the output). Please reduce the length of either one.", 400)),
    ("context", 400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"}),
    ("context", 400, openai("Trying to keep the first 4096 tokens when context the overflows. However, the model is loaded with context length of only 2048 tokens, which is not enough.")),
    # more tokens asked for than allowed
    ("token_limit", 400, openai("max_tokens is too large: 8192. This model supports at most 4096 completion tokens, whereas you provided 8192.", "invalid_value", "max_tokens")),
    ("token_limit", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens for claude-x"}}),
    ("token_limit", 400, openai("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]")),
    ("token_limit", 400, openai("`max_tokens` must be less than or equal to `32768`, the maximum value for `max_tokens` is less than the `context_window` for this model")),
    ("token_limit", 400, {"message": "The maximum tokens you requested exceeds the model limit of 32768. Try again with a maximum tokens value that is lower than 32768."}),
    ("token_limit", 400, openai("Range of max_tokens should be [1, 2000]", "invalid_parameter_error")),
    ("token_limit", 400, vllm("'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 tokens and your request has 59 input tokens (5000 > 4096 - 59).")),
    ("token_limit", 400, google("Unable to submit request because it has a maxOutputTokens value of 100000 but the supported range is from 1 (inclusive) to 65537 (exclusive). Update the value and try again.")),
    ("token_limit", 422, {"error": "Input validation error: `max_new_tokens` must be strictly positive", "error_type": "validation"}),
    # a parameter with a new name
    ("parameter", 400, openai("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "unsupported_parameter", "max_tokens")),
    ("parameter", 400, openai("Unsupported parameter: max_completion_tokens. Did you mean 'max_tokens'?")),
    ("parameter", 400, openai("The parameter `functions` is deprecated in favor of `tools`.", param="functions")),
    # another parameter
    ("parameter", 400, openai("Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.", "unsupported_value", "temperature")),
    ("parameter", 400, {"message": "invalid temperature: only 1 is allowed for this model", "type": "invalid_request_error"}),
    ("parameter", 400, {"message": "The model returned the following errors: temperature is deprecated for this model."}),
    ("parameter", 400, {"message": "The model returned the following errors: `temperature` and `top_p` cannot both be specified for this model. Please use only one."}),
    ("parameter", 400, openai("Unrecognized request argument supplied: chat_template_kwargs")),
    ("parameter", 400, openai("Unrecognized request arguments supplied: frequency_penalty, presence_penalty")),
    ("parameter", 400, vllm("[{'type': 'extra_forbidden', 'loc': ('body', 'reasoning_effort'), 'msg': 'Extra inputs are not permitted', 'input': 'low'}]")),
    ("parameter", 422, fastapi(("extra_forbidden", ["body", "logprobs"], "Extra inputs are not permitted"))),
    ("parameter", 422, fastapi(("less_than_equal", ["body", "temperature"], "Input should be less than or equal to 1.5"))),
    ("parameter", 422, {"error": "Input validation error: `temperature` must be strictly positive", "error_type": "validation"}),
    ("parameter", 422, {"error": "Input validation error: `top_p` must be > 0.0 and < 1.0", "error_type": "validation"}),
    ("parameter", 400, {"message": "Malformed input request: #: extraneous key [logit_bias] is not permitted, please reformat your input and try again."}),
    ("parameter", 400, google('Invalid JSON payload received. Unknown name "frequencyPenalty": Cannot find field.')),
    ("parameter", 400, openai("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.", None, None)),
    ("parameter", 400, litellm("UnsupportedParamsError: groq does not support parameters: ['logit_bias'], for model=llama. To drop these, set `litellm.drop_params=True`")),
    ("parameter", 400, openai("Unsupported parameter: 'parallel_tool_calls' is only allowed when 'tools' are specified.", param="parallel_tool_calls")),
    # system prompts, and the order of roles
    ("system_role", 400, openai("System role not supported for this model")),
    ("system_role", 400, vllm("System role not supported System role not supported")),
    ("system_role", 400, google("Developer instruction is not enabled for models/gemma-3-27b-it")),
    ("system_role", 400, openai("Unsupported value: 'messages[0].role' does not support 'system' with this model.", "unsupported_value", "messages[0].role")),
    ("system_role", 422, {"error": {"message": "Failed to deserialize the JSON body into the target type: messages[0].role: unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`", "type": "invalid_request_error"}}),
    ("system_role", 400, vllm("System message must be at the beginning.")),
    ("system_role", 422, {"error": "Template error: syntax error: System messages are not supported (in <string>:1)", "error_type": "template_error"}),
    ("system_role", 400, vllm("Only user and assistant roles are supported!")),
    ("roles", 400, vllm("Conversation roles must alternate user/assistant/user/assistant/...")),
    ("roles", 422, {"error": "Template error: syntax error: After the optional system message, conversation roles must alternate user/assistant/user/assistant/...", "error_type": "template_error"}),
    ("roles", 400, {"object": "error", "message": "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant", "type": "invalid_request_message_order", "code": "3230"}),
    ("roles", 400, {"object": "error", "message": "Unexpected role 'user' after role 'tool'", "type": "invalid_request_message_order"}),
    ("roles", 400, openai("An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: call_1", param="messages")),
    # images and other content
    ("image", 400, {"error": {"message": "this model does not support image input", "type": "api_error"}}),
    ("image", 400, {"error": {"message": "Model does not support images. Please use a model that does."}}),
    ("image", 400, openai("Invalid content type. image_url is only supported by certain models.", param="messages.[0].content.[1].type")),
    ("image", 400, vllm("At most 0 image(s) may be provided in one prompt.")),
    ("image", 400, {"error": {"code": 400, "message": "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", "type": "invalid_request_error"}}),
    ("image", 404, {"error": {"message": "No endpoints found that support image input", "code": 404}}),
    ("image", 400, {"error": {"message": "json: cannot unmarshal array into Go struct field Message.messages.content of type string", "type": "invalid_request_error"}}),
    ("image", 422, {"error": {"message": "Failed to deserialize the JSON body into the target type: messages[1]: unknown variant `image_url`, expected `text`", "type": "invalid_request_error"}}),
    ("image", 400, {"error": {"code": 400, "message": 'Unsupported content part type: "image_url"', "type": "invalid_request_error"}}),
    ("image", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum: 6000000 bytes > 5242880 bytes"}}),
    # tools
    ("tools", 400, {"error": {"message": "registry.ollama.ai/library/gemma3:4b does not support tools", "type": "api_error"}}),
    ("tools", 400, vllm('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')),
    ("tools", 404, {"error": {"message": "No endpoints found that support tool use. To learn more, visit the docs", "code": 404}}),
    ("tools", 400, google("Function calling is not enabled for models/gemma-3-27b-it")),
    ("tools", 400, openai("Invalid schema for function 'get_weather': In context=(), object schema missing properties.", "invalid_function_parameters", "tools[0].function.parameters")),
    ("tools", 400, {"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}}),
    ("tools", 400, openai("`tool use` is not supported with this model")),
    # what belongs to a call
    ("tool_round", 400, google("Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly.")),
    ("tool_round", 400, openai("The `reasoning_content` in the thinking mode must be passed back to the API.", "invalid_request_error")),
    ("message_key", 400, {"message": "messages.2.assistant.reasoning_content: property 'messages.2.assistant.reasoning_content' is unsupported", "type": "invalid_request_error", "param": "validation_error", "code": "wrong_api_format"}),
    ("message_key", 422, {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "messages", 2, "assistant", "reasoning_content"], "msg": "Extra inputs are not permitted", "input": "Hm"}]}, "type": "invalid_request_message"}),
    ("message_key", 400, openai("Extra inputs are not permitted, field: 'messages[8].reasoning', value: 'Now I know which model'")),
    ("message_key", 400, openai("'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property 'reasoning_content' is unsupported)]")),
    ("message_key", 400, openai("Unknown parameter: 'messages[1].tool_calls[0].extra_content'.", "unknown_parameter", "messages[1].tool_calls[0].extra_content")),
    ("message_key", 400, openai("Additional properties are not allowed ('extra_content' was unexpected) - 'messages.1.tool_calls.0'")),
    ("message_key", 400, google('Invalid JSON payload received. Unknown name "reasoning_details" at \'messages[1]\': Cannot find field.')),
    # the model's name
    ("model", 400, openai("The model `gpt-9` does not exist or you do not have access to it.", "model_not_found")),
    ("model", 400, openai("Model Not Exist")),
    ("model", 400, openai("gpt-9 is not a valid model ID", 400)),
    ("model", 400, openai("The model `mixtral-8x7b-32768` has been decommissioned and is no longer supported.", "model_decommissioned")),
    ("model", 400, {"error": {"message": "/chat/completions: Invalid model name passed in model=gpt-9. Call `/v1/models` to view available models for your key.", "type": None, "code": "400"}}),
    ("model", 400, {"message": "The provided model identifier is invalid."}),
    ("model", 422, {"status": "error", "error": {"code": "REQUEST_VALIDATION_ERROR", "message": "Invalid model_id"}}),
    ("model", 404, {"object": "error", "message": "The model `llama` does not exist.", "type": "NotFoundError", "code": 404}),
    ("model", 400, openai("you must provide a model parameter")),
    # a filter
    ("content", 400, openai("The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", "content_filter", "prompt")),
    ("content", 400, {"error": {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content."}}),
    # through a gateway that passes on what it was told
    ("context", 400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": json.dumps(openai("Input length 9001 exceeds the maximum allowed input length of 8192 tokens.")), "provider_name": "P"}}}),
    # nothing that is known
    (None, 400, openai("Bad request")),
    (None, 400, {"detail": "There was an error parsing the body"}),
    (None, 400, openai("The model could not process your request.")),
    (None, 400, openai("We could not parse the JSON body of your request.")),
    (None, 400, b""),
    (None, 422, {"message": "Unprocessable Entity"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("cause", "status", "body"), CASES, ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)]
)
def test_what_a_service_refuses_is_recognised(cause, status, body):
    failure = failure_of(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert failure.refused == cause, failure.message
    assert failure.kind == ("not_found" if status == 404 else "bad_request")
    if cause != "model":
        assert "Check the model name" not in failure.message or status == 404
    if cause not in (None, "model", "parameter"):
        assert failure.message.endswith(refusals.Refusal(cause).advice)


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "Give max_completion_tokens in place of max_tokens: --param max_completion_tokens=VALUE.",
        ),
        (
            "max_completion_tokens is unknown here; please use `max_tokens`.",
            "Give max_tokens in place of max_completion_tokens: --param max_tokens=VALUE.",
        ),
        (
            "Unsupported value: 'temperature' does not support 0 with this model.",
            "Give temperature another value, or leave it out: --param temperature=null.",
        ),
        ("`top_p` must be > 0.0 and < 1.0", "Give top_p another value, or leave it out: --param top_p=null."),
        ("Unrecognized request argument supplied: stream_options", "It does not accept stream_options."),
        (
            "Unrecognized request argument supplied: frobnicate",
            "Leave out the parameter that it names, or give it another value.",
        ),
    ],
)
def test_advice_names_the_parameter_and_its_new_name(message, advice):
    assert failure_of(400, {}, json.dumps(openai(message)).encode()).message.endswith(f'". {advice}')


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        (
            vllm("[{'type': 'missing', 'loc': ('body', 'messages', 0, 'role'), 'msg': 'Field required', 'input': {'a': 1}}, "
                 "{'type': 'x', 'loc': ('body', 'n'), 'msg': \"Input should be '1'\", 'input': 2}]"),
            "body.messages.0.role: Field required; body.n: Input should be '1'",
        ),
        (
            {"message": {"detail": [{"loc": ["body", "messages", 2, "name"], "msg": "Extra inputs are not permitted"}]}},
            "body.messages.2.name: Extra inputs are not permitted",
        ),
        ({"message": [{"loc": ["body", "tools"], "msg": "Bad"}], "code": 3001}, "body.tools: Bad"),
        ({"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "Bad"}]}, "body.messages.0.role: Bad"),
    ],
)  # fmt: skip
def test_the_place_of_a_validation_error_is_kept(body, quoted):
    assert f': "{quoted}". ' in failure_of(422, {}, json.dumps(body).encode()).message


def test_text_of_any_length_is_searched_in_little_time():
    words = (
        "context ",
        "max_tokens ",
        "system ",
        "tools ",
        "image ",
        "model ",
        "unknown ",
        "'",
        "messages[1]",
        "a" * 50,
    )
    for word in words:
        start = time.process_time()
        refusals.refusal_of((word * 4_096)[:4_096])
        assert time.process_time() - start < 1


def test_each_cause_has_advice_that_is_a_sentence():
    for cause in {case[0] for case in CASES if case[0] is not None}:
        assert re.fullmatch(r"[A-Z].*\.", refusals.Refusal(cause).advice)
