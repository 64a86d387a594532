"""The messages of a transcript's requests, read back from a run file."""

from records import finished
from runfiles import S, T, create, record, talk, write

from evalkit.conversation import Message, ToolCall
from evalkit.record import NO_RESULT
from evalkit.runfile import request_messages
from evalkit.runfile.reader import reading
from evalkit.runfile.transcripts import transcripts

PART = {"type": "text", "text": "x"}
FILE = {
    "type": "image_url", "image_url": {"url": "sign.png"},
    "from_file": {"sha256": "0" * 64, "bytes": 3, "media_type": "image/png"},
}  # fmt: skip


def only_transcript(path):
    with reading(path) as connection:
        (found,) = transcripts(connection)
    return found


def test_the_opening_is_system_prompt_and_context_without_what_is_never_sent(tmp_path):
    seen = (Message("user", None, parts=(FILE, PART)), Message("assistant", "yes"))
    asked = talk("a", (1,), system="Be brief.", context=seen)
    found = only_transcript(write(tmp_path / "r.evalkit", [S([T("a", 1)])], [asked]))
    system, user, assistant = request_messages.opening(found.row)
    assert (system, assistant) == (Message("system", "Be brief."), Message("assistant", "yes"))
    assert user.parts == ({"type": "image_url", "image_url": {"url": "sign.png"}}, PART)
    assert request_messages.names_file(found)
    assert request_messages.question(found.turns[0]) == Message("user", "a, question 1")


def test_the_answer_stands_after_its_rounds_and_before_the_results_that_only_later_turns_see(tmp_path):
    call = ToolCall("add", "{}", "c1")
    rounds = (Message("assistant", None, (call,)), Message("tool", "1", tool_call_id="c1")) * 2
    last = ToolCall("add", "{}", "c2")
    with create(tmp_path / "r.evalkit") as file:
        turn = record(T("a", 1, text="", calls=(last,)))._replace(exchange=rounds)
        file.add([finished(0, talk("a", (1,)), turn)])
    found = only_transcript(tmp_path / "r.evalkit")
    (turn,) = found.turns
    before, answer = request_messages.rounds_and_answer(found, turn)
    assert [message.role for message in before] == ["assistant", "tool"] * 2
    assert [each.id for each in answer.tool_calls] == ["c2"]
    assert request_messages.seen_later(found, turn, golden=False)[-1].content == NO_RESULT
    assert not request_messages.names_file(found)


def test_with_the_golden_history_later_turns_see_the_answer_of_the_dataset(tmp_path):
    asked = talk("a", (1,))
    asked = asked._replace(turns=(asked.turns[0]._replace(assistant="one"),))
    found = only_transcript(write(tmp_path / "r.evalkit", [S([T("a", 1, error="server")])], [asked]))
    assert request_messages.seen_later(found, found.turns[0], golden=True) == [Message("assistant", "one")]
