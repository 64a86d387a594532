import contextlib
import json
import sqlite3
import xml.etree.ElementTree as ET

import junitparser
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from junit_schema import SCHEMA
from lxml import etree
from runfiles import S, T, endpoint, talk, write

from evalkit.analysis.measures import measure
from evalkit.conversation import ToolCall
from evalkit.errors import SettingsError
from evalkit.gates import junit
from evalkit.gates.gate_expression import parse
from evalkit.gates.gates import results_of
from evalkit.report import run_facts
from evalkit.report.run_contents import read_run
from evalkit.runfile import plain_text, plain_transcripts, transcripts
from evalkit.wording import run_results, run_sentences

ANSI = "\x1b[31mred\x1b[0m\x00\x07"
MARKUP = "]]> </failure></testcase> &amp; <!-- \"quoted\" 'too' <![CDATA["
HOSTILE = f"{ANSI} {MARKUP} \r\n\ttab \U0001f9d1\u200d\U0001f680 \ufffe \x85 \u2028"


def written(path, tmp_path, gates=()):
    measures = measure(path)
    out = tmp_path / "out.xml"
    results = results_of([parse(gate) for gate in gates], measures)
    assert junit.write(path, out, measures, results) == measures.all.turns
    SCHEMA.assertValid(etree.parse(out))
    return out


def cases(out, suite=0):
    return {(case.classname, case.name): case for case in list(junitparser.JUnitXml.fromfile(str(out)))[suite]}


