"""Warnings about the answers of a run."""

import pytest
from answering import answering, rows, stream, whole
from raw_server import answer, completion
from runfiles import S, T, write

import evalkit as ek
from evalkit.analysis import caveats
from evalkit.runfile.store import open_to_read
from evalkit.wording.caveats import sentences


def told(tmp_path, reply, count=4, **settings):
    """The caveats of a run and their sentences."""
    with answering(lambda body, number: reply(number)) as url:
        data = rows(tmp_path / "d.jsonl", count)
        run = ek.evaluate(data, ek.Endpoint(url, "m"), out=tmp_path / "r.evalkit", concurrency=1, **settings)
        counts = run.summary_json()["caveats"]
        return counts, sentences(counts)


def test_unknown_finish_reasons_are_named(tmp_path):
    reasons = ("stop", "eleven", "MAX_TOKENS", "eleven", "Repetition")
    counts, sentences = told(tmp_path, lambda number: stream(finish=reasons[number]), len(reasons))
    assert counts["unknown_finish_reasons"] == {"eleven": 2, "Repetition": 1}
    assert counts["answers"] == 5
    assert sentences == [
        "3 answers ended with a finish reason that evalkit does not know, and may be incomplete: 'eleven' (2), "
        "'Repetition' (1)"
    ]


def test_many_unknown_finish_reasons_are_not_all_named(tmp_path):
    counts, (sentence,) = told(tmp_path, lambda number: whole(finish=f"word {number}"), 7, stream=False)
    assert len(counts["unknown_finish_reasons"]) == 7
    assert sentence.endswith("'word 3' (1), 'word 4' (1) and 2 others")


def test_http_that_breaks_the_rules_is_counted(tmp_path):
    raw = answer("200 OK", completion("35"))
    bent = raw.replace(b"\r\n", b"\n", 2)
    counts, sentences = told(tmp_path, lambda number: bent if number else raw, stream=False)
    assert counts["lenient_http"] == 3
    assert sentences[0].startswith("the HTTP of 3 answers breaks the rules")


def test_ordinary_answers_have_no_caveat(tmp_path):
    counts, sentences = told(tmp_path, lambda number: stream())
    assert sentences == []
    assert {name: value for name, value in counts.items() if value} == {"answers": 4}


def sentences_of(path):
    connection = open_to_read(path)
    try:
        return sentences(caveats.caveats(connection)._asdict())
    finally:
        connection.close()


ALL_REASONING = [
    T("a", 1, text="", reasoning="hm"), T("b", 1, text="<think>34?"), T("c", 1, text="hm\n</think>\n"),
    T("d", 1, text="<|channel|>analysis<|message|>hm"), T("e", 1, text=" \n", reasoning="hm"),
]  # fmt: skip


def test_answers_that_are_all_reasoning_are_counted_wherever_the_reasoning_is(tmp_path):
    others = [T("f", 1, text="<think>34?</think>35"), T("g", 1, text="<b>"), T("h", 1, text="[1]", reasoning="hm")]
    (sentence,) = sentences_of(write(tmp_path / "r.evalkit", [S([*ALL_REASONING, *others])]))
    assert sentence == (
        "5 of 8 answers are all reasoning and no text, so they have no score: check the endpoint's reasoning parser, "
        "which may take the answer for reasoning, and its chat template"
    )


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        (["length"], "1 of 1 answer is all reasoning and no text, so it has no score: it was cut off while"),
        (["length"] * 2, "they were cut off while the model was thinking, raise the token limit (max_tokens)"),
        (["length", "stop"], "for 1 cut off while the model was thinking, raise the token limit (max_tokens); for the"),
    ],
)
def test_an_answer_cut_off_in_its_reasoning_needs_a_higher_limit(tmp_path, reasons, words):
    turns = [T(f"c{n}", 1, text="<think>34?", finish_reason=reason) for n, reason in enumerate(reasons)]
    assert words in sentences_of(write(tmp_path / "r.evalkit", [S(turns)]))[0]
