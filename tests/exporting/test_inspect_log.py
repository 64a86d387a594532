"""Logs for inspect: their shape, their way back, and inspect itself where it can be installed."""

import json
import re
import zipfile

import pytest
from records import finished
from runfiles import S, T, create, endpoint, never_sent, record, talk, write

import evalkit as ek
from evalkit.conversation import Message, ToolCall
from evalkit.errors import SettingsError
from evalkit.exporting.formats import export_run
from evalkit.importing.import_run import import_answers
from evalkit.runfile.store import RunFile

READ = """
import sys
from inspect_ai.log import read_eval_log, read_eval_log_sample, read_eval_log_sample_summaries
log = read_eval_log(sys.argv[1])
found = [read_eval_log_sample(sys.argv[1], id=each.id, epoch=each.epoch) for each in log.samples]
same = [one.messages == other.messages for one, other in zip(found, log.samples)]
summaries = read_eval_log_sample_summaries(sys.argv[1])
print(log.status, len(log.samples), all(same), len(summaries), sum(each.error is not None for each in log.samples),
      log.results.scores[0].metrics["accuracy"].value if log.results.scores else None,
      all(one.completed for one in summaries))
"""


def parts(path):
    with zipfile.ZipFile(path) as log:
        assert log.testzip() is None
        return {name: json.loads(log.read(name)) for name in log.namelist()}


def exported(run, path):
    done = export_run(run, "inspect", path)
    found = parts(path)
    assert done.rows == len(found) - 2 == len(found["summaries.json"])
    return found


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """Failed turns, calls, reasoning, images, and texts that files and terminals read as something else."""
    folder = tmp_path_factory.mktemp("hostile")
    call = ToolCall("add", "not JSON", "c1")
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    about = {"sha256": "0" * 64, "bytes": 3, "media_type": "image/png"}
    file = {"type": "image_url", "image_url": {"url": "sign.png"}, "from_file": about}
    seen = (
        Message("developer", "Be brief."),
        Message("user", None, parts=(image, file, {"type": "text", "text": "x"})),
    )
    talks = [
        talk("../a\0b\u202e\x1b[31m", ("\0", "</script>", 3), context=seen, tools=()),
        talk("../a\0b\u202e\x1b[31m/turn-1", (1,)),
        talk("a" * 5_000, (1,)),
    ]
    name = talks[0].id
    turns = [
        T(name, 1, score=1.0, text="\0\x1b]0;x\x07" + "y" * 1_000_000, reasoning="hm", tokens=7, extracted={"a": 1}),
        T(name, 2, text="", calls=(call,), score=0.5, reason="half", finish_reason="tool_calls"),
        T(name, 3, error="server"),
        T(talks[1].id, 1, score=0.0, scorer="exact"),
        T(talks[2].id, 1, error="connection"),
    ]
    run = never_sent(write(folder / "r.evalkit", [S(turns, end_ms=None)], talks), (2, 1, 1))
    return endpoint(run, model="m/\u202e", base_url="", params={})


