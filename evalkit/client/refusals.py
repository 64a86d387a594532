"""What a refused request was refused for, from the words of the refusal, and what to do about it.

A status of 400 or 422 says only that something in the request is wrong. Endpoints name the cause in texts of their own;
one word is not enough to recognise it, since most texts contain ``model`` and many ``token``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from evalkit.errors import REFUSED_MESSAGE_KEY, REFUSED_PARAMETER, Failure

# what a request can be refused for
CONTEXT, TOKEN_LIMIT, PARAMETER = "context", "token_limit", REFUSED_PARAMETER
SYSTEM_ROLE, ROLES = "system_role", "roles"
IMAGE, TOOLS, ROUND, MESSAGE_KEY, MODEL, CONTENT = (
    "image",
    "tools",
    "tool_round",
    REFUSED_MESSAGE_KEY,
    "model",
    "content",
)


class Refusal(NamedTuple):
    """What is refused: one of the causes above; of a parameter its name, and the one to use instead."""

    cause: str
    name: str | None = None
    instead: str | None = None

    @property
    def advice(self) -> str:
        """The next step, as a sentence."""
        name = self.name
        if self.cause != PARAMETER or name is None:
            return _ADVICE[self.cause]
        if name == "stream_options":
            return "It does not accept stream_options."
        if self.instead is not None:
            return f"Give {self.instead} in place of {name}: --param {self.instead}=VALUE."
        return f"Give {name} another value, or leave it out: --param {name}=null."


_ADVICE = {
    CONTEXT: "The conversation is longer than the model's context: shorten it, or lower max_tokens if that is set.",
    TOKEN_LIMIT: "Set max_tokens to a value that the endpoint allows.",
    PARAMETER: "Leave out the parameter that it names, or give it another value.",
    SYSTEM_ROLE: "Run it without a system prompt (--system ''), or put the prompt into the first user message.",
    ROLES: (
        "It accepts only user and assistant messages in turn: check their order. If there is a system prompt, "
        "run it without (--system '')."
    ),
    IMAGE: "Use a model that accepts such content, or send text only.",
    TOOLS: (
        "Check the tools of the dataset. If the model does not accept any, use one that does, or start its server "
        "with tool calls enabled."
    ),
    ROUND: "It wants back what it sent with a function call: add it to the calls in the dataset's context.",
    MESSAGE_KEY: "Leave out the key that it names from the messages of the dataset.",
    MODEL: "Check the model name or assistant id.",
    CONTENT: "A content filter refused it: change the messages.",
}

_PARAMETERS = (
    "temperature", "top_p", "top_k", "min_p", "top_a", "max_completion_tokens", "max_tokens", "max_new_tokens",
    "stream_options", "stream", "response_format", "frequency_penalty", "presence_penalty", "repetition_penalty",
    "logit_bias", "top_logprobs", "logprobs", "parallel_tool_calls", "tool_choice", "function_call", "functions",
    "reasoning_effort", "reasoning", "thinking", "enable_thinking", "thinking_budget", "chat_template_kwargs",
    "verbosity", "modalities", "service_tier", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
    "structured_outputs", "seed", "stop", "user", "metadata", "store", "prediction", "web_search_options", "n",
)  # fmt: skip
_NO = (
    r"(?:not (?:be )?(?:supported|permitted|allowed|accepted|enabled|implemented|available|recogni[sz]ed|valid"
    r"|expected)|unsupported|unknown|unrecogni[sz]ed|unexpected|do not support"
    r"|does(?: not|n't) (?:support|accept|allow|have)|extra_forbidden|forbidden|extraneous|deprecated|invalid|no such)"
)
_LIMIT_NAMES = r"(?:max_?(?:completion_|output_|new_)?tokens|maxOutputTokens|maximum tokens you requested)"


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


# of a text that matches several, the first decides
_CAUSES = (
    (CONTENT, _any(
        r"content[ _](?:filter|policy|management|moderation)", r"responsible ?ai", r"data_?inspection",
        r"prohibited[ _]content", r"(?:flagged|blocked) (?:by|as|for|due)",
        r"violat\w+ .{0,40}(?:policy|policies|terms)", r"inappropriate content", r"sensitive content",
    )),
    (TOKEN_LIMIT, _any(
        rf"{_LIMIT_NAMES}\W{{0,3}} (?:is |are |value )?.{{0,30}}(?:too (?:large|high|big|small|low))",
        rf"(?<!\+ .){_LIMIT_NAMES}\W{{0,3}}(?: value)?:? (?:must|should|has to|can ?not|may not) (?!.*\bgot -)",
        rf"{_LIMIT_NAMES}\W{{0,3}}:? \d+ ?(?:>|exceeds|is (?:more|larger|greater|higher))",
        rf"{_LIMIT_NAMES}\W{{0,3}} (?:\(\d+\) )?(?:exceeds|is (?:larger|greater|higher|more|above|outside|out of))",
        rf"invalid {_LIMIT_NAMES}", rf"range (?:of|for) \W?{_LIMIT_NAMES}", r"has a maxOutputTokens value of",
        rf"(?:invalid|illegal|bad|wrong) (?:value|range).{{0,40}}{_LIMIT_NAMES}",
        rf"{_LIMIT_NAMES}.{{0,20}}input should be", r"number of output tokens .{0,40}(?:limit|maximum|exceed)",
    )),
    (CONTEXT, _any(
        r"context[ _-]?(?:length|window|size|limit)", r"exceed_context", r"model.{0,3} (?:token )?limit\b.{0,20}\d",
        r"(?:prompt|input|inputs|conversation|request|messages?)\b.{0,60} (?:is|are) too (?:long|large|big)",
        r"(?:prompt|input) too long", r"too many (?:input |prompt )?tokens",
        r"(?:prompt|input) (?:token )?(?:count|length)\b.{0,40}(?:exceed|longer|larger|more than|greater)",
        r"maximum (?:prompt|input|model|context|sequence) (?:length|tokens?)", r"max_?model_?len", r"max(?:imum)? seq",
        r"(?:longer|larger|more) than the (?:model|maximum|context)", r"tokens? .{0,12}max_new_tokens. must be",
        r"inputs?\W? (?:must|should) have (?:less|fewer|at most)", r"reduce (?:the length|your prompt|the number of)",
        r"exceeded model token limit", r"(?:prompt|input) exceeds (?:the )?max", r"range of input length",
        r"number of tokens.{0,60}exceed", r"tokens? .{0,40}(?:exceeds?|above|over) the (?:maximum|limit|model)",
        r"max_tokens must be at least 1, got -", r"cannot exceed \d+ tokens", r"prompt contains \d+ tokens",
    )),
    (ROUND, _any(
        r"missing (?:a |the )?.{0,20}thought_signature", r"(?:must|should|need to|has to) be passed back",
        r"reasoning_content.{0,30}(?:is )?(?:missing|required)", r"(?:invalid|missing).{0,30}signature.{0,20}thinking",
        r"thinking.{0,60}(?:must (?:start|be)|expected)", r"corrupted thought signature",
    )),
    (SYSTEM_ROLE, _any(
        rf"(?:system|developer)\W{{0,3}} ?(?:role|message|prompt|instruction)s?\b.{{0,40}}{_NO}",
        rf"{_NO}.{{0,40}}\b(?:system|developer)\W{{0,3}} ?(?:role|message|prompt|instruction)",
        rf"role\W{{1,4}}(?:system|developer)\b.{{0,40}}{_NO}", rf"role.{{0,30}}{_NO}.{{0,20}}\W(?:system|developer)\W",
        r"unknown variant .?(?:system|developer)", r"only user and assistant roles",
        r"(?:system|developer) (?:message|prompt|role)s? (?:must|should|can only|may only|has to)",
        r"(?:multiple|more than one|only one|at most one) system",
    )),
    (ROLES, _any(
        r"roles? must alternate", r"alternat\w+ .{0,30}(?:user|assistant|roles?)", r"expected last role",
        r"unexpected role", r"roles? .{0,30}(?:not allowed after|must (?:be|come|follow))",
        r"(?:first|last) message.{0,40}(?:must|should|role)", r"must be followed by tool messages",
        r"must be a response to a prec", r"(?:invalid|unknown|unsupported) (?:message )?role",
        r"multiple consecutive|consecutive (?:user|assistant|messages)", r"not the same number of function calls",
    )),
    (IMAGE, _any(
        rf"\b(?:image|vision|audio|video|multi-?modal|file)\w*(?: input| content| url)?s?\W{{0,3}} .{{0,50}}{_NO}",
        rf"{_NO}.{{0,40}}\b(?:image|vision|audio|video|multi-?modal|content part|content type)",
        r"unknown variant .?(?:image|input_image|audio|input_audio|video|file)", r"at most 0 image",
        r"image.{0,60}(?:exceeds|too (?:large|big|small|many)|could not|cannot|failed)",
        r"(?:could not|cannot|failed to|unable to) (?:process|load|decode|download|fetch|read|open).{0,20}image",
        r"cannot unmarshal array into .{0,60}content", r"invalid type: sequence, expected a string",
        r"content.{0,40}(?:must be|should be|input should be) a (?:valid )?string", r"mmproj",
        r"only .{0,20}text content", r"support image input",
    )),
    (TOOLS, _any(
        rf"\btools?\b(?: use| calls?| calling| choice)?\W{{0,3}}(?: \w+){{0,4}} {_NO}",
        rf"{_NO}(?: the)? \W?(?:tools?\b(?!_call_id)|function[ _]call|tool[ _]use|tool[ _]call(?!_id))",
        r"function[ _]calling (?:is )?(?:not|un)", r"support tool use", r"enable-auto-tool-choice",
        r"tools? param requires", r"--jinja", r"invalid schema for function", r"function.{0,20}parameters",
        r"\btools\W{1,3}\d+\b", r"tool_use_failed|failed to call a function", r"invalid (?:tool|function)",
    )),
)  # fmt: skip

_KEY_PLACE = re.compile(
    r"messages?\W{1,3}\d|messages?\[|\bassistant\W{1,3}\w|tool_calls?\W{1,3}\d|message param|\bin messages?\b",
    re.IGNORECASE,
)
_KEY_REFUSED = re.compile(
    r"extra (?:inputs?|fields?|keys?) (?:are |is )?not (?:permitted|allowed)|extra_forbidden|additional ?propert"
    r"|extraneous key|unrecogni[sz]ed (?:key|field|request arg|propert|name)"
    r"|unknown (?:key|field|name|parameter|propert|arg)|unexpected (?:key|field|property|keyword)"
    r"|propert\w+ .{0,120}(?:is |are )?(?:unsupported|not (?:supported|allowed))"
    r"|not (?:a )?(?:supported|permitted|allowed|known|valid) (?:key|field|property|parameter)|cannot find field",
    re.IGNORECASE,
)
_INSTEAD = re.compile(
    r"(?:use|try|did you mean|renamed to|replaced (?:by|with)|in favou?r of)\W+(?:the )?(?:parameter )?"
    r"(?:['\"`](?P<quoted>[a-z][\w.]*)['\"`]|(?P<plain>[a-z]+(?:_[a-z]+)+)|(?P<word>[a-z]\w*)(?= instead))",
    re.IGNORECASE,
)
_MODEL = _any(
    r"model_?not_?found", r"model_?not_?exist", r"no such model", r"unknown model", r"deployment_?not_?found",
    r"invalid model(?! (?:request|input|param))", r"invalid_model", r"not a valid model", r"not a chat model",
    r"unable to access model", r"model identifier is invalid",
    r"no (?:available )?(?:channel|model|provider)s? .{0,30}model",
    r"must provide a model", r"\bmodel(?: name| id)?\W{0,3} (?:is )?(?:required|missing|not exist|not found)",
    r"(?<!this )\bmodel(?: name| id)?\b[:=]?\s*\W?[\w./:@-]*\W? "
    r"(?:does not exist|do not exist|(?:was |is |could )?not (?:be )?found"
    r"|is not (?:available|supported|a valid|loaded|deployed|served|enabled)"
    r"|has been (?:decommissioned|deprecated|retired|removed)"
    r"|is (?:deprecated|decommissioned|unknown|invalid|no longer))",
)  # fmt: skip
_REFUSED_VALUE = re.compile(
    rf"{_NO}|must|should|out of range|too (?:high|low|large|small)|may only|can only|cannot|only .{{0,20}}(?:is|are) "
    r"(?:allowed|supported)|expected|not less|not greater|less than|greater than|between|range|requires?\b",
    re.IGNORECASE,
)


def refusal_of(text: str, code: str | None = None, parameter: str | None = None) -> Refusal | None:
    """What a request was refused for; None: its text does not say, or in no known words.

    Parameters
    ----------
    text : str
        The endpoint's text, on one line.
    code : str or None
        Its code and type.
    parameter : str or None
        The parameter that it names in a field of its own.
    """
    labels = code or ""
    if re.search(r"model_?not_?found|invalid_?model", labels, re.IGNORECASE):
        return Refusal(MODEL)
    if re.search(r"context_?(?:length|window|size)", labels, re.IGNORECASE):
        return Refusal(CONTEXT)
    instead = _INSTEAD.search(text)
    name = _parameter_in(text[: instead.start()] if instead else text, parameter)
    if name and instead and (new := instead["quoted"] or instead["plain"] or instead["word"]) != name:
        return Refusal(PARAMETER, name, new)
    if _KEY_REFUSED.search(text) and _KEY_PLACE.search(text):
        return Refusal(MESSAGE_KEY)
    for cause, words in _CAUSES:
        if words.search(text) or (cause == CONTENT and words.search(labels)):
            return Refusal(cause)
    if _MODEL.search(text) or parameter == "model":
        return Refusal(MODEL)
    if name and (parameter or name == "stream_options" or _REFUSED_VALUE.search(text)):
        return Refusal(PARAMETER, name)
    return Refusal(PARAMETER) if _KEY_REFUSED.search(text) else None


def _parameter_in(text: str, parameter: str | None) -> str | None:
    """The request parameter that a refusal names: in its own field, in quotes, or as a word that is nothing else."""
    if parameter in _PARAMETERS:
        return parameter
    quoted = {name.rpartition(".")[2] for name in re.findall(r"['\"`\[]([A-Za-z_][\w.]*)['\"`\]]", text)}
    for name in _PARAMETERS:
        if name in quoted:
            return name
    words = set(re.findall(r"[A-Za-z_]+", text))
    return next((name for name in _PARAMETERS if name in words and ("_" in name or name in _UNMISTAKABLE)), None)


_UNMISTAKABLE = frozenset({"temperature", "logprobs", "seed", "modalities", "verbosity"})


def stored_failure(kind: str | None, message: str | None, status: int | None, code: str | None) -> Failure | None:
    """The failure of a stored attempt, with what its text says that was refused; None: it was good."""
    if kind is None:
        return None
    refusal = refusal_of(message or "", code) if kind == "bad_request" else None
    return Failure(kind, message or "", status, code, refused=None if refusal is None else refusal.cause)
