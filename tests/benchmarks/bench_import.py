"""How long ``import evalkit`` and ``evalkit --help`` take beyond Python's own start.

python tests/benchmarks/bench_import.py
"""

import statistics
import subprocess
import sys
import time

RUNS = 15


def seconds(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    cases = {
        "python alone": ["-c", "pass"],
        "import evalkit": ["-c", "import evalkit"],
        "import evalkit.evaluation": ["-c", "import evalkit.evaluation"],
        "evalkit --help": ["-m", "evalkit.cli", "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(RUNS):
        for name, arguments in cases.items():
            times[name].append(seconds(*arguments))
    start = statistics.median(times["python alone"])
    print(f"| median of {RUNS} | ms | beyond Python's own start |\n|---|---|---|")
    for name, taken in times.items():
        middle = statistics.median(taken)
        print(f"| {name} | {middle * 1e3:.0f} | {(middle - start) * 1e3:+.0f} |")


if __name__ == "__main__":
    main()