def test_a_turn_is_a_sample_and_a_repeat_an_epoch(run, tmp_path):
    found = exported(run.path, tmp_path / "x.eval")
    sample = found["samples/long/turn-2_epoch_2.json"]
    assert [each["role"] for each in sample["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    assert sample["input"] == sample["messages"][:4]
    assert (sample["target"], sample["scores"]["number"]["value"]) == ("276", 1.0)
    assert sample["output"]["choices"][0]["stop_reason"] == "stop"
    assert sample["output"]["usage"] == sample["model_usage"]["scripted"]
    assert 0 < sample["output"]["time"] <= sample["total_time"] < 60
    assert sample["started_at"] < sample["completed_at"]
    assert "samples/right_epoch_1.json" in found
    header = found["header.json"]
    assert (header["status"], header["eval"]["model"], header["eval"]["config"]) == (
        "success",
        "scripted",
        {"epochs": 2},
    )
    assert header["results"]["scores"][0]["unscored_samples"] == 4
    assert header["results"]["scores"][0]["metrics"]["accuracy"]["value"] == pytest.approx(6 / 8)


def test_an_import_of_the_log_has_the_same_scores(run, data, tmp_path):
    exported(run.path, tmp_path / "x.eval")
    alone = import_answers(tmp_path / "x.eval", out=tmp_path / "a.evalkit")
    placed = import_answers(tmp_path / "x.eval", data=data, out=tmp_path / "b.evalkit")
    ours, back = run.turns(), ek.Run(placed.run).turns()
    assert (alone.scorer, alone.scored, alone.answers) == ("number", 16, 20)
    assert (alone.notes, placed.notes) == ({}, {})
    for name in ("conversation", "repeat", "turn", "answer", "score", "finish_reason", "output_tokens", "question"):
        assert ours[name].equals(back[name].astype(ours[name].dtype)), name
    first, second = (ek.Run(path).summary_json()["accuracy"] for path in (run.path, placed.run))
    assert first == second
    assert ek.Run(alone.run).summary_json()["accuracy"]["value"] == first["value"]


def test_with_the_golden_history_a_turn_has_seen_the_golden_answers(golden, tmp_path):
    sample = exported(golden.path, tmp_path / "x.eval")["samples/long/turn-4_epoch_1.json"]
    seen = [each["content"] for each in sample["input"] if each["role"] == "assistant"]
    assert seen == ["35", "276", "3"]
    assert sample["messages"][-1]["content"] != "4"


def test_two_rounds_with_the_same_call_are_both_there(tmp_path):
    call = ToolCall("add", "{}", "c1")
    rounds = (Message("assistant", None, (call,)), Message("tool", "1", tool_call_id="c1")) * 2
    asked = talk("a", (1,))
    with create(tmp_path / "r.evalkit") as file:
        file.add([finished(0, asked, record(T("a", 1, text="1"))._replace(exchange=rounds))])
    sample = exported(tmp_path / "r.evalkit", tmp_path / "x.eval")["samples/a_epoch_1.json"]
    roles = [each["role"] for each in sample["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert sample["messages"][-1]["content"] == sample["output"]["completion"] == "1"


def test_failed_turns_calls_reasoning_and_hostile_texts(hostile, tmp_path):
    found = exported(hostile, tmp_path / "x.eval")
    assert found["header.json"]["status"] == "started"
    assert not any("\0" in name or "\x1b" in name or "\u202e" in name for name in found)
    one, two, three, other = (part for name, part in found.items() if name.startswith("samples/"))
    assert one["id"] != other["id"]
    assert [part["type"] for part in one["messages"][1]["content"]] == ["image", "text", "text"]
    reasoning, text = one["messages"][-1]["content"]
    assert (reasoning["reasoning"], len(text["text"])) == ("hm", 1_000_007)
    assert one["scores"] == {"evalkit": {"value": 1.0, "metadata": {"scorer": "number"}, "answer": '{"a": 1}'}}
    assert two["messages"][-1]["tool_calls"][0]["parse_error"].endswith("not JSON")
    assert three["error"]["message"].startswith("server: ")
    assert len(set(three["error"].values())) == 1  # the viewer shows the traceback only
    assert (three["scores"], three["output"]["choices"]) == ({}, [])
    assert export_run(hostile, "inspect", tmp_path / "x.eval").left_out == {"turns that were never sent": 1}


def test_failed_turns_are_not_completed(hostile, run, tmp_path):
    for source, completed, total in ((hostile, 3, 4), (run.path, 20, 20)):
        results = exported(source, tmp_path / f"{source.stem}.eval")["header.json"]["results"]
        assert (results["completed_samples"], results["total_samples"]) == (completed, total)


def test_the_viewer_finds_the_files_of_the_zip_and_waits_for_no_sample(hostile, tmp_path):
    """It reads the end of the directory of the zip from the last 22 bytes, where a comment of the zip would be."""
    path = tmp_path / "x.eval"
    summaries = exported(hostile, path)["summaries.json"]
    assert path.read_bytes()[-22:-18] == b"PK\5\6"
    assert [(each["completed"], "error" in each) for each in summaries] == [(True, False)] * 2 + [
        (True, True), (True, False),
    ]  # fmt: skip
    assert export_run(hostile, "inspect", path).rows == 4  # it is known as evalkit's own, and replaced
    with zipfile.ZipFile(path, "a") as other:
        other.writestr("later.json", "{}")
    with pytest.raises(SettingsError, match="evalkit did not write it"):
        export_run(hostile, "inspect", path)


def test_an_error_of_an_endpoint_has_no_colours_in_the_viewer(tmp_path):
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1, error="server")])]))
    with RunFile.open(path) as file, file.connection as connection:
        connection.execute("UPDATE turn SET error_message = '\x1b[31mred'")
    error = exported(path, tmp_path / "x.eval")["samples/a/turn-1_epoch_1.json"]["error"]
    assert error["traceback"] == error["traceback_ansi"] == "server: \ufffd[31mred"


