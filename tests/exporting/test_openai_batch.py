"""Requests for the OpenAI batch API, checked by the official client's own types, and their answers on the way back."""

import json

import pytest
from commands import evalkit, evalkit_process
from importing import batch_answer, lines
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import ConfigDict, TypeAdapter, with_config

import evalkit as ek
from evalkit.errors import DatasetError, SettingsError
from evalkit.exporting import openai_batch
from evalkit.exporting.openai_batch import write_requests
from evalkit.exporting.request_ids import places_of, request_id
from evalkit.importing.import_run import import_answers

BODY = TypeAdapter(with_config(ConfigDict(extra="forbid"))(CompletionCreateParamsNonStreaming))


def requests(path):
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for request in found:
        assert list(request) == ["custom_id", "method", "url", "body"]
        assert (request["method"], request["url"]) == ("POST", "/v1/chat/completions")
        BODY.validate_python(request["body"])
    assert len({request["custom_id"] for request in found}) == len(found)
    return found


@pytest.fixture(scope="module")
def batch(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("batch") / "in.jsonl"
    write_requests(data, path, model="m", params={"temperature": 0}, repeats=2, history="golden")
    return path


def test_each_turn_and_repeat_is_a_request(batch):
    found = {each["custom_id"]: each["body"] for each in requests(batch)}
    assert list(found)[:5] == ["long/turn-1", "long/turn-2", "long/turn-3", "long/turn-4", "long/turn-1/repeat-2"]
    assert len(found) == 20
    assert [message["content"] for message in found["long/turn-2"]["messages"]] == [
        "Be brief.", "12 + 23?", "35", "and 12 * 23?",
    ]  # fmt: skip
    assert {"right", "right/repeat-2", "wrong", "wrong/repeat-2"} < found.keys()
    assert (found["right"]["model"], found["right"]["temperature"]) == ("m", 0)


def answers(batch, path):
    """An output file in another order, as a server with known answers would make it."""

    def text(body):
        question = body["messages"][-1]["content"].removeprefix("and ").rstrip("?")
        first, sign, second = question.split() if len(question.split()) == 3 else ("0", "+", "0")
        return str(int(first) * int(second) if sign == "*" else int(first) + int(second))

    rows = [batch_answer(each["custom_id"], text(each["body"])) for each in requests(batch)]
    return lines(path, *reversed(rows))


def test_the_answers_come_back_under_the_ids_turns_and_repeats_of_the_dataset(batch, data, golden, tmp_path):
    done = import_answers(answers(batch, tmp_path / "out.jsonl"), data=data, out=tmp_path / "r.evalkit")
    assert (done.answers, done.scored, done.notes) == (20, 16, {})
    back, ours = ek.Run(done.run), golden.turns()
    turns = back.turns().sort_values(["repeat"], kind="stable")
    first = turns[turns["repeat"] == 1].sort_values(["conversation", "turn"])
    ours = ours.sort_values(["conversation", "turn"])
    for name in ("conversation", "turn", "score", "target", "question"):
        assert first[name].tolist() == pytest.approx(ours[name].tolist(), nan_ok=True), name
    assert sorted(turns["repeat"].unique()) == [1, 2]
    shown = back.summary_json()
    assert shown["accuracy"]["value"] == golden.summary_json()["accuracy"]["value"] == 0.75


def test_a_dataset_whose_ids_look_like_those_of_requests(tmp_path):
    rows = [
        {"id": name, "question": "2 + 2?", "target": 4}
        for name in ("a/turn-2", "a/repeat-2", "b/turn-2/repeat-2", "a", "/turn-1")
    ]
    data = lines(tmp_path / "d.jsonl", *({"id": row["id"], "turns": [{"user": "2 + 2?", "target": 4}]} for row in rows))
    write_requests(data, tmp_path / "in.jsonl", model="m")
    out = lines(
        tmp_path / "out.jsonl", *(batch_answer(each["custom_id"], "4") for each in requests(tmp_path / "in.jsonl"))
    )
    turns = ek.Run(import_answers(out, data=data, out=tmp_path / "r.evalkit").run).turns()
    assert sorted(turns["conversation"]) == sorted(row["id"] for row in rows)
    with pytest.raises(SettingsError, match="two requests would have the custom_id 'a/repeat-2': rename one"):
        write_requests(data, tmp_path / "twice.jsonl", model="m", repeats=2)
    assert not (tmp_path / "twice.jsonl").exists()


@pytest.mark.parametrize("name", ["a", "a/turn-", "a/turn-0", "a/repeat-1/turn-2", "a/turn-2", "\n/turn-x", ""])
@pytest.mark.parametrize(("turn", "turns", "repeat"), [(1, 1, 1), (2, 3, 1), (1, 1, 7), (3, 3, 12)])
def test_the_place_of_an_id_is_one_that_it_may_stand_for(name, turn, turns, repeat):
    assert (name, turn if turns > 1 else None, repeat) in places_of(request_id(name, turn, turns, repeat))


def test_own_answers_cannot_be_in_one_batch(data, tmp_path):
    done = evalkit("data", data, "--batch", tmp_path / "in.jsonl", "--model", "m")
    assert done.returncode == 2
    assert (
        "'long' has 4 turns, and later ones must see the model's own answers, which a batch does not have"
        in done.stderr
    )
    assert "add --history golden, or use 'evalkit run'" in done.stderr
    assert not (tmp_path / "in.jsonl").exists()


def test_tools_parameters_system_and_files_are_those_of_a_run(tmp_path):
    (tmp_path / "sign.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "sign.png"}}]
    row = {"id": "a", "system": "old", "tools": [tool], "params": {"max_tokens": 5}, "turns": [{"user": parts}]}
    data = lines(tmp_path / "d.jsonl", row)
    out = tmp_path / "in.jsonl"
    flags = ["--model", "m", "--system", "new", "--temperature", "0.5", "--max-tokens", "9", "--param", "seed=7"]
    done = evalkit("data", data, "--batch", out, *flags, "--json")
    assert json.loads(done.stdout) == {"file": str(out), "format": "openai-batch", "rows": 1, "left_out": {}}
    (body,) = [each["body"] for each in requests(out)]
    assert body["messages"][0] == {"role": "system", "content": "new"}
    assert body["messages"][1]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert "from_file" not in json.dumps(body)
    assert (body["temperature"], body["max_tokens"], body["seed"], body["tools"]) == (0.5, 5, 7, [tool])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--batch", "in.jsonl"], "--batch needs --model M"),
        (["--model", "m"], "--model: only for the requests of a batch; add --batch OUT.jsonl"),
        (["--repeats", "2"], "--repeats: only for the requests of a batch"),
        (["--temperature", "0"], "--temperature, --max-tokens and --param: only for"),
        (["--batch", "in.jsonl", "--model", "m", "--repeats", "0"], "repeats is 0: it must be 1 or more"),
        (["--batch", "d.jsonl", "--model", "m"], "d.jsonl is read for the export: give the export another name"),
        (["--batch", "other.txt", "--model", "m"], "other.txt exists already, and evalkit did not write it"),
        (["--batch", "in.jsonl", "--model", "m", "--param", "n=2"], "the parameter 'n' must be 1"),
        (
            ["--batch", "in.jsonl", "--model", "m", "--scorer", "nosuch"],
            "--scorer: the requests of a batch are not scored",
        ),
        (["--batch", "in.jsonl", "--model", "m", "--scorer", "number"], "'evalkit score RUN --scorer NAME'"),
        (["--batch", "-", "--model", "m", "--json"], "--json and --batch - both write to standard output"),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path, flags, said):
    lines(tmp_path / "d.jsonl", {"id": "a", "turns": [{"user": "q"}]})
    (tmp_path / "other.txt").write_text("mine")
    done = evalkit("data", "d.jsonl", *flags, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "in.jsonl").exists()
    assert (tmp_path / "other.txt").read_text() == "mine"


@pytest.mark.parametrize(("limit", "value"), [("MOST_REQUESTS", 2), ("MOST_BYTES", 300)])
def test_a_file_above_the_limits_is_complete_and_reported_as_too_large(tmp_path, monkeypatch, limit, value):
    data = lines(tmp_path / "d.jsonl", *({"id": name, "turns": [{"user": "q"}]} for name in "abc"))
    flags = ["--batch", tmp_path / "in.jsonl", "--model", "m", "--json"]
    monkeypatch.setattr(openai_batch, limit, value)
    done = evalkit("data", data, *flags)
    assert len(requests(tmp_path / "in.jsonl")) == 3
    found = json.loads(done.stdout)
    assert (done.returncode, found["rows"], found["left_out"]) == (0, 3, {})
    assert "the file has 3 requests and" in done.stderr
    assert "split its lines into several files" in done.stderr
    (tmp_path / "in.jsonl").unlink()
    monkeypatch.undo()
    assert evalkit("data", data, *flags).stderr == ""


def test_standard_output_has_the_requests_and_nothing_else(tmp_path):
    lines(tmp_path / "d.jsonl", {"id": "a", "turns": [{"user": "q"}]})
    evalkit("data", "d.jsonl", "--batch", "in.jsonl", "--model", "m", cwd=tmp_path)
    done = evalkit_process("data", "d.jsonl", "--batch", "-", "--model", "m", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ((tmp_path / "in.jsonl").read_text(encoding="utf-8"), "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.jsonl", "in.jsonl"]


def test_half_of_a_surrogate_pair_is_refused_with_its_line(tmp_path):
    data = lines(tmp_path / "d.jsonl", '{"id": "a", "turns": [{"user": "\\ud800"}]}')
    with pytest.raises(DatasetError, match="line 1"):
        write_requests(data, tmp_path / "in.jsonl", model="m")
