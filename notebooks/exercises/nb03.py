"""The exercises of notebook 03."""

from checks import Function, Rule, Value, digest


def _event(delta, finish="null"):
    return f'data: {{"choices": [{{"index": 0, "delta": {delta}, "finish_reason": {finish}}}]}}\n\n'


_ROLE = _event('{"role": "assistant", "content": null}')
_SUM = _event('{"content": "12 + 23"}') + _event('{"content": " is 35."}')
_END = _event("{}", '"stop"')
_DONE = "data: [DONE]\n\n"
_USAGE = 'data: {"choices": [], "usage": {"completion_tokens": 9}}\n\n'

_JUDGED = {  # the hash of a letter and its word
    "A": "af9e9ac23153dfde",
    "B": "fef4fd9b12360500",
    "C": "5fc38e5b5eca3202",
    "D": "1f853770f26f989a",
    "E": "56f3e2ca73036c33",
}
_WORDS = ("complete", "limit", "cut", "unconfirmed")
_WHY = {
    "A": "neither of the two signs of an end has arrived.",
    "B": "both signs of an end are there.",
    "C": "the stream was ended properly, but did the model end? Which sign is missing?",
    "D": "the stream is whole. Why did the model stop?",
    "E": "the model said why it stopped. Is anything of its answer missing?",
}


def _judge(judged):
    """A hint for the first letter that is wrong, or None."""
    if set(judged) != set(_JUDGED):
        return "the dict needs the keys A, B, C, D and E, and no others."
    for letter, wanted in _JUDGED.items():
        word = judged[letter]
        if word is None:
            return f"{letter} has no word yet; the words are {', '.join(_WORDS)}."
        if word not in _WORDS:
            return f"{letter} is {word!r}, which is none of the words {', '.join(_WORDS)}."
        if digest("03.4", f"{letter} {word}") != wanted:
            return f"look at {letter} again: {_WHY[letter]}"
    return None


EXERCISES = {
    "03.1": Function(
        cases=[
            (
                (_SUM + _DONE,),
                "12 + 23 is 35.",
                "a line with `data:` holds JSON, only [DONE] is none: join the content of every delta, in order.",
            ),
            ((_ROLE + _SUM + _END + _DONE,), "12 + 23 is 35.", "a content may be missing, or null: neither is text."),
            ((_SUM + _USAGE + _DONE,), "12 + 23 is 35.", "`choices` may be an empty list, as in a usage chunk."),
            ((": ping\n\n" + _SUM + _DONE,), "12 + 23 is 35.", "a line that starts with a colon is a comment."),
            (((_SUM + _DONE).replace("data: ", "data:"),), "12 + 23 is 35.", "the blank after `data:` may be missing."),
            (((_SUM + _DONE).replace("\n", "\r\n"),), "12 + 23 is 35.", "lines may end with \\r\\n."),
            ((_SUM + _DONE + _SUM,), "12 + 23 is 35.", "[DONE] ends the answer: what follows does not count."),
            ((_SUM,), "12 + 23 is 35.", "a stream that was cut has no [DONE]: return the text that arrived."),
            (
                (_event('{"content": "35\u2028apples"}') + _DONE,),
                "35\u2028apples",
                "the text may contain U+2028. Which characters does `splitlines` cut at?",
            ),
            (
                (_event('{"content": "It ends with data: [DONE] here."}') + _DONE,),
                "It ends with data: [DONE] here.",
                "the text itself may contain [DONE]; only a line of its own ends the stream.",
            ),
        ]
    ),
    "03.2": Function(
        cases=[
            (
                ([(90, {"content": "35"}), (120, {"content": "."})],),
                90,
                "the time of the first token, not of the last. A delta may lack a key: read it with `.get`.",
            ),
            (
                ([(4, {"role": "assistant", "content": ""}), (90, {"content": "35"})],),
                90,
                "a role chunk is not a token: its content is empty. Other keys may be missing: `.get`.",
            ),
            (
                ([(4, {"role": "assistant", "content": None}), (90, {"content": "35"})],),
                90,
                "a content can be None as well as empty.",
            ),
            (
                ([(4, {"role": "assistant"}), (60, {"reasoning_content": "Add."}), (90, {"content": "35"})],),
                60,
                "reasoning is a token too; only TTFV leaves it out. The content is missing from two of these: `.get`.",
            ),
            (
                ([(4, {"role": "assistant", "content": None}), (70, {"tool_calls": [{"index": 0}]})],),
                70,
                "a tool call counts as well.",
            ),
            (
                ([(4, {"role": "assistant", "content": ""}), (90, {})],),
                None,
                "no token came, so there is no first one: return None, not 0.",
            ),
            (([],), None, "an empty list has no first token: return None."),
        ]
    ),
    "03.3": Value(
        float,
        "20f253f71a0af8af",
        "which line of the table does GenAI-Perf use? It needs TTFT, latency and the number of tokens.",
        hints={
            "fe3f22255a69fce8": "that is latency ÷ tokens: it spreads the wait for the first token over all of them.",
            "eafda66347d8a816": "the wait for the first token must be taken out of the latency as well.",
            "b31d0025ed8f34ef": "that is latency ÷ chunks; a chunk is not a token.",
            "14587dc900226b6d": "that is the mean gap between chunks; the server counted tokens.",
            "63047e19a0f2432b": "that is the median gap between chunks.",
            "3df51d0302268a37": "nearly: how many tokens came after the first one?",
            "b0cf42d854ea7985": "that is the TTFT.",
        },
        digits=1,
    ),
    "03.4": Rule(dict, _judge),
}
