"""How long it takes to score the stored answers of a run again, and how much memory that takes.

    python tests/benchmarks/bench_rescore.py [--turns 1000000] [--folder DIR]

The file is created first, inside SQLite: conversations of four turns, in which all answers and targets are different,
so that caches help little. Then ``evalkit score FILE --scorer number`` in a process of its own, imports and the
comparison with the old scores included. Memory is the most that its process tree held at a sample (PSS on Linux).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import processes
import report

MB = 1e6
SAMPLE_S = 0.1
TURNS = 4  # of a conversation
GOAL_S, GOAL_MB = 60.0, 200
_NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < ? - 1) "
_CONVERSATIONS = (
    _NUMBERS
    + """
    INSERT INTO conversation (position, id, hash, row, turns)
    SELECT n, 'c' || n, '', json_object('id', 'c' || n, 'system', 'You are a math teacher.', 'turns', json_array(
      {turns})), {count} FROM numbers"""
)
_TURN = (
    "json_object('user', 'What is the sum of {0} + ' || n || '?', 'target', n * {1} + {0}, "
    "'assistant', 'It is ' || (n * {1} + {0}) || '.')"
)
# every other answer is right
_ANSWERS = (
    _NUMBERS
    + """
    INSERT INTO turn (conversation, repeat, turn, session, status, has_target, answer, finish_reason, attempts,
      streamed, latency_ns, token_source)
    SELECT n / {count}, 1, n % {count} + 1, 1, 'answered', 1,
      'The sum of ' || (n % {count}) || ' + ' || (n / {count}) || ' is '
      || (n / {count} * {count} + n % {count} + n % 2) || '.', 'stop', 1, 1, 400000000, 'none' FROM numbers"""
)
_SCORES = """
    INSERT INTO score (conversation, repeat, turn, scorer, value, extracted)
    SELECT conversation, repeat, turn, 'exact', 0, answer FROM turn"""


def make(file: Path, turns: int) -> None:
    """A run file of so many answered turns, none of them right by its scorer ``exact``."""
    from evalkit.runfile.store import RunFile

    settings = {"history": "own", "repeats": 1, "concurrency": 64, "stream": True, "scorer": "exact"}
    endpoint = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "params": {}}
    dataset = {"path": "sums.jsonl", "turns": turns}
    with RunFile.create(file, name="bench", settings=settings, dataset=dataset, endpoint=endpoint) as made:
        made.begin_session(0, {})
        asked = ", ".join(_TURN.format(index, TURNS) for index in range(TURNS))
        with made.connection as connection:
            connection.execute(_CONVERSATIONS.format(turns=asked, count=TURNS), (turns // TURNS,))
            connection.execute(_ANSWERS.format(count=TURNS), (turns,))
            connection.execute(_SCORES)
        made.end_session(1, "done", {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where its file lies meanwhile (default: the system's own)")
    options = parser.parse_args()
    turns = options.turns // TURNS * TURNS
    print(f"{turns:,} turns; {report.machine()}\n")
    with tempfile.TemporaryDirectory(prefix="evalkit-bench-", dir=options.folder) as folder:
        file = Path(folder) / "rescore.evalkit"
        report.say("making the file")
        make(file, turns)
        report.say("scoring it")
        before = file.stat().st_size
        done = processes.run(processes.evalkit("score", file, "--scorer", "number", "--json"), memory_s=SAMPLE_S)
        grown = file.stat().st_size - before
    found = json.loads(done.output)
    if (found["new"]["accuracy"]["n"], found["changed"]["wrong_to_right"]) != (turns, turns // 2):
        sys.exit(f"half of {turns} verdicts should have become right: {found}")
    rows = [
        ["scored again", f"{done.wall_s:.1f} s", *goal(done.wall_s, GOAL_S, "{:.0f} s")],
        ["turns a second", f"{turns / done.wall_s:,.0f}", "–", "–"],
        ["CPU", f"{done.cpu_s:.1f} s", "–", "–"],
        ["peak memory", f"{done.peak_mb():.0f} MB", *goal(done.peak_mb(), GOAL_MB, "{:.0f} MB")],
        ["the file grew by", f"{grown / MB:,.0f} MB", "–", "–"],
    ]
    print(report.table(("what", "found", "goal", "met"), rows))


def goal(value: float, most: float, form: str) -> tuple[str, str]:
    """Its two cells."""
    return f"≤ {form.format(most)}", report.met(value <= most)


if __name__ == "__main__":
    main()
