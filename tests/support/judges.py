"""Scripted judges: what they read between the marks of a prompt, and what they say of it."""

import json
import re

from runfiles import S, T, write

from evalkit import Endpoint
from evalkit.scripted.profile_openai import ApiError
from evalkit.scripted.server import Script, serve


def read(body, field):
    """What stands between the marks of a field in the last message; None: the field is not there."""
    text = body["messages"][-1]["content"]
    found = re.search(rf"<{field} ([0-9a-f]{{8}})>\n(.*?)\n</{field} \1>", text, re.DOTALL)
    return found and found[2]


def verdict(choice, reason="because"):
    return json.dumps({"reason": reason, "choice": choice})


def fair(body):
    """Finds an answer right when it holds the target."""
    return verdict("CORRECT" if read(body, "target") in read(body, "answer") else "INCORRECT")


def refusing(judge, part="response_format"):
    """The same judge on an endpoint that refuses requests that hold this, ``response_format`` or ``maxLength``."""

    def answer(body):
        if part in json.dumps({key: value for key, value in body.items() if key != "messages"}):
            raise ApiError(400, f"Unknown parameter: '{part}'.", "unknown_parameter", part)
        return judge(body)

    return answer


def locked(body):
    """Lets nobody in."""
    raise ApiError(401, "The API key given is not correct.", "invalid_api_key")


def failing(judge, words):
    """The same judge, whose call fails for what holds these words, as long as the list has some."""

    def answer(body):
        if words and words[0] in body["messages"][-1]["content"]:
            raise ApiError(400, "This is too much.", "context_length_exceeded")
        return judge(body)

    return answer


class Bench:
    """A server with this judge, counting what it is asked."""

    def __init__(self, judge):
        self.asked = []

        def answer(body):
            self.asked.append(body)
            return judge(body)

        self._serving = serve(Script(answer=answer))

    def __enter__(self):
        self.server = self._serving.__enter__()
        return self

    def __exit__(self, *error):
        self._serving.__exit__(*error)

    def endpoint(self, **fields):
        return Endpoint(self.server.base_url, "judge", **fields)


def labels_file(tmp_path, *rows):
    """A file of answers with labels; rows that are text are written as they are."""
    path = tmp_path / "labels.jsonl"
    texts = [row if isinstance(row, str) else json.dumps({"question": "q", "target": "35", **row}) for row in rows]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def run_of(tmp_path, turns=None, conversations=(), name="run"):
    """A run of two conversations: right, wrong, failed; right."""
    turns = turns or [
        T("a", 1, text="It is 35.", score=1.0),
        T("a", 2, text="It is 270.", score=0.0),
        T("a", 3, error="server"),
        T("b", 1, text="35", score=1.0),
    ]
    return write(tmp_path / f"{name}.evalkit", [S(turns)], conversations)
