"""Faults that somebody could bring into a cell of a notebook: a broken call, scorer, expected value or chart.

``mutations(source)`` yields what is broken, in words, and the cell's new source. A cell of Python is changed through
its syntax tree, a shell cell by patterns.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

NO_MODEL = "no-such-model"
INVERTED = {
    ast.Eq: "!=", ast.NotEq: "==", ast.Lt: ">=", ast.GtE: "<", ast.Gt: "<=", ast.LtE: ">",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip
OTHER_SCORER = {
    "number": "exact", "exact": "number", "includes": "exact", "json": "exact", "regex": "exact", "choice": "exact",
    "tool_call": "exact",
}  # fmt: skip
OTHER_FUNCTION = {"mean": "sum", "sum": "max", "median": "max", "max": "min", "min": "max", "nunique": "count"}
OTHER_ARITHMETIC = {ast.Add: ast.Sub(), ast.Sub: ast.Add(), ast.Mult: ast.Div(), ast.Div: ast.Mult()}
OTHER_FILE = {"own_history": "golden_history", "golden_history": "own_history"}
OTHER_HISTORY = {"own": "golden", "golden": "own"}
DRAWING = {"bar", "barh", "boxplot", "hist", "imshow", "scatter", "step", "subplots"}
GATE = re.compile(
    r"(?P<left>\b(?:accuracy|errors|complete|ttft|latency|tpot|cost)[\w.\[\]]*\s*)(?P<operator>>=|<=|>|<)"
)


@dataclass(frozen=True)
class Mutation:
    """One fault: its kind (call, scorer, value or chart), what it is, and the cell's new source."""

    kind: str
    what: str
    source: str


def mutations(source: str) -> Iterator[Mutation]:
    """Every fault that the rules find, the first of its kind and place first."""
    if source.startswith("%%bash"):
        yield from _shell_mutations(source)
    elif not source.startswith("%%"):
        yield from _python_mutations(source)


SHELL_RULES = [
    (
        "call",
        "drops the header Authorization",
        r"""[ \t]*(?:-H|--header) (?:@<\(echo )?(["'])Authorization:[^\n]*?\1\)?(?: ?\\\n)?""",
        "",
    ),
    ("call", "asks a model that does not exist", r"\$\{?ASSISTANT_ID\}?", NO_MODEL),
    ("call", "calls a route that does not exist", r"/chat/completions", "/chat/completion"),
    ("call", "misspells messages", r'"messages"', '"message"'),
    ("call", "asks for no stream", r'"stream": *true', '"stream": false'),
    ("value", "inverts a gate", GATE.pattern, lambda found: found["left"] + ("<" if ">" in found["operator"] else ">")),
    ("value", "reads another run", r"own_history|golden_history", lambda found: OTHER_FILE[found[0]]),
]


def _shell_mutations(source: str) -> Iterator[Mutation]:
    for kind, what, pattern, replacement in SHELL_RULES:
        changed = re.sub(pattern, replacement, source, count=1)
        if changed != source:
            yield Mutation(kind, what, changed)


def _python_mutations(source: str) -> Iterator[Mutation]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a line magic
        return
    left_out = {part for node in ast.walk(tree) for part in _left_out(node)}
    for node in ast.walk(tree):
        if node in left_out:
            continue
        for kind, what, part, text in _faults(node):
            changed = _with(source, part, text)
            try:
                ast.parse(changed)
            except SyntaxError:
                continue
            if changed != source:
                yield Mutation(kind, what, changed)


def _left_out(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.JoinedStr():  # Python 3.11 does not know where the parts of an f-string are
            yield from ast.walk(node)
        case ast.If(test=ast.Name(id=flag)) if flag.isupper():  # costly: off by default, so it is never run
            for statement in node.body:
                yield from ast.walk(statement)


def _faults(node: ast.AST) -> Iterator[tuple[str, str, ast.AST, str]]:
    """Kind, words, the part of the cell to replace, and by what."""
    match node:
        case ast.Call():
            yield from _faults_of_a_call(node)
        case ast.Dict():
            for key, value in zip(node.keys, node.values, strict=True):
                yield from _faults_of_a_field(key.value if isinstance(key, ast.Constant) else None, value)
        case ast.Compare():
            first, last = node.left, node.comparators[-1]
            if len(node.ops) == 1:
                operator = INVERTED[type(node.ops[0])]
                text = f"({ast.unparse(first)}) {operator} ({ast.unparse(last)})"
                yield "scorer", f"inverts {ast.unparse(node)}", node, text
        case ast.BinOp() if type(node.op) in OTHER_ARITHMETIC and not _is_text(node):
            other = ast.BinOp(node.left, OTHER_ARITHMETIC[type(node.op)], node.right)
            yield "value", f"computes {_short(other)}", node, f"({ast.unparse(other)})"
        case ast.Constant(value=str(text)):
            if (gate := GATE.match(text)) is not None:
                other = gate["left"] + ("<" if ">" in gate["operator"] else ">") + text[gate.end() :]
                yield "value", f"inverts the gate {text}", node, repr(other)
            for name, other in OTHER_FILE.items():
                if name in text:
                    yield "value", f"reads {other} in place of {name}", node, repr(text.replace(name, other))
        case ast.Return(value=ast.AST() as value):
            yield "scorer", f"returns None in place of {_short(value)}", node, "return None"
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant() as value):
            if "target" in name or "expected" in name:
                yield from _faults_of_a_field("target", value)
        case ast.Expr(value=ast.Call() as call) | ast.Assign(value=ast.Call() as call):
            if (name := _name(call)).startswith("plot") or name in DRAWING:
                yield "chart", f"draws nothing: no {_short(call)}", node, "pass"


