"""Files as other tools write them: real ones, and ones made from them."""

import json
import zipfile
from pathlib import Path

SAMPLES = Path(__file__).parents[1] / "importing" / "samples"
EVAL, CHAT, PICK = SAMPLES / "sums.eval", SAMPLES / "samples_sums_chat.jsonl", SAMPLES / "samples_pick_dummy.jsonl"


def eval_parts(path=EVAL):
    """The files of an .eval log, parsed, by name."""
    from backports.zstd import zipfile as with_zstandard

    with with_zstandard.ZipFile(path) as log:
        return {name: json.loads(log.read(name)) for name in log.namelist()}


def inspect_json(path, parts=None, **changes):
    """The same log as one JSON file; ``changes`` replace keys of every sample."""
    parts = parts or eval_parts()
    samples = [{**part, **changes} for name, part in parts.items() if name.startswith("samples/")]
    path.write_text(json.dumps({**parts["header.json"], "samples": samples}), encoding="utf-8")
    return path


def deflated(path, parts):
    """An .eval log as older versions write it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as log:
        for name, part in parts.items():
            log.writestr(name, part if isinstance(part, str) else json.dumps(part))
    return path


def lines(path, *rows):
    """A JSON Lines file; rows that are text are written as they are."""
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def batch_request(name, question, **more):
    """A line of a batch's input file."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]
    body = {"model": "m-1", "messages": messages, "temperature": 0}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body, **more}


def batch_answer(name, text, status=200, **message):
    """A line of a batch's output file."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 1}}
    body = {"id": "chatcmpl-1", "model": "m-1-2026-05-01", "choices": [choice], "usage": usage}
    response = {"status_code": status, "request_id": "req-1", "body": body}
    return {"id": "batch_req_1", "custom_id": name, "response": response, "error": None}
