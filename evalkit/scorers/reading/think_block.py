"""The blocks of a text in which a model reasons: ``<think>…</think>`` and the other marks that models use.

This is the one place that decides what of a text is reasoning and what is the answer.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from typing import NamedTuple

_NAMES = "think|thinking|thoughts?|reasoning|reason|reflection|(?:seed|mm):think|longcat_think"
_OPEN = re.compile(
    rf"<(?P<tag>{_NAMES})>|(?P<square>\[THINK\])|(?P<kimi>◁think▷)|(?P<begin><\|begin_of_thought\|>)"
    r"|(?P<start><\|START_THINKING\|>)|(?P<channel><\|channel>thought\b)",
    re.IGNORECASE,
)
_CLOSE = re.compile(
    rf"</(?P<tag>{_NAMES})>|(?P<square>\[/THINK\])|(?P<kimi>◁/think▷)|(?P<begin><\|end_of_thought\|>)"
    r"|(?P<start><\|END_THINKING\|>)|(?P<channel><channel\|>)",
    re.IGNORECASE,
)
_SAME = {"thinking": "think", "thoughts": "thought", "reason": "reasoning"}  # names that may end each other
# names that elements of an answer have too: a block only at the beginning, the rare ones only before an answer
_ELEMENTS = frozenset({"thought", "thoughts", "reasoning", "reason", "reflection"})
_RARE = frozenset({"reason", "reflection"})
_NO_ANSWER = re.compile(r"\s*(?:\Z|<(?!(?:final_?)?(?:answer|output|response|solution))[a-z])", re.IGNORECASE)
_BLANK = re.compile(r"\s*")
_MOST_CLOSES = 64  # looked at for the end of one block: a text of tags alone must not take long
_QUOTED = ('""', "''", "“”", "‘’", "«»", "()")
_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[^\n]*\n.*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_FENCE_BEGIN, _FENCE_END = (re.compile(rf"^[ \t]*(?:```|~~~){end}", re.MULTILINE) for end in (r"\w", r"[`~\s]*\Z"))
_INLINE = re.compile(r"(?<!`)(`+)(?!`)[^\n]*?(?<!`)\1(?!`)")

# gpt-oss: a message in each channel, and what is left of the marks where a server removes special tokens
_CHANNEL = re.compile(
    r"(?:<\|start\|>[^<]*)?<\|channel\|>\s*+(?P<name>\w*+)(?P<to>[^<]*+)(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(?P<body>.*?)(?P<end><\|(?:end|return|call)\|>|(?=<\|start\|>|<\|channel\|>)|\Z)",
    re.DOTALL,
)
_MARK = re.compile(r"<\|(?:start|end|return|call|message)\|>")
_ANALYSIS = re.compile(r"\s*analysis(?![\s.,:;!?)-])")
_FINAL = re.compile(r"assistantfinal")
# how a thought begins that never ends; other words after "analysis" make a name, such as analysisResult
_SENTENCE = re.compile(
    r"(?:We|The|It|Its|Let|Lets|This|That|There|These|They|You|He|She|So|Ok|Okay|Hmm|Alright|To|In|If|Is|Are|Do|Does"
    r"|Can|Could|Should|What|How|Why|Which|Who|When|Where|Just|Need|Since|Because|For|Maybe|Probably|Likely|Must"
    r"|I (?:need|will|must|should|have|can|am|think)|Users? (?:ask|want|say|request|need|give|provide|is|has|greet)s?)"
    r"(?:['’]\w+)?(?:,|\s+[\w\"'“(])|[^\x00-\x7f]"
)
# Granite 3
_ANNOUNCED = re.compile(r"\s*Here(?:'s| is) my thought process:(?P<thought>.*?)Here(?:'s| is) my response:", re.DOTALL)


class SplitText(NamedTuple):
    """The answer in a text, and the reasoning in it, without marks."""

    answer: str
    reasoning: str


def without_think_block(text: str) -> str:
    """Remove the blocks in which a model reasons: some endpoints send the reasoning as text.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        The same object if there is none. Empty if all of it is reasoning, as in a block without an end.
    """
    blocks = _blocks(text)
    return _outside(text, blocks) if blocks else text


def split(text: str) -> SplitText:
    """Split a text into the answer and the reasoning."""
    blocks = _blocks(text)
    if not blocks:
        return SplitText(text, "")
    thoughts = (block.thought.strip() for block in blocks)
    return SplitText(_outside(text, blocks), "\n\n".join(filter(None, thoughts)))


def answer_start(text: str) -> int | None:
    """The place of the first character of the answer that is not blank; 0: no block is in the text.

    None: there is no such character.
    """
    blocks = _blocks(text)
    if not blocks:
        return 0
    for start, end in _between(text, blocks):
        if outside := text[start:end].lstrip():
            return end - len(outside)
    return None


class _Block(NamedTuple):
    start: int
    end: int
    thought: str


def _outside(text: str, blocks: list[_Block]) -> str:
    return "".join(text[start:end] for start, end in _between(text, blocks))


def _between(text: str, blocks: list[_Block]) -> Iterator[tuple[int, int]]:
    edges = [0, *(edge for block in blocks for edge in block[:2]), len(text)]
    return zip(edges[::2], edges[1::2], strict=True)


def _blocks(text: str) -> list[_Block]:
    """The blocks in a text, in order."""
    if not (
        "<" in text or "HINK]" in text or "◁" in text or "analysis" in text or "process:" in text
    ):  # nearly every text
        return []
    if "<|channel|>" in text and (found := _channels(text)):
        return found
    if found := _bare_channels(text):
        return found
    if announced := _ANNOUNCED.match(text):
        return [_Block(0, announced.end(), announced["thought"])]
    return _tagged(text)


# -- tags


def _tagged(text: str) -> list[_Block]:
    """Blocks between tags; a tag in code is shown to the reader, and neither begins nor ends a block.

    After a block at the beginning others may follow anywhere. Otherwise a block begins a line, since a sentence may be
    about tags; and if it never ends, its opening tag is alone on its line.
    """
    closes = _Closes(text)
    first = _first_block(text, closes)
    blocks = [first] if first else []
    at = first.end if first else 0
    code, next_to_block = _code(text, at), _after_blanks(text, at) if first else None
    while (opening := _OPEN.search(text, at)) is not None:
        at = opening.end()
        if _name(opening) in _ELEMENTS and (_name(opening) in _RARE or opening.start() != next_to_block):
            continue
        before = text[max(opening.start() - 64, 0) : opening.start()].rstrip(" \t")
        begins_line = not before or before.endswith("\n")
        if _around(opening.start(), code) or not (begins_line or blocks):
            continue
        close = closes.end_of(opening)
        if close is not None:
            at = close.end()
            next_to_block = _after_blanks(text, at)
            blocks.append(_Block(opening.start(), at, text[opening.end() : close.start()]))
        elif begins_line and text[opening.end() : opening.end() + 1] in ("", "\n"):
            blocks.append(_Block(opening.start(), len(text), text[opening.end() :]))
            break
    return blocks


def _first_block(text: str, closes: _Closes) -> _Block | None:
    """The block at the beginning of a text; if the prompt has its opening tag, the text has only the closing one."""
    opening = _OPEN.match(text, len(text) - len(text.lstrip()))
    if opening is not None:
        close = closes.end_of(opening)
        end, after = (close.start(), close.end()) if close else (len(text), len(text))
        if _name(opening) in _RARE and _NO_ANSWER.match(text, after):
            return None
        return _Block(0, after, text[opening.end() : end])
    code: list[_Code] | None = None
    for close in closes.found[:_MOST_CLOSES]:
        if _name(close) in _RARE or _mentioned(close):
            continue
        code = _code(text, 0) if code is None else code
        shown = _around(close.start(), code)
        opened = [tag.start() for tag in _OPEN.finditer(text, 0, close.start()) if _belong(tag, close)]
        if shown is not None and (shown.inline or any(place > shown.start for place in opened)):
            continue
        if shown is not None and _ends_as_code(text[close.end() : shown.end]):
            continue
        if any(_around(place, code) is None for place in opened):
            return None
        return _Block(0, close.end(), text[: close.start()])
    return None


def _after_blanks(text: str, at: int) -> int:
    return len(text) if (blanks := _BLANK.match(text, at)) is None else blanks.end()


def _mentioned(close: re.Match[str]) -> bool:
    """Whether a sentence is about a closing tag: it stands between words of a line, or in quotation marks."""
    text, start, end = close.string, *close.span()
    before, after = text[max(start - 1, 0) : start], text[end : end + 1]
    if before + after in _QUOTED:
        return True
    if before not in " \t":
        return False
    begin, rest = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    return bool(text[begin:start].strip() and text[end : rest if rest >= 0 else len(text)].strip())


def _ends_as_code(rest: str) -> bool:
    """Whether code goes on to its end; if other code begins in it, or it has no end, a thought was cut in its code."""
    return _FENCE_END.search(rest) is not None and _FENCE_BEGIN.search(rest) is None


class _Closes:
    """The closing tags of a text."""

    def __init__(self, text: str) -> None:
        self.found = list(_CLOSE.finditer(text))
        self._starts = [close.start() for close in self.found]

    def end_of(self, opening: re.Match[str]) -> re.Match[str] | None:
        """The end of a block: the first tag of its kind that the thought does not quote, else the first."""
        first: re.Match[str] | None = None
        text = opening.string
        after = bisect_right(self._starts, opening.start())
        for close in self.found[after : after + _MOST_CLOSES]:
            if _belong(opening, close):
                if text[close.start() - 1 : close.end() + 1] != f"`{close.group()}`":
                    return close
                first = first or close
        return first


def _name(tag: re.Match[str]) -> str:
    return (tag["tag"] or "").lower()


def _belong(opening: re.Match[str], close: re.Match[str]) -> bool:
    if opening.lastgroup != close.lastgroup:
        return False
    return len({_SAME.get(name, name) for name in (_name(opening), _name(close))}) == 1


class _Code(NamedTuple):
    start: int
    end: int
    inline: bool


def _code(text: str, at: int) -> list[_Code]:
    """The code in a text from a place on."""
    if "`" not in text and "~~~" not in text:
        return []
    fences = [_Code(*found.span(), False) for found in _FENCE.finditer(text, at)]
    inline = [_Code(*found.span(), True) for found in _INLINE.finditer(text, at)]
    return sorted(fences + [span for span in inline if _around(span.start, fences) is None])


def _around(place: int, code: list[_Code]) -> _Code | None:
    """The code that a place is in."""
    before = bisect_right(code, place, key=attrgetter("start"))
    return code[before - 1] if before and place < code[before - 1].end else None


# -- channels


def _channels(text: str) -> list[_Block]:
    """All but the final channel; without one, all but commentary that is not for a tool."""
    messages = list(_CHANNEL.finditer(text))
    if not messages or _around(messages[0].start(), _code(text, 0)):
        return []
    final = any(message["name"] == "final" for message in messages)
    blocks, start, thoughts = [], 0, [_MARK.sub("", text[: messages[0].start()])]
    for message in messages:
        if message["name"] == "final" if final else message["name"] == "commentary" and not message["to"].strip():
            blocks.append(_Block(start, message.start("body"), "\n\n".join(thoughts)))
            start, thoughts = message.end("body"), []
        else:
            thoughts.append(message["body"])
    thoughts.append(_MARK.sub("", text[messages[-1].end() :]))
    blocks.append(_Block(start, len(text), "\n\n".join(thoughts)))
    return blocks


def _bare_channels(text: str) -> list[_Block]:
    """``analysis…assistantfinal…``."""
    begin = _ANALYSIS.match(text)
    if begin is None:
        return []
    inner = begin.end()
    code: list[_Code] | None = None
    for final in islice(_FINAL.finditer(text, inner), _MOST_CLOSES):
        code = _code(text, 0) if code is None else code
        if _around(final.start(), code) is None and not _mentioned(final):
            return [_Block(0, final.end(), text[inner : final.start()])]
    if text[inner : inner + 1].isupper() and _SENTENCE.match(text, inner):
        return [_Block(0, len(text), text[inner:])]
    return []
