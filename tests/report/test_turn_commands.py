"""The commands of a report, put together as the page does it, are those of the requests."""

import json
import shlex
from pathlib import Path

from checkups import checkup
from runfiles import S, T, endpoint, talk, write

from evalkit.client.request_as_code import curl
from evalkit.conversation import Conversation, Message, ToolCall, Turn
from evalkit.endpoint import Endpoint
from evalkit.report.pictures import Pictures
from evalkit.report.transcript_data import transcripts
from evalkit.report.turn_commands import Requests
from evalkit.runfile import kept_checkup, store
from evalkit.runfile.store import RunFile

PNG = "data:image/png;base64,iVBORw0KGgo="


def commands(path: Path, form: str = "curl") -> list[str | None]:
    """The command or program of every turn, as the script of the page makes it."""
    with store.reading(path) as connection:
        data = transcripts(connection).data
    made: list[str | None] = []
    for place, command in zip(data["turns"]["conversation"], data["turns"]["command"], strict=True):
        if not isinstance(command, list):
            made.append(command)
            continue
        number, messages, notes = command
        made_once, pictures = data["commands"][number], data["conversations"]["pictures"][place]
        parts = made_once[form]
        sent = ["".join(pictures[p] if type(p) is int else p for p in each) for each in parts["messages"][:messages]]
        text = parts["head"] + parts["separator"].join(sent) + parts["tail"]
        made.append("".join(made_once["notes"][:notes]) + text)
    return made


def bodies(path: Path) -> list[dict]:
    return [json.loads(shlex.split(command)[-1]) for command in commands(path)]


def settings(path: Path, **more: object) -> Path:
    with RunFile.open(path) as file, file.connection as connection:
        connection.execute("UPDATE run SET settings = json_patch(settings, ?)", (json.dumps(more),))
    return path


def test_a_command_is_the_one_of_the_whole_request(tmp_path):
    texts = ["It's 'one'", "\u202e <b>", "x"]
    turns = [T("a", n, text=text) for n, text in enumerate(texts, start=1)]
    path = endpoint(write(tmp_path / "r.evalkit", [S(turns)], [talk("a", system="S'")]), key_env="SECRET_NAME")
    messages = [{"role": "system", "content": "S'"}]
    for n, command in enumerate(commands(path), start=1):
        messages.append({"role": "user", "content": f"a, question {n}"})
        body = {"model": "tiny", "messages": messages, "stream": True, "stream_options": {"include_usage": True}}
        assert command == curl("http://127.0.0.1:9/v1/chat/completions", body, key_env="API_KEY")
        messages.append({"role": "assistant", "content": texts[n - 1]})


def test_what_a_checkup_had_found_refused_is_in_no_command(tmp_path):
    found = kept_checkup.take(checkup(stream_usage="unsupported"), Endpoint("http://127.0.0.1:9/v1", "m")).stored()
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1)])]))
    assert "stream_options" in bodies(path)[0]
    assert "stream_options" not in bodies(settings(path, checkup=found))[0]


def test_parameters_seeds_and_tools_are_those_of_the_request(tmp_path):
    tools = ({"type": "function", "function": {"name": "f"}},)
    asked = Conversation("a", (Turn("q"),), tools=tools, params={"top_p": 0.5, "stop": None})
    path = write(tmp_path / "r.evalkit", [S([T("a", 1), T("a", 1, repeat=2)])], [asked], stream=False)
    first, second = bodies(settings(endpoint(path, params={"temperature": 0, "stop": "x"}), seed=7))
    assert (first.pop("seed"), second.pop("seed")) == (7, 8)
    assert first == second
    assert first["stream"] is False
    assert {name: first.get(name) for name in ("temperature", "top_p", "stop")} == {
        "temperature": 0, "top_p": 0.5, "stop": None,
    }  # fmt: skip
    assert "stop" not in first
    assert first["tools"] == list(tools)


def test_golden_history_has_the_answers_of_the_dataset(tmp_path):
    asked = Conversation("a", (Turn("one", assistant="gold"), Turn("two")))
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, text="own"), T("a", 2)])], [asked])
    *_, last = bodies(settings(endpoint(path), history="golden"))
    assert [message["content"] for message in last["messages"]] == ["one", "gold", "two"]


def test_a_picture_is_stored_once_and_is_in_every_command(tmp_path):
    part = {"type": "image_url", "image_url": {"url": PNG}}
    turns = (Turn("", parts=({"type": "text", "text": f"see {PNG}"}, part)), Turn("", parts=(part, part)))
    context = (Message("user", None, parts=(part,)), Message("assistant", "ok"))
    path = endpoint(
        write(tmp_path / "r.evalkit", [S([T("a", 1), T("a", 2)])], [Conversation("a", turns, context=context)])
    )
    with store.reading(path) as connection:
        data = transcripts(connection).data
    assert json.dumps(data).count(PNG) == 3  # the picture, and where it is text: as it is shown and as words of a note
    assert data["conversations"]["pictures"] == [[PNG]]
    assert [command.count(PNG) for command in commands(path)] == [3, 5]


def test_a_conversation_too_long_for_an_argument_is_read_from_the_input(tmp_path):
    turns = [T("a", n, text="x" * 19_000) for n in range(1, 8)]
    path = endpoint(write(tmp_path / "r.evalkit", [S(turns)], [talk("a", (1,) * 7)]))
    first, *_, last = commands(path)
    for command in (first, last):  # they share their parts
        head, _, rest = command.partition("--data-binary @- <<'END'\n")
        assert head.startswith("curl -N ")
        assert json.loads(rest.removesuffix("\nEND"))["model"] == "tiny"


def test_what_no_request_could_have_is_said_in_place_of_a_command(tmp_path):
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1)])]), params={"messages": [], "n": 3})
    (command,) = commands(path)
    assert command == "# not available: the parameter 'messages' cannot be set: evalkit sets it itself"


def test_turns_that_were_never_sent_have_no_command(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1), T("a", 2, error="cancelled")])])
    with RunFile.open(path) as run, run.connection as connection:
        connection.execute("UPDATE turn SET attempts = 0 WHERE turn = 2")
    assert [command is None for command in commands(path)] == [False, True]
    with RunFile.open(path) as run, run.connection as connection:
        connection.execute("UPDATE turn SET attempts = 0")
    assert commands(path) == [None, None]


def test_a_call_that_was_answered_is_part_of_later_commands(tmp_path):
    call = ToolCall("add", "", "x")
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1, text="", calls=(call,)), T("a", 2)])]))
    *_, last = bodies(path)
    assert last["messages"][1]["tool_calls"][0]["function"] == {"name": "add", "arguments": "{}"}  # as it is sent
    assert last["messages"][2]["role"] == "tool"


def test_pictures_that_begin_alike_are_kept_apart():
    pictures = Pictures()
    long, short = PNG.removesuffix("=") + "AAAA", PNG.removesuffix("=")
    assert pictures.numbered(f"a {short} b {long} {short}", {short, long}) == ["a ", 1, " b ", 0, " ", 1, ""]
    assert pictures.addresses == [long, short]


def test_requests_know_their_history():
    assert Requests({}, {"history": "golden"}, 10).golden
    assert not Requests({}, {}, 10).golden
