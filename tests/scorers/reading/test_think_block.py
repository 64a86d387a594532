"""What of a text is reasoning, and what the answer."""

import time

import pytest

from evalkit.scorers.reading.think_block import SplitText, answer_start, split, without_think_block

FENCED = "Write it so:\n```\n<think>\nx\n</think>\n```\nThat is all."
CODE_IN_A_THOUGHT = "Run ```python\nx\n</think>\nThe answer is 35."

LEADS = ["", "a", "<think>a</think>b", "analysisX ", "<|channel|>", "```\n</think>\n~~~\n"]


@pytest.mark.parametrize(
    ("text", "answer", "reasoning"),
    [
        # one block, with both tags, without the first, without the last
        ("<think>34?</think>\n35", "\n35", "34?"),
        (" <Thinking>34?</THINK>35", "35", "34?"),
        ("First 34?\n</think>\n\n35", "\n\n35", "First 34?"),
        ("<think>is it 34", "", "is it 34"),
        ("<think>\n\n</think>\n\n35", "\n\n35", ""),
        # other marks
        ("[THINK]34?[/THINK]35", "35", "34?"),
        ("34?[/THINK]35", "35", "34?"),
        ("<reasoning>34?</reasoning>35", "35", "34?"),
        ("<thought>34?</thought>35", "35", "34?"),
        ("<seed:think>34?</seed:think>35", "35", "34?"),
        ("◁think▷34?◁/think▷35", "35", "34?"),
        ("34?◁/think▷35", "35", "34?"),
        ("<|begin_of_thought|>34?<|end_of_thought|>35", "35", "34?"),
        ("<|START_THINKING|>34?<|END_THINKING|>35", "35", "34?"),
        ("<|channel>thought\n34?<channel|>35", "35", "34?"),
        ("Here is my thought process: 34?\nHere is my response: 35", " 35", "34?"),
        # several blocks
        ("<think>a</think>\n<think>b</think>\n35", "\n\n35", "a\n\nb"),
        ("<think>a</think>So: <think>b</think>35", "So: 35", "a\n\nb"),
        ("a</think>So: <think>b</think>35", "So: 35", "a\n\nb"),
        ("Sure.\n<think>a</think>\n35", "Sure.\n\n35", "a"),
        ("35\n<think>\nor is it", "35\n", "or is it"),
        # channels, with their marks and without
        (
            "<|channel|>analysis<|message|>34?<|end|><|start|>assistant<|channel|>final<|message|>35<|return|>",
            "35", "34?",
        ),
        ("34?<|end|><|start|>assistant<|channel|>final<|message|>35", "35", "34?"),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary to=functions.f "
            "<|constrain|>json<|message|>{}<|call|><|start|>assistant<|channel|>final<|message|>35",
            "35", "a\n\n{}",
        ),
        ("<|channel|>analysis<|message|>cut off", "", "cut off"),
        ("<|start|>assistant<|channel|>commentary<|message|>I look it up.", "I look it up.", ""),
        ("analysisIs it 34? No.assistantfinalThe sum is 35.", "The sum is 35.", "Is it 34? No."),
        ("analysisI say assistantfinal before it.assistantfinalThe word is assistantfinal here",
         "The word is assistantfinal here", "I say assistantfinal before it."),
        ("analysisWe need to add", "", "We need to add"),
        ("analysisLet's add, then", "", "Let's add, then"),
        ("analysisUser asks for", "", "User asks for"),
        ("analysisНужно сложить", "", "Нужно сложить"),
        # names that elements of an answer have too
        ("<reason>Late</reason>\n35", "\n35", "Late"),
        ("<reflection>Late?</reflection><output>35</output>", "<output>35</output>", "Late?"),
        ("<thought>a</thought><thought>b</thought>\n<thought>c</thought>35", "\n35", "a\n\nb\n\nc"),
        ("<think>a</think><refund>\n<reason>Late</reason></refund>", "<refund>\n<reason>Late</reason></refund>", "a"),
        ("<think>a</think><case>\n<reasoning>b</reasoning></case>", "<case>\n<reasoning>b</reasoning></case>", "a"),
        # the end of a thought stands at an end of its line, or close to its words
        ("First 34?</think> 35", " 35", "First 34?"),
        ("First 34? </think>\n35", "\n35", "First 34?"),
        ("First\n </think> 35", " 35", "First"),
        ('He said "no"</think>35', "35", 'He said "no"'),
        # a tag in the thought ends it only if it is not quoted
        ("<think>I end with `</think>`, later</think>35", "35", "I end with `</think>`, later"),
        (CODE_IN_A_THOUGHT, "\nThe answer is 35.", "Run ```python\nx"),
    ],
)  # fmt: skip
def test_reasoning_in_a_text(text, answer, reasoning):
    assert split(text) == SplitText(answer, reasoning)
    assert without_think_block(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "", "35", "a < b and b > c", "The analysis is done.", "analysis of 35 cases", "Final answer: 35",
        "End the block with `</think>`.", "The tags `<think>` and `</think>` stand around it.", FENCED,
        "Begin with <think> and go on.", "35 <think>late</think>", '["a", "b"]', "<b>35</b>", "~~~\n</think>\n~~~",
        "`assistantfinal` is no word", "Is it 34? No.assistantfinal35", "The token is assistantfinal here",
        "analysisReport", "analysisResult = compute()", "analysisResult is what compute() returns", "analysisA and B",
        "analysis of why The token is assistantfinal here", "analysisMode: fast", "analysis: We need 35",
        "<reason>Late</reason>", "<reflection>Late</reflection>\n", "<reason>a</reason>\n<reason>b</reason>",
        "<refund>\n  <reason>Late</reason>\n  <amount>5</amount>\n</refund>", "<reason>Late</reason><amount>5</amount>",
        "A:\n<reflection>Late</reflection>\nB", "<case>\n<reasoning>a</reasoning>\n<answer>5</answer>\n</case>",
        "<scene>\n  <thought>Hm.</thought>\n</scene>", "Late</reason> it is",
        "if a </think> b then c", "The block ends with </think>, and then comes the answer.", "1 [/THINK] 2 ◁/think▷ 3",
        'The mark "</think>" ends it.', "The mark (</think>) ends it.", "Write </thought> or\n</b> there.",
    ],
)  # fmt: skip
def test_a_text_without_reasoning_is_left_as_it_is(text):
    assert without_think_block(text) is text


def test_where_the_answer_starts():
    assert answer_start("35") == 0
    assert answer_start("<think>a</think>\n 35") == len("<think>a</think>\n ")
    assert answer_start("a</think> b <think>c</think>") == len("a</think> ")
    assert answer_start("<think>a</think>\n") is None
    assert answer_start("<think>a") is None


@pytest.mark.parametrize(
    "piece",
    [
        "<think>",
        "</think>`",
        "`<think>` `</think>` ",
        "\n<think>x",
        "<|channel|>",
        "assistantfinal`",
        "```\n",
        "\n[THINK]x",
        "\n◁think▷ </thought>",
        "\n<seed:think>\n</mm:think>",
        "<reason> ",
        "</think> x ",
        "`` ` ",
    ],
)
def test_a_text_of_marks_alone_does_not_take_long(piece):
    for lead in LEADS:
        text = lead + piece * (40_000 // len(piece)) + "end"
        began = time.process_time()
        without_think_block(text)
        assert time.process_time() - began < 1, lead
