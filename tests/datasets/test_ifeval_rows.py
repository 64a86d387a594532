"""IFEval: each instruction with an answer that follows it and one that does not; what no scorer can check is named."""

import pytest

from evalkit.datasets.row_formats import format_of, parse
from evalkit.errors import DatasetError
from evalkit.record import Answer
from evalkit.scorers import scoring


def read(*instructions, **keys):
    """A row as the collection at Hugging Face has it: every option of all instructions, most of them null."""
    names = [name for name, _ in instructions]
    kwargs = [{"num_words": None, "keywords": None, "relation": None, **options} for _, options in instructions]
    row = {"key": 1000, "prompt": "Write.", "instruction_id_list": names, "kwargs": kwargs, **keys}
    assert format_of(row) == "ifeval"
    return parse(row, "ifeval")


def score(conversation, text):
    (turn,) = conversation.turns
    scoring.turn_checker()(turn)
    return scoring.score(turn, Answer(text)).value


SECTIONS = {"section_spliter": "SECTION", "num_sections": 2}
GERMAN = "Das ist ein ganz normaler deutscher Satz."
CASES = [
    ("punctuation:no_comma", {}, "a b", "a, b"),
    ("length_constraints:number_words", {"relation": "at least", "num_words": 3}, "a b c", "a b"),
    ("length_constraints:number_words", {"relation": "less than", "num_words": 3}, "a b", "a b c"),
    ("length_constraints:number_sentences", {"relation": "less than", "num_sentences": 2}, "One.", "One. Two."),
    ("keywords:existence", {"keywords": ["Rome", "a.b"]}, "rome and A.B", "rome and acb"),
    ("keywords:existence", {"keywords": ["co-op"]}, "The Co-op.", "The coop."),
    ("keywords:forbidden_words", {"forbidden_words": ["can", "ride"]}, "candles", "We can."),
    ("keywords:frequency", {"relation": "at least", "keyword": "sun", "frequency": 2}, "Sun\nsun", "sun"),
    ("keywords:letter_frequency", {"let_relation": "at least", "letter": "x", "let_frequency": 2}, "xX", "x"),
    ("keywords:letter_frequency", {"let_relation": "less than", "letter": "x", "let_frequency": 2}, "ax\nb", "xX"),
    ("keywords:letter_frequency", {"let_relation": "less than", "letter": "]", "let_frequency": 1}, "a", "a]"),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "a: 1"),
    ("detectable_format:title", {}, "<<Hello>>\nText", "<<>>"),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "Maybe."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and\n*b*", "*a* and ** b"),
    ("detectable_format:multiple_sections", SECTIONS, "SECTION 1 SECTION 2", "SECTION 1"),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] [b]", "[a]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Hi\nP. S. so", "Hi"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Hi\nP.P.S. so", "P.S. so"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Write it. (Now!)"}, "write it. (now!)", "OK write it. (Now!)"),
    ("startend:end_checker", {"end_phrase": "Any questions?"}, 'So. any questions?"\n', "Any questions? No."),
    ("startend:quotation", {}, '"a\nb"', '"a" b'),
    ("change_case:english_lowercase", {}, "all lower, 1", "Not lower"),
    ("change_case:english_capital", {}, "ALL UPPER, 1", "NOT Upper"),
    ("language:response_language", {"language": "de"}, GERMAN, "This is an English one."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "follows", "breaks"), CASES)
def test_an_instruction_is_checked(name, options, follows, breaks):
    conversation = read((name, options))
    assert conversation.tags == (name,)
    assert score(conversation, follows) == 1
    assert score(conversation, breaks) == 0


COMMA = ("punctuation:no_comma", {})
WORDS = ("length_constraints:number_words", {"relation": "at least", "num_words": 3})
JSON = ("detectable_format:json_format", {})


def test_lengths_and_one_other_check_are_one_score():
    conversation = read(WORDS, COMMA)
    assert [score(conversation, text) for text in ("a b c", "a b", "a, b c", "a, b")] == [1, 0.5, 0.5, 0]


UNSCORED = [
    ("combination:two_responses", {}),
    ("detectable_format:number_bullet_lists", {"num_bullets": 3}),
    ("change_case:capital_word_frequency", {"capital_relation": "at least", "capital_frequency": 3}),
    ("keywords:frequency", {"relation": "less than", "keyword": "sun", "frequency": 2}),
    ("keywords:letter_frequency", {"let_relation": "at least", "letter": "x", "let_frequency": 5000}),
    ("keywords:existence", {"keywords": "sun"}),
    ("startend:end_checker", {}),
    ("no:such", {}),
]


@pytest.mark.parametrize(("name", "options"), UNSCORED)
def test_what_no_scorer_can_check_is_named(name, options):
    alone = read((name, options))
    assert (alone.turns[0].scorer, alone.turns[0].target) == (None, None)
    assert (alone.meta, alone.tags) == ({"unscored": [name]}, (name, "unscored"))
    beside = read(COMMA, (name, options))
    assert (beside.meta, beside.tags) == ({"unscored": [name]}, (COMMA[0], name, "partly-scored"))
    assert score(beside, "a b") == 1


def test_a_second_check_with_a_target_is_named():
    assert read(COMMA, JSON).meta == {"unscored": [JSON[0]]}


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"instruction_id_list": "a"}, "instruction_id_list"),
        ({"instruction_id_list": [3]}, "instruction_id_list[0]"),
        ({"kwargs": [{}, {}]}, "kwargs"),
        ({"kwargs": ["a"]}, "kwargs[0]"),
        ({"prompt": " "}, "prompt"),
        ({"key": 1.5}, "key"),
    ],
)
def test_what_is_wrong_has_the_key_of_the_row(keys, field):
    with pytest.raises(DatasetError) as caught:
        read(COMMA, **keys)
    assert caught.value.field == field
