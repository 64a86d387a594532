"""Names of one model, and of two."""

import pytest

from evalkit.client.model_names import names_another_model

SAME = [
    ("gpt-4o", "gpt-4o"),
    ("gpt-4o", "gpt-4o-2024-08-06"),
    ("gpt-4o-2024-08-06", "gpt-4o"),
    ("openai/gpt-4o", "gpt-4o-2024-08-06"),
    ("gpt-4o", "openai/gpt-4o"),
    ("azure/gpt-4o", "openai/gpt-4o"),
    ("gpt-3.5-turbo", "gpt-35-turbo-0125"),
    ("GPT-4o", "gpt-4o"),
    ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
    ("claude-3-5-sonnet@20241022", "claude-3-5-sonnet-20241022"),
    ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
    ("llama3", "llama3:latest"),
    ("deepseek/deepseek-r1:free", "deepseek/deepseek-r1"),
    ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b-instruct"),
    ("accounts/fireworks/models/llama-v3p1-8b-instruct", "llama-v3p1-8b-instruct"),
    ("models/gemini-1.5-pro", "gemini-1.5-pro-002"),
    ("command-r", "command-r-08-2024"),
    ("X5lMscriptedassistant000", "X5lMscriptedassistant000"),  # an id that is sent back
    ("gpt-3.5-turbo", "/models/SmolLM2-135M-Instruct.Q4_1.gguf"),  # a server of one model, whatever it is requested for
    ("SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct-Q4_1.gguf"),
    ("default", "C:\\models\\a.gguf"),
    ("a.gguf", "/models/a.gguf"),
]
OTHERS = [
    ("gpt-4o", "gpt-4o-mini"),
    ("gpt-4o", "openai/gpt-4o-mini-2024-07-18"),
    ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
    ("gpt-4", "gpt-4.1"),
    ("o1", "o1-mini"),
    ("claude-3-5-sonnet-latest", "claude-3-5-haiku-20241022"),
    ("gemini-2.5-flash", "gemini-2.5-flash-lite"),
    ("llama3:8b", "llama3:70b"),
    ("llama-3.1-8b-instruct", "llama-3.1-70b-instruct"),
    ("mistral-7b-instruct-v0.2", "mistral-7b-instruct-v0.3"),
    ("broken", "other"),
    ("a.gguf", "b.gguf"),
    ("X5lMscriptedassistant000", "X5lMscriptedassistant001"),
]


@pytest.mark.parametrize(("requested", "reported"), SAME)
def test_a_route_a_version_and_a_file_are_no_other_model(requested, reported):
    assert not names_another_model(requested, reported)


@pytest.mark.parametrize(("requested", "reported"), OTHERS)
def test_another_model_is_noticed(requested, reported):
    assert names_another_model(requested, reported)
