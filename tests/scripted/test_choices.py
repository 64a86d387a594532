"""The profile ``openai`` obeys stop sequences, n, log probabilities and the older form of tools."""

import openai
import pytest

from evalkit.scripted.choices import before_stop
from evalkit.scripted.server import Calling, Script, serve


@pytest.fixture(scope="module")
def client():
    with serve(Script()) as server, openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=0) as made:
        yield made.chat.completions


def ask(client, **params):
    return client.create(model="m", messages=[{"role": "user", "content": "Count."}], **params)


@pytest.mark.parametrize(("stop", "text"), [
    ("tok3", "tok0 tok1 tok2 "), (["none", "k2"], "tok0 tok1 to"), ("tok0", ""), ("nowhere", None), ([""], None),
])  # fmt: skip
def test_an_answer_ends_before_a_stop_sequence(client, stop, text):
    whole = ask(client).choices[0].message.content
    answer = ask(client, stop=stop).choices[0]
    assert (answer.message.content, answer.finish_reason) == (whole if text is None else text, "stop")
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in ask(client, stop=stop, stream=True))
    assert streamed == answer.message.content


def test_the_first_of_several_stop_sequences_counts():
    assert before_stop(("a", " b", " c"), ["c", "b"]) == ("a", " ")


def test_several_choices_are_numbered_and_counted(client):
    answer = ask(client, n=3, max_tokens=4)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == 12 + answer.usage.prompt_tokens


def test_log_probabilities_have_the_alternatives_requested(client):
    (choice,) = ask(client, max_tokens=3, logprobs=True, top_logprobs=2).choices
    assert [entry.token for entry in choice.logprobs.content] == ["tok0", " tok1", " tok2"]
    assert [len(entry.top_logprobs) for entry in choice.logprobs.content] == [2, 2, 2]
    assert ask(client).choices[0].logprobs is None


def test_functions_are_called_in_their_older_form():
    function = {"name": "f", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    with serve(Script(answer=Calling())) as server, openai.OpenAI(base_url=server.base_url, api_key="any") as made:
        (choice,) = ask(made.chat.completions, functions=[function]).choices
    assert (choice.finish_reason, choice.message.tool_calls) == ("function_call", None)
    assert choice.message.function_call.name == "f"
