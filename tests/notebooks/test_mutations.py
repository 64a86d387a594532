"""The faults that ``mutate.py`` brings into cells: each rule finds its own, and every new source is still a cell."""

import ast

import pytest
from mutations import mutations


def found(source):
    return {mutation.what: mutation.source for mutation in mutations(source)}


@pytest.mark.parametrize(
    ("source", "what", "changed"),
    [
        ("reply = create(model=name, messages=m)", "drops messages", "reply = create(model=name)"),
        ("create(model=name)", "asks a model that does not exist", "create(model='no-such-model')"),
        ('{"model": name}', "asks a model that does not exist", "{\"model\": 'no-such-model'}"),
        ("create(stream=True)", "stream=False in place of True", "create(stream=False)"),
        ('evaluate(d, e, history="golden")', "shows own history in place of golden", "evaluate(d, e, history='own')"),
        ("ek.evaluate(d, e, limit=LIMIT)", "runs one conversation only", "ek.evaluate(d, e, limit=1)"),
        ('run.score("number")', "scores by exact in place of number", "run.score('exact')"),
        ("seen = a == b", "inverts a == b", "seen = (a) != (b)"),
        ("def f():\n    return 3", "returns None in place of 3", "def f():\n    return None"),
        ('row = {"target": 35}', "expects 36 in place of 35", 'row = {"target": 36}'),
        ("target = 'ab'", "expects 'ba!' in place of 'ab'", "target = 'ba!'"),
        ("table.score.mean()", "computes sum in place of mean", "table.score.sum()"),
        ("cost = tokens / 1000", "computes tokens * 1000", "cost = (tokens * 1000)"),
        ('ek.check(run, "errors<=1%")', "inverts the gate errors<=1%", "ek.check(run, 'errors>1%')"),
        ("ek.Run('own_history')", "reads golden_history in place of own_history", "ek.Run('golden_history')"),
        ("table.query('turn == 2')", "selects turn != 2", "table.query('turn != 2')"),
        ("run.plot_accuracy()\n3", "draws nothing: no run.plot_accuracy()", "pass\n3"),
        ("ä = 'ä'; messages.append(ä)", "does not send messages.append(ä)", "ä = 'ä'; None"),
    ],
)  # fmt: skip
def test_a_fault_in_python(source, what, changed):
    assert found(source)[what] == changed


CURL = """%%bash
curl "$SERVICE_HOST/v1/chat/completions" \\
  -H "Authorization: Bearer $TASKINGAI_API_KEY" \\
  -d '{"model": "'"$ASSISTANT_ID"'", "messages": [], "stream": true}'
"""


@pytest.mark.parametrize(
    ("what", "gone"),
    [
        ("drops the header Authorization", "Authorization"),
        ("asks a model that does not exist", "ASSISTANT_ID"),
        ("calls a route that does not exist", "/chat/completions"),
        ("misspells messages", "messages"),
        ("asks for no stream", "true"),
    ],
)
def test_a_fault_in_a_shell_cell(what, gone):
    for source in (CURL, CURL.replace('-H "Auth', '-H @<(echo "Auth').replace('KEY"', 'KEY")')):
        changed = found(source)[what]
        assert gone not in changed
        assert changed.count("\n") >= source.count("\n") - 1


@pytest.mark.parametrize(
    "source",
    [
        "x = 3",
        "%%bash\nls",
        "%%writefile a\nb",
        "%matplotlib inline",
        "a + 'b'",
        "if ASK:\n    create(messages=m)",
        'f"{a == b}"',
        "",
    ],
)
def test_nothing_to_break(source):
    assert not found(source)


def test_every_changed_cell_is_still_python():
    source = (
        "def f(a):\n    return [b for b in a if b in (1, 2)]\n\n\nprint(f([1]) == [1], sum([1]), max([1], key=abs))"
    )
    for changed in found(source).values():
        ast.parse(changed)
