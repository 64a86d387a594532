"""What reading a dataset costs: rows a second and memory for each form of file.

    python tests/benchmarks/bench_datasets.py [--quick] [--rows N]

Each file has the same rows, one turn each. It is read by ``datasets.reader`` in a process of its own, twice: all rows,
and the first tenth of them. The peak is the most resident memory above what the process had before (Linux); it must
hardly grow with the rows. Rows scanned are those of the file, without making conversations of them.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import gzip
import json
import lzma
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import report

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

READ = """
import re, sys, time
from itertools import islice
from pathlib import Path
from evalkit.datasets import reader
from evalkit.datasets.raw_rows import read_rows
path, rows = Path(sys.argv[1]), int(sys.argv[2])
if path.suffix == ".parquet":
    import pyarrow.parquet
next(reader.read(sys.argv[3]))
def most():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = most()
began = time.process_time()
count = sum(1 for _ in reader.read(path, limit=rows, unique=False))
read_s = time.process_time() - began
peak = most() - before
began = time.process_time()
sum(1 for _ in islice(read_rows(path, None, 0), rows))
print(count, read_s, time.process_time() - began, peak)
"""
PACKED = ("x.jsonl", "x.parquet")  # also compressed
FEW = 10  # one in so many rows are read for comparison
GROWTH_MB = 15


def rows(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        question = f"What is {number} + {number + 1}? Answer with one number."
        turn = {"user": question, "target": 2 * number + 1, "scorer": "number"}
        yield {"id": f"q{number}", "system": "You answer with a number.", "turns": [turn]}


def write_lines(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(count))


def write_list(path: Path, count: int, indent: int | None = None, head: str = "[", tail: str = "]") -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(head)
        file.writelines(
            (",\n" if number else "") + json.dumps(row, indent=indent) for number, row in enumerate(rows(count))
        )
        file.write(tail)


def write_table(path: Path, count: int, delimiter: str = ",", encoding: str = "utf-8") -> None:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["id", "system", "user", "target", "scorer"])
        for row in rows(count):
            turn = row["turns"][0]
            end = " Wie heißt die größte Stadt Österreichs?" if encoding == "cp1252" else ""
            writer.writerow([row["id"], row["system"], turn["user"] + end, turn["target"], turn["scorer"]])


def write_parquet(path: Path, count: int) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    every = rows(count)
    schema = pa.Table.from_pylist(list(rows(1))).schema
    with parquet.ParquetWriter(path, schema) as writer:
        for _ in range(0, count, 100_000):
            group = [row for _, row in zip(range(min(100_000, count)), every, strict=False)]
            writer.write_table(pa.Table.from_pylist(group, schema), row_group_size=100_000)


FORMS: dict[str, Callable[[Path, int], None]] = {
    "x.jsonl": write_lines,
    "x.json": write_list,
    "indented.json": lambda path, count: write_list(path, count, 2),
    "wrapped.json": lambda path, count: write_list(path, count, None, '{"data": [', "]}"),
    "several-lines.jsonl": lambda path, count: write_list(path, count, 2, "", ""),
    "x.csv": write_table,
    "semicolons-cp1252.csv": lambda path, count: write_table(path, count, ";", "cp1252"),
    "x.tsv": lambda path, count: write_table(path, count, "\t"),
    "utf16.tsv": lambda path, count: write_table(path, count, "\t", "utf-16"),
    "x.parquet": write_parquet,
}
PACKERS: dict[str, Callable[[Path], Any]] = {
    ".gz": lambda path: gzip.open(path, "wb", compresslevel=6),  # noqa: SIM115
    ".zst": lambda path: zstd.ZstdFile(path, "w"),
    ".xz": lambda path: lzma.open(path, "wb", preset=1),  # noqa: SIM115
    ".bz2": lambda path: bz2.open(path, "wb"),  # noqa: SIM115
}


def packed(path: Path, suffix: str) -> Path:
    target = path.with_name(path.name + suffix)
    with path.open("rb") as source, PACKERS[suffix](target) as file:
        while piece := source.read(1 << 20):
            file.write(piece)
    return target


def measured(path: Path, count: int, small: Path) -> tuple[float, float, float]:
    """Rows a second read and scanned, and the peak in MB."""
    command = [sys.executable, "-c", READ, str(path), str(count), str(small)]
    found, read_s, scan_s, peak = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    if int(found) != count:
        raise SystemExit(f"{path.name}: {found} rows were read, not {count}")
    return count / float(read_s), count / float(scan_s), int(peak) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20,000 rows")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    count = 20_000 if options.quick else options.rows
    print(report.machine())
    cells, grown = [], []
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "small.jsonl")
        write_lines(small, 10)
        for name, write in FORMS.items():
            path = Path(folder, name)
            write(path, count)
            for each in (path, *(packed(path, suffix) for suffix in PACKERS if name in PACKED)):
                report.say(each.name)
                _, _, few_mb = measured(each, count // FEW, small)
                read, scanned, peak_mb = measured(each, count, small)
                size = each.stat().st_size / 1e6
                cells.append(
                    (each.name, f"{size:.1f}", f"{read:,.0f}", f"{scanned:,.0f}", f"{few_mb:.0f}", f"{peak_mb:.0f}")
                )
                if peak_mb - few_mb > GROWTH_MB:
                    grown.append(each.name)
                each.unlink()
    head = ("file", "MB", "rows read /s", "rows scanned /s", f"peak MB, {count // FEW:,} rows", f"{count:,} rows")
    print(report.table(head, cells))
    print(f"memory hardly grows with the rows: {report.met(not grown)} {', '.join(grown)}")


if __name__ == "__main__":
    main()
