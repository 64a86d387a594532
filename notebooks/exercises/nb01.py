"""The exercises of notebook 01."""

from typing import Any

from checks import Function, Rule, Value, digest

_CAUSES = ("key", "name", "request", "token limit", "service")
_RIGHT = {
    "a": "12b035d78ab7fa95",
    "b": "0ae23d05a08c87ac",
    "c": "f56e15f56215e18d",
    "d": "6c7a7acfe8461e6a",
    "e": "7f5e901374544282",
}
_LOOK = {
    "a": "the status says 'not found'. Read in the message what was not found.",
    "b": "the request could be read. Which of its values is refused?",
    "c": "status 200: the request was fine. Why did the model stop?",
    "d": "how far did the service get when it read your JSON?",
    "e": "this is a web page, not JSON. Is there anything in your request to correct?",
}


def _body(body: dict[str, Any]) -> str | None:
    if body.get("model") != "math-teacher":
        return "the field model must be the name of the model, math-teacher."
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return "messages must be a list of dicts, each with a role and a content."
    roles = [message.get("role") for message in messages]
    if roles != ["system", "user"]:
        return f"two messages are needed, first the system's, then the user's; the roles of yours are {roles}."
    texts = ["You are a math teacher for primary school students.", "What is the product of 12 * 23?"]
    for role, text, message in zip(roles, texts, messages, strict=True):
        if message.get("content") != text:
            return f"the content of the {role} message must be exactly: {text}"
    if body.get("stream", False) is not False:
        return "'not streamed' means that stream is False, or that the field is left out."
    if body.get("max_tokens") != 16:
        return "the limit of the answer is a field of the body, next to messages: max_tokens, a number."
    if body.get("temperature") != 0 or isinstance(body.get("temperature"), bool):
        return "which field says how much chance there is, and at which value is there none?"
    return None


def _causes(causes: dict[str, Any]) -> str | None:
    if set(causes) != set(_RIGHT):
        return "give one cause for each of the letters a, b, c, d and e."
    unknown = sorted(letter for letter, cause in causes.items() if cause not in _CAUSES)
    if unknown:
        return f"the cause of {', '.join(unknown)} must be one of: {', '.join(_CAUSES)}."
    wrong = [letter for letter in sorted(_RIGHT) if digest(f"01.4{letter}", causes[letter]) != _RIGHT[letter]]
    return f"{len(wrong)} of 5 wrong. Look at {wrong[0]}: {_LOOK[wrong[0]]}" if wrong else None


EXERCISES = {
    "01.1": Function(
        [
            (
                ({"choices": [{"message": {"content": "35"}}, {"message": {"content": "36"}}]},),
                "35",
                "the path is choices, first item, message, content.",
            ),
            (({"choices": [{"message": {"role": "assistant", "content": ""}}]},), "", "an empty text is a text, too."),
            (({"choices": []},), None, "an empty list has no first item. What do you return then?"),
            (({"choices": None},), None, "choices may be None. What do you return then?"),
            (
                ({"error": {"message": "x"}},),
                None,
                "choices may be missing: is there a way to read it without a KeyError?",
            ),
            (
                ({"choices": [{"message": {"content": None}}]},),
                None,
                "a content of None stays None; do not make a text of it.",
            ),
        ]
    ),
    "01.2": Value(
        float,
        "9616a41a94d181a1",
        "sum prompt_tokens and completion_tokens of the 40 replies apart, and give each its own price.",
        {
            "49754af748b77b53": "that is one reply on average. The question is about 1,000.",
            "3dd2eb5f35070b42": "that is what the 40 replies cost together. The question is about 1,000.",
            "4154b81ec55c9083": "that is 1,000 times all 40 replies. The question is about 1,000 replies.",
            "d0e420b112506c9f": "the two prices are swapped: the dearer one is for completion tokens.",
            "7a40b5d04b91890b": "the prompts cost something, too.",
            "1a05182e223172dc": "the answers cost something, too.",
            "b966619c8764f79b": "total_tokens has one price for both kinds; each kind has its own.",
            "6813e1eab632ee49": "total_tokens has one price for both kinds; each kind has its own.",
            "ec66ad7f393ea9b8": "the prices are for a million tokens.",
            "e804c1cee3936db2": "the prices are for a million tokens, and the question is about 1,000 replies.",
            "457ea2bb52573184": "the prices are for a million tokens, and the question is about 1,000 replies.",
            "b28e2a3e627a49e1": "the prices are for a million tokens, and that is 1,000 times all 40 replies.",
            "937e4c0ee6e8eb9f": "each kind of token has its own price: do not multiply total_tokens by a sum of both.",
            "92e3a69f95cb43ac": "each kind of token has its own price: do not multiply total_tokens by their mean.",
            "d63d7ee53fb217fc": "that is 1,000 times the first reply: take all 40.",
            "5a24ecbc7f21e53c": "that is 1,000 times the last reply: take all 40.",
            "b9ea39498fcdef6b": "nearly: do not round.",
            "32840fce6c37800b": "nearly: do not round.",
            "3e6d125bddf7da31": "nearly: do not round.",
            "e46816faa4c9a14b": "nearly: do not round.",
            "652dd7d6951f7f88": "that is in cents; dollars are asked for.",
        },
    ),
    "01.3": Rule(dict, _body),
    "01.4": Rule(dict, _causes),
}
