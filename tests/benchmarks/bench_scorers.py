"""What a score costs: every scorer on answers of several kinds, compared with reading a response's JSON.

python tests/benchmarks/bench_scorers.py
"""

import json
import time
from collections.abc import Callable
from typing import Any

from evalkit.conversation import ScorerSpec, ToolCall, Turn
from evalkit.record import Answer
from evalkit.scorers import scoring

ROUNDS = 30
ROUND_S = 0.004
RESCORED = 50_000

STEPS = "Let me go through this step by step. First we add the ones: 2 + 3 = 5. Then come the tens: 10 + 20 = 30. "
SHORT = "The sum of 12 + 23 is 35."
LONG = STEPS * 8 + SHORT
TOKENS = " ".join(f"tok{i}" for i in range(20))
CALL = ToolCall("get_weather", '{"city": "Boston", "days": 2}')

# scorer, kind of answer, target, answer
CASES: list[tuple[str, str, Any, Answer]] = [
    ("number", "a number alone", 35, Answer("35")),
    ("number", "a sentence", 35, Answer(SHORT)),
    ("number", "marked as the answer", 35, Answer("12 + 23 = 35\n\n**Answer:** 35")),
    ("number", "in words", 35, Answer("It is thirty-five.")),
    ("number", "none", 35, Answer("I do not know the answer to this.")),
    ("number", "20 names with a number", 19, Answer(TOKENS)),
    ("number", f"{len(LONG)} characters of steps", 35, Answer(LONG)),
    ("includes", "a sentence", "Paris", Answer("The capital of France is Paris.")),
    ("includes", "20 names with a number", "tok19", Answer(TOKENS)),
    ("includes", f"{len(LONG)} characters of steps", "35", Answer(LONG)),
    ("exact", "a word", "Paris", Answer("Paris.")),
    ("exact", "a sentence", "Paris", Answer("The capital of France is Paris.")),
    ("choice", "a letter", "B", Answer("(B)")),
    ("choice", "a sentence", "B", Answer("The answer is B.")),
    ("choice", f"{len(LONG)} characters of steps", "B", Answer(LONG + " So I choose B.")),
    ("regex", "a sentence", r"sum.*\b35\b", Answer(SHORT)),
    ("number", "with a unit", "35 kg", Answer("The sum of 12 kg and 23 kg is 35 kg.")),
    ("date", "a sentence", "2024-05-03", Answer("It happened on 3 May 2024.")),
    ("f1", "a sentence", "It is Paris.", Answer("The capital of France is Paris.")),
    ("rouge_l", "a sentence", "It is Paris.", Answer("The capital of France is Paris.")),
    ("edit", "a sentence", "It is Paris.", Answer("The capital of France is Paris.")),
    ("chrf", "a sentence", "It is Paris.", Answer("The capital of France is Paris.")),
    ("json", "an object", {"city": "Boston", "days": 2}, Answer('{"city": "Boston", "days": 2}')),
    ("tool_call", "one call", {"name": "get_weather", "arguments": {"city": "Boston"}}, Answer(tool_calls=(CALL,))),
]


def body_of(answer: Answer) -> str:
    """The response that brought the answer, without streaming."""
    message = {
        "role": "assistant",
        "content": answer.text,
        "tool_calls": [call.to_json() for call in answer.tool_calls],
    }
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    usage = {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}
    return json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "choices": choices, "usage": usage})


def microseconds(*work: Callable[[], object]) -> list[float]:
    """The lowest CPU time of each, in alternating rounds, so that other work on the machine affects all of them."""
    counts = []
    for each in work:
        began = time.process_time()
        for _ in range(20):
            each()
        counts.append(max(5, int(20 * ROUND_S / (time.process_time() - began))))
    least = [float("inf")] * len(work)
    for _ in range(ROUNDS):
        for at, (each, count) in enumerate(zip(work, counts, strict=True)):
            began = time.process_time()
            for _ in range(count):
                each()
            least[at] = min(least[at], (time.process_time() - began) / count * 1e6)
    return least


def rescored_per_second() -> float:
    """Of sentences of which no two are alike, with as many targets, so that remembering helps little."""
    spec = ScorerSpec("number")
    sums = [(n, 2 * n + 7, 3 * n + 7) for n in range(RESCORED)]
    turns = [(Turn("?", c, spec), Answer(f"The sum of {a} + {b} is {c}.")) for a, b, c in sums]
    began = time.process_time()
    right = sum(score.value == 1 for turn, said in turns if (score := scoring.score(turn, said)))
    taken = time.process_time() - began
    assert right == RESCORED
    return RESCORED / taken


def main() -> None:
    print("| scorer | answer | CPU µs a score | json.loads of its response, µs | ratio |\n|---|---|---|---|---|")
    for name, kind, target, answer in CASES:
        turn, body = Turn("?", target, ScorerSpec(name)), body_of(answer)
        score, read = microseconds(
            lambda turn=turn, answer=answer: scoring.score(turn, answer), lambda body=body: json.loads(body)
        )
        print(f"| {name} | {kind} | {score:.1f} | {read:.1f} | {score / read:.1f} |")
    print(f"\n{RESCORED:,} different sentences by number: {rescored_per_second():,.0f} scores a second of CPU time")


if __name__ == "__main__":
    main()