def test_input_tokens_are_those_that_are_not_cached(tmp_path):
    turns = [T("a", 1, tokens=7, score=1.0), T("b", 1, tokens=7, score=1.0), T("c", 1)]
    path = endpoint(write(tmp_path / "r.evalkit", [S(turns)], [talk(name, (1,)) for name in "abc"]))
    with RunFile.open(path) as file, file.connection as connection:
        connection.execute("UPDATE turn SET cached_tokens = 15, cache_write_tokens = 2 WHERE conversation = 0")
    found = exported(path, tmp_path / "x.eval")
    cached = {
        "input_tokens": 3, "output_tokens": 7, "input_tokens_cache_read": 15, "input_tokens_cache_write": 2,
        "total_tokens": 27,
    }  # fmt: skip
    plain = {"input_tokens": 20, "output_tokens": 7, "total_tokens": 27}
    usages = [found[f"samples/{name}_epoch_1.json"]["output"]["usage"] for name in "abc"]
    assert usages == [cached, plain, None]
    (total,) = found["header.json"]["stats"]["model_usage"].values()
    assert total == {name: cached[name] + plain.get(name, 0) for name in cached}
    back = ek.Run(import_answers(tmp_path / "x.eval", out=tmp_path / "b.evalkit").run).turns()
    assert back["prompt_tokens"].dropna().tolist() == [20, 20]


@pytest.mark.parametrize(
    "name",
    [
        "../../evil",
        "..",
        "/../a",
        "a/../../b",
        "..\\..\\a",
        "a/.. /b",
        "a/.../b",
        "a/ ../b",
        "./a",
        "/etc/x",
        "a/..b/c..",
    ],
)
def test_no_name_in_the_log_leads_out_of_its_folder(name, tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T(name, 1, text="1"), T("ok/a.b", 1, text="1")])])
    found = exported(path, tmp_path / "x.eval")
    assert any(entry.startswith("samples/ok/a.b/turn-1") for entry in found)
    for entry, sample in found.items():
        folders = re.split(r"[/\\]", entry)[:-1]
        assert not [folder for folder in folders if folder and not folder.strip(". ")]
        if "id" in sample:
            assert entry == f"samples/{sample['id']}_epoch_1.json"
    evil = next(part for entry, part in found.items() if "metadata" in part and not entry.startswith("samples/ok"))
    assert evil["metadata"]["conversation"] == name


def test_names_that_become_equal_are_two_samples(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("../a", 1), T("\ufffd\ufffd/a", 1)])])
    assert len(exported(path, tmp_path / "x.eval")) == 4


def test_a_run_without_turns_is_a_log_without_samples(tmp_path):
    found = exported(write(tmp_path / "r.evalkit", [S([], end_ms=None)]), tmp_path / "x.eval")
    assert found["summaries.json"] == []
    assert found["header.json"]["results"]["scores"] == []


@pytest.mark.timeout(300)
def test_inspect_itself_reads_the_log(run, hostile, tools_python, tmp_path):
    for source, said in ((run.path, "success 20 True 20 0 0.75 True"), (hostile, "started 4 True 4 1 0.5 True")):
        path = tmp_path / f"{source.stem}.eval"
        export_run(source, "inspect", path)
        done = tools_python(READ, path)
        assert done.stdout.strip() == said, done.stderr[-2_000:]
