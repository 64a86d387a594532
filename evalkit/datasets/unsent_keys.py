"""Keys of a row that would change what is asked and that have no place of their own, with what to do instead.

Names are compared by their letters and digits: ``maxTokens`` and ``Max Tokens`` are ``max_tokens``, called otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.datasets.choices import plain_name
from evalkit.datasets.native_rows import REQUEST_KEYS
from evalkit.errors import DatasetError

_UNSENT = "would not be sent: {}, or put it under meta to keep it unsent"
_CONFLICT = "conflicts with the messages of this row format: remove one of them"
_PARAMETERS = _UNSENT.format("write its keys under params")
_REPEATS = _UNSENT.format("ask for several answers with --repeats")
_FILES = _UNSENT.format("write it into the question as a content part")
_ASKED = "would not be sent: its text is not among the messages. Remove it, or put it under meta to keep it unsent"
MATERIAL = _UNSENT.format("write it into the question")

# names that other tools give to what a row here calls as the first word says
_CALLED = {
    "system": "system_prompt system_message system_instruction system_instructions instructions sys_prompt sys_message "
    "preamble developer_message developer_prompt developer_instructions",
    "tools": "tool_definitions tool_schemas tool_specs available_tools function_definitions function_schemas",
    "stop": "stop_sequences stop_words stop_strings until",
    "max_tokens": "max_new_tokens max_output_tokens max_length num_predict max_tokens_to_sample max_gen_toks "
    "max_gen_tokens max_tokens_to_generate",
    "response_format": "json_schema response_schema guided_decoding",
    "reasoning_effort": "thinking_budget budget_tokens",
}
_OF_PARAMETERS = (
    "parameters extra_body generation_config generation_params generation_kwargs gen_kwargs sampling_params "
    "sampling_parameters model_params model_parameters completion_params inference_config inference_params "
    "inference_parameters request_params tool_config thinking_config mcp_servers"
)
_OF_QUESTION = "choices options endings sandbox setup files attachments agent_args continue_final_message"
_OF_FILES = (
    "image images image_url image_urls image_path image_paths image_file image_files img imgs picture pictures audio "
    "audios audio_url audio_path audio_file video videos video_url video_path video_file"
)
# texts that may be among the messages already
_TEXTS = (
    "passage passages document documents article articles paragraph paragraphs story premise hypothesis table contexts "
    "ctx ctxs retrieved_contexts retrieval_context retrieved_documents retrieved_docs prefix suffix prefill few_shot "
    "few_shots few_shot_examples few_shot_prompt demonstrations exemplars shots chat_history conversation_history "
    "dialog_history dialogue_history previous_messages body variables vars prompt_variables input_variables"
)
_OF_TURN = ("user", "turn")
_SHORTEST_STEM = 4  # letters
_QUESTIONS = "question prompt query instruction input problem"


def _plain_names(names: str, problem: str) -> dict[str, str]:
    return {plain_name(name): problem for name in names.split()}


_REFUSED = {
    **_plain_names("messages turns conversations history", _CONFLICT),
    **_plain_names("n num_return_sequences best_of", _REPEATS),
    **{name: problem for right, names in _CALLED.items() for name, problem in _plain_names(
        names, _UNSENT.format(f"call it {right}")).items()},
    **_plain_names(_OF_PARAMETERS, _PARAMETERS),
    **_plain_names(_OF_QUESTION, MATERIAL),
    **_plain_names(_OF_FILES, _FILES),
}  # fmt: skip
_UNLESS_ASKED = {**_plain_names(_TEXTS, MATERIAL), **_plain_names(_QUESTIONS, _ASKED)}
_RIGHT = {plain_name(name): name for name in (*REQUEST_KEYS, "system", "tools", "params")}
_PARAMETER_NAMES = {
    *map(plain_name, REQUEST_KEYS),
    *(name for right in ("stop", "max_tokens", "response_format") for name in _plain_names(_CALLED[right], "")),
}


def why_unsent(key: str) -> str | None:
    """Why a key with this name is refused, whatever is asked; None: it is not."""
    name = plain_name(key)
    if _RIGHT.get(name, key) != key:
        return _UNSENT.format(f"call it {_RIGHT[name]}")
    return _REFUSED.get(name) or _REFUSED.get(_without_number(name))


def why_not_asked(key: str) -> str | None:
    """Why a key with this name is refused if its texts are not among the messages; None: it is not."""
    name = plain_name(key)
    stem = _without_number(name)
    if stem in _OF_TURN and stem != name:
        return _ASKED
    return _UNLESS_ASKED.get(name) or _UNLESS_ASKED.get(stem)


def _without_number(name: str) -> str:
    """``image`` for ``image2``; no shorter name, which is another word with its number."""
    stem = name.rstrip("0123456789")
    return stem if len(stem) >= _SHORTEST_STEM else name


def is_harmless(key: str) -> bool:
    """Whether no key of this name is refused for what it holds."""
    return why_unsent(key) is None and why_not_asked(key) is None


def refuse_unsent(native: Mapping[str, Any], key: str, value: Any) -> None:
    """Raise if a key would change what is asked by a row that has become ``native``."""
    if not value:
        return
    problem = why_unsent(key)
    if problem is not None and not (problem is _REPEATS and value == 1):
        raise DatasetError(problem, field=key)
    if isinstance(value, dict) and _holds_parameters(key, value):
        raise DatasetError(_PARAMETERS, field=key)
    problem = why_not_asked(key)
    if problem is not None and not isinstance(value, int | float) and not all_asked(native, value):
        raise DatasetError(problem, field=key)


def all_asked(native: Mapping[str, Any], value: Any) -> bool:
    """Whether each text in a value is among the messages of a row; a value without texts is not."""
    texts = [text.strip() for text in _texts(value) if text.strip()]
    known = list(_texts([native.get("system"), native.get("context"), native["turns"]])) if texts else []
    return (bool(texts) or isinstance(value, str)) and all(
        any(_in_text(text, each) for each in known) for text in texts
    )


def _in_text(text: str, known: str) -> bool:
    """Whether a text stands in another, not as a part of a word."""
    return text in known and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", known, re.ASCII) is not None


def _holds_parameters(key: str, value: Mapping[str, Any]) -> bool:
    """Whether an object holds nothing but request parameters, or is the ``text`` of OpenAI's responses."""
    return all(plain_name(name) in _PARAMETER_NAMES for name in value) or (key == "text" and "format" in value)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)