def _faults_of_a_call(node: ast.Call) -> Iterator[tuple[str, str, ast.AST, str]]:
    for keyword in node.keywords:
        if keyword.arg == "messages":
            yield "call", "drops messages", node, _without(node, keyword)
        yield from _faults_of_a_field(keyword.arg, keyword.value)
    name = _name(node)
    if name in ("score", "ScorerSpec"):
        for argument in node.args:
            yield from _faults_of_a_field("scorer", argument)
    if name == "append" and ast.unparse(node.func).startswith("messages"):
        yield "call", f"does not send {_short(node)}", node, "None"
    if name in OTHER_FUNCTION and isinstance(node.func, ast.Attribute):
        other = f"{ast.unparse(node.func.value)}.{OTHER_FUNCTION[name]}"
        yield "value", f"computes {OTHER_FUNCTION[name]} in place of {name}", node.func, other
    if name == "query" and node.args and isinstance(node.args[0], ast.Constant) and "==" in str(node.args[0].value):
        text = str(node.args[0].value).replace("==", "!=", 1)
        yield "value", f"selects {text}", node.args[0], repr(text)


def _faults_of_a_field(name: object, value: ast.AST) -> Iterator[tuple[str, str, ast.AST, str]]:
    constant = value.value if isinstance(value, ast.Constant) else None
    if name == "model":
        yield "call", "asks a model that does not exist", value, repr(NO_MODEL)
    elif name == "scorer" and constant in OTHER_SCORER:
        yield (
            "scorer",
            f"scores by {OTHER_SCORER[constant]} in place of {constant}",
            value,
            repr(OTHER_SCORER[constant]),
        )
    elif name == "history" and constant in OTHER_HISTORY:
        yield (
            "call",
            f"shows {OTHER_HISTORY[constant]} history in place of {constant}",
            value,
            repr(OTHER_HISTORY[constant]),
        )
    elif name == "stream" and isinstance(constant, bool):
        yield "call", f"stream={not constant} in place of {constant}", value, repr(not constant)
    elif name == "limit" and isinstance(value, ast.AST):
        yield "call", "runs one conversation only", value, "1"
    elif name in ("target", "expected") and isinstance(constant, (int, float, str)) and not isinstance(constant, bool):
        other = constant[::-1] + "!" if isinstance(constant, str) else constant + 1
        yield "value", f"expects {other!r} in place of {constant!r}", value, repr(other)


def _is_text(node: ast.BinOp) -> bool:
    """Whether it joins texts or lists: computing with these only raises."""
    parts = list(ast.walk(node))
    return any(isinstance(part, (ast.JoinedStr, ast.List)) for part in parts) or any(
        isinstance(part, ast.Constant) and isinstance(part.value, str) for part in (node.left, node.right)
    )


def _name(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _without(call: ast.Call, keyword: ast.keyword) -> str:
    kept = [ast.unparse(argument) for argument in call.args]
    kept += [f"{other.arg}={ast.unparse(other.value)}" if other.arg else f"**{ast.unparse(other.value)}"
             for other in call.keywords if other is not keyword]  # fmt: skip
    return f"{ast.unparse(call.func)}({', '.join(kept)})"


def _short(node: ast.AST) -> str:
    text = ast.unparse(node).replace("\n", " ")
    return text if len(text) <= 50 else f"{text[:49]}…"


def _with(source: str, node: ast.AST, text: str) -> str:
    """The source with other text in place of a node; columns of a syntax tree count bytes."""
    lines = source.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    whole = b"".join(lines)
    start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
    return (whole[:start] + text.encode() + whole[end:]).decode()