def told(path, query, *values):
    """Change a run file, as its writer would."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(query, values)


def test_every_turn_is_a_case_and_every_outcome_an_element_of_its_own(tmp_path):
    turns = [
        T("sums", 1, score=1.0, latency_ms=412.5),
        T("sums", 2, score=0.5, text="about 7", extracted=7, reason="half of it"),
        T("sums", 3, text="no idea", reason="there is no number in it"),
        T("sums", 1, repeat=2, score=1.0),
        T("late", 1, error="timeout", end_ms=900.0, ttft_ms=None, text=""),
        T("late", 2, error="cancelled", ttft_ms=None, text=""),
        T("free", 1, text="hello"),
    ]
    path = write(tmp_path / "r.evalkit", [S(turns)], [talk("sums"), talk("late"), talk("free", targets=(None,))])
    out = written(path, tmp_path)
    found = cases(out)
    assert list(found) == [
        ("sums", "turn 1"), ("sums", "turn 2"), ("sums", "turn 3"), ("sums", "turn 1, repeat 2"), ("late", "turn 1"),
        ("late", "turn 2"), ("free", "turn 1"),
    ]  # fmt: skip
    right, wrong, unscored, again, late, _, free = found.values()
    assert (right.is_passed, right.time, again.is_passed) == (True, 0.4125, True)
    assert wrong.is_passed
    assert wrong.system_out == (
        "wrong: half of it\n\nturn 1\n  user: sums, question 1\n  answer: 35\n  target: 35\n  score: 1\n\n"
        "turn 2\n  user: sums, question 2\n  answer: about 7\n  target: 276\n  extracted: 7\n"
        "  score: 0.5: half of it"
    )
    assert [(type(skip), skip.message) for case in (unscored, free) for skip in case.result] == [
        (junitparser.Skipped, "there is no number in it"), (junitparser.Skipped, "it has no target"),
    ]  # fmt: skip
    (error,) = late.result
    assert (type(error), error.type, error.message) == (junitparser.Error, "timeout", "timeout: the timeout message")
    assert late.time == 0.9
    assert "user: late, question 1\n  error: timeout: the timeout message" in error.text
    (suite,) = junitparser.JUnitXml.fromfile(str(out))
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (7, 0, 1, 3)  # one was cut off
    assert suite.time == pytest.approx(sum(case.time for case in found.values()))


def test_a_turn_that_was_never_sent_took_no_time(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, error="cancelled")])])
    told(path, "UPDATE turn SET sent_ns = NULL, end_ns = NULL, latency_ns = NULL")
    assert cases(written(path, tmp_path))["a", "turn 1"].time == 0


def test_gates_are_cases_of_a_suite_of_their_own(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0), T("b", 1, score=0.0)])])
    gates = ["accuracy>=0.5", "accuracy>0.5", "latency_p95<=1s"]
    found = cases(written(path, tmp_path, gates), suite=1)
    met, missed, missing = (found["gates", gate].result for gate in gates)
    assert met == []
    assert [(type(fault), fault.type) for fault in missed + missing] == [
        (junitparser.Failure, "missed"), (junitparser.Failure, "missing"),
    ]  # fmt: skip
    assert missed[0].message.startswith("accuracy is 0.5 of 2 turns")
    assert missing[0].text == "latency_p95 is missing: p95 needs 20 samples, there are 2"


def test_a_turn_interrupted_by_the_end_of_its_session_is_no_failure(tmp_path):
    turns = [T("a", 1, score=1.0), T("b", 1, error="cancelled", end_ms=900.0, ttft_ms=None, text="")]
    out = written(write(tmp_path / "r.evalkit", [S(turns)]), tmp_path, ())
    (suite,) = junitparser.JUnitXml.fromfile(str(out))
    assert (suite.failures, suite.errors, suite.skipped) == (0, 0, 1)


@pytest.mark.parametrize(
    ("gates", "failures", "errors"),
    [
        ((), 0, 1),
        (("accuracy>=0.3",), 0, 1),  # like the exit code of run: no gate limits errors
        (("accuracy>=0.3", "errors<=25%"), 0, 0),
        (("accuracy>=0.3", "errors<25%"), 1, 1),
        (("accuracy>=0.9", "errors<=25%"), 1, 0),
        (("accuracy[1]>=0.3", "errors[1]<=25%"), 0, 1),
    ],
)
def test_missed_gates_and_failed_calls_that_no_gate_allows_fail_the_file(tmp_path, gates, failures, errors):
    turns = [T("a", 1, score=1.0), T("b", 1, score=0.0), T("c", 1, score=0.25), T("d", 1, error="timeout")]
    out = written(write(tmp_path / "r.evalkit", [S(turns)]), tmp_path, gates)
    suites = list(junitparser.JUnitXml.fromfile(str(out)))
    assert sum(suite.failures for suite in suites) == failures
    assert sum(suite.errors for suite in suites) == errors
    assert sum(len(case.result) for case in suites[0]) == suites[0].errors + suites[0].skipped == 1
    found = cases(out)
    assert found["a", "turn 1"].system_out is None
    assert "score: 0.25" in found["c", "turn 1"].system_out
    (failed,) = found["d", "turn 1"].result
    assert failed.message == "timeout: the timeout message"


def test_the_properties_name_model_dataset_versions_and_scorers(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T(f"c{n}", 1, score=float(n < 3)) for n in range(4)])])
    endpoint = {"model": "a<b", "base_url": "http://127.0.0.1:9/v1", "params": {"temperature": 0}}
    told(path, "UPDATE run SET endpoint = ?, dataset = ?", json.dumps(endpoint), '{"path": "d.jsonl", "hash": "f00"}')
    told(path, "UPDATE session SET about = ?", '{"versions": {"evalkit": "0.1.0"}}')
    told(path, "INSERT INTO scoring (id, started_wall_ns, scorer, versions) VALUES (0, 0, 'null', '{\"number\": 1}')")
    (suite,) = junitparser.JUnitXml.fromfile(str(written(path, tmp_path)))
    properties = {each.name: each.value for each in suite.properties()}
    mean = measure(path).all.accuracy.mean
    assert properties == {
        "model": "a<b", "base_url": "http://127.0.0.1:9/v1", "params": '{"temperature":0}', "dataset": "d.jsonl",
        "dataset_sha256": "f00", "complete": "1.0",
            "accuracy": "0.75", "accuracy_low": str(mean.low), "accuracy_high": str(mean.high),
        "accuracy_n": "4", "client_bound": "False", "version_evalkit": "0.1.0", "scorer": "null",
        "scorer_versions": '{"number": 1}',
    }  # fmt: skip


def test_hostile_answers_are_text_and_what_xml_cannot_hold_is_replaced(tmp_path):
    call = ToolCall("rm<x>", HOSTILE, "1")
    turns = [T(HOSTILE, 1, score=0.0, text=HOSTILE, reason=HOSTILE, extracted=HOSTILE, scorer=HOSTILE, calls=(call,))]
    turns.append(T("b", 1, error="server", text=HOSTILE))
    path = write(tmp_path / "r.evalkit", [S(turns)], [talk(HOSTILE, targets=(HOSTILE,))])
    told(path, "UPDATE turn SET error_message = ? WHERE error_kind NOT NULL", HOSTILE)
    told(path, "UPDATE run SET name = ?, endpoint = ?", HOSTILE, json.dumps({"model": HOSTILE}))
    out = written(path, tmp_path)
    shown = HOSTILE.replace("\x1b", "\ufffd").replace("\x00\x07", "\ufffd\ufffd").replace("\ufffe", "\ufffd")
    suite = ET.parse(out).getroot()[0]
    wrong, failed = suite.iter("testcase")
    assert wrong.get("classname") == shown
    assert wrong[0].tag == "system-out"
    assert wrong[0].text.startswith(f"wrong: {shown}\n\n")
    for line in (f"answer: {shown}", f"target: {shown}", f"call: rm<x>({shown})", f"score: 0: {shown}"):
        assert line in wrong[0].text
    assert f"answer: {shown}" in failed[0].text
    assert suite.get("name") == shown
    raw = out.read_bytes()
    assert not {0, 7, 27} & set(raw)
    assert b"]]>" not in raw
    assert [tuple(case.attrib) for case in suite.iter("testcase")] == [("classname", "name", "time")] * 2


@given(st.text(st.characters(codec=None)))
@example("\ud83d \ude80 \U0001f680 \x00\ufffe]]>")
def test_any_text_can_be_read_back_but_for_what_xml_cannot_hold(text):
    element = etree.fromstring(f'<a b="{junit.attribute(text)}">{junit.text(text)}</a>')
    expected = "".join(
        each
        if each in "\t\n\r" or " " <= each < "\ud800" or "\ue000" <= each <= "\ufffd" or each > "\uffff"
        else "\ufffd"
        for each in text
    )
    assert (element.text or "", element.get("b")) == (expected, expected)


def test_long_answers_and_long_conversations_are_cut_and_say_so(tmp_path):
    count = plain_transcripts.MOST_TURNS + 5
    long = "x" * (plain_text.MOST + 1_000)
    turns = [T("a", n, score=0.0, text=long, reason=long) for n in range(1, count + 1)]
    path = write(tmp_path / "r.evalkit", [S(turns)], [talk("a", targets=[1] * count)])
    found = cases(written(path, tmp_path))
    first, last = found["a", "turn 1"].system_out, found["a", f"turn {count}"].system_out
    assert f"answer: {'x' * plain_text.MOST}… (cut: 5,000 characters in all)\n" in first
    heading = f"wrong: {'x' * junit.MOST_MESSAGE}… (cut: 5,000 characters in all)\n\n"
    assert first.startswith(heading)
    assert last.removeprefix(heading).startswith("(5 earlier turns are left out)\n\nturn 6\n")
    assert len(last) < plain_transcripts.MOST_TURNS * 2 * (plain_text.MOST + 200)


def test_conversations_are_read_one_at_a_time(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T(f"c{n}", turn) for n in range(3) for turn in (1, 2)])])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        stream = transcripts.transcripts(connection)
        assert next(stream).conversation == "c0"
        connection.execute("UPDATE conversation SET id = 'renamed' WHERE id = 'c2'")
        assert [each.conversation for each in stream] == ["c1", "renamed"]


def test_a_file_that_cannot_be_written_is_reported_before_a_request_is_sent(tmp_path):
    with pytest.raises(SettingsError, match=r"gone/out\.xml cannot be written: there is no folder .*gone\. Choose"):
        junit.check_path(tmp_path / "gone" / "out.xml")
    with pytest.raises(SettingsError, match="cannot be written: it is a folder"):
        junit.check_path(tmp_path)
    with pytest.raises(SettingsError, match=r"r.evalkit is the name of a run file: give the JUnit file another name"):
        junit.check_path(tmp_path / "x" / ".." / "r.evalkit", [tmp_path / "r.evalkit"])
    junit.check_path(tmp_path / "out.xml", [tmp_path / "r.evalkit"])
    path = write(tmp_path / "r.evalkit", [S([T("a", 1)])])
    with pytest.raises(SettingsError, match="cannot be written: it is a folder"):
        junit.write(path, tmp_path, measure(path))


def test_wrong_turns_are_failures_where_that_is_asked_for(tmp_path):
    turns = [
        T("a", 1, score=1.0),
        T("b", 1, score=0.0, text=HOSTILE, reason=HOSTILE),
        T("c", 1, score=0.5),
        T("d", 1, error="server"),
        T("e", 1, text="unscored"),
    ]
    path, out = write(tmp_path / "r.evalkit", [S(turns)]), tmp_path / "out.xml"
    junit.write(path, out, measure(path), fail_turns=True)
    SCHEMA.assertValid(etree.parse(out))
    (suite,) = junitparser.JUnitXml.fromfile(str(out))
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (5, 2, 1, 1)
    (fault,) = cases(out)["c", "turn 1"].result
    assert (type(fault), fault.type, fault.message) == (junitparser.Failure, "wrong", "the score is 0.5")
    assert "user: c, question 1" in fault.text


def test_limits_alone_are_a_file_too(tmp_path):
    out = tmp_path / "out.xml"
    limits = [
        junit.Limit("B and A", "accuracy -2%", "met", f"better {HOSTILE}"),
        junit.Limit("B and A", f"accuracy[tag={HOSTILE}] -2%", "missed", HOSTILE),
        junit.Limit("B and A", "cost +5%", "undecided", "nobody can tell"),
        junit.Limit("B and A", "ttft_p95 +5%", "missing", "no samples"),
    ]
    for _ in range(2):  # an earlier file of evalkit is replaced
        junit.write_limits(out, HOSTILE, limits, [("A", HOSTILE), ("nothing", None)])
    SCHEMA.assertValid(etree.parse(out))
    (suite,) = junitparser.JUnitXml.fromfile(str(out))
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (4, 2, 0, 1)
    (tmp_path / "mine.xml").write_text("<mine/>", encoding="utf-8")
    with pytest.raises(SettingsError):
        junit.write_limits(tmp_path / "mine.xml", "name", limits, [])


def test_the_sentences_of_a_report_are_in_the_output_of_the_suite(tmp_path):
    turns = [T(f"c{n}", 1, score=float(n % 2), finish_reason="length" if n < 3 else "stop") for n in range(8)]
    path = endpoint(write(tmp_path / "r.evalkit", [S(turns)], [talk(f"c{n}", (1,)) for n in range(8)]))
    out = written(path, tmp_path, ["errors<=1"])
    suite, gates = etree.parse(out).getroot()
    contents = read_run(path, drawn=False)
    shown = [run_facts.finding(contents)]
    shown += [run_results.sentence(note) for note in run_sentences.notes(contents.result)]
    shown += [sentence for sentence, _ in run_facts.reliability(contents)]
    assert "3 cut-off answers" in " ".join(shown)
    found = suite.findtext("system-out").replace(str(path), path.name).splitlines()
    assert found == [line for each in shown for line in each.splitlines()]
    assert not gates.findtext("system-out")


def test_hostile_names_in_the_sentences_are_text(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])])
    told(path, "UPDATE run SET endpoint = json_set(endpoint, '$.model', ?)", HOSTILE.replace("\x00", ""))
    suite = etree.parse(written(path, tmp_path)).getroot()[0]
    assert "quoted" in suite.findtext("system-out")
    assert not list(suite.find("system-out"))
