import tempfile
from pathlib import Path

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from runfiles import S, T, write

from evalkit import tables

texts = st.text(st.characters(codec="utf-8"), max_size=12)
numbers = st.floats(0, 1) | st.sampled_from([1e-7, 1 / 3, 1e16])
extracted = st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | texts | st.lists(st.none() | texts)


@given(st.lists(st.tuples(texts, st.none() | numbers, extracted), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_csv_and_json_lines_are_those_that_pandas_writes_of_the_turns(rows: list) -> None:
    turns = [
        T(f"c{n}", 1, text=text, score=score, extracted=found, latency_ms=400.0 + n / 3, tokens=n or None)
        for n, (text, score, found) in enumerate(rows)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "r.evalkit", [S(turns)])
        for form in ("csv", "jsonl"):
            assert tables.export(path, form, Path(folder) / form) == len(turns)
        frame = tables.turns(path)
        lines = [orjson.loads(line) for line in (Path(folder) / "jsonl").read_bytes().split(b"\n") if line]
        flat = frame.copy()
        for name in ("tool_calls", "extracted", "tags"):
            flat[name] = [None if value is None else orjson.dumps(value).decode() for value in frame[name]]
        flat.to_csv(Path(folder) / "expected.csv", index=False, lineterminator="\r\n")
        assert (Path(folder) / "csv").read_bytes() == (Path(folder) / "expected.csv").read_bytes()
    expected = frame.astype(object).where(frame.notna(), None).to_dict("records")
    assert lines == [orjson.loads(orjson.dumps(row)) for row in expected]
