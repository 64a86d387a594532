"""What a notebook shows of a run, a comparison, a load test and a plan."""

import html
import re

import pytest
from browser import AXE, Visit, chromium
from comparing import said, tagged, two
from hostile import PAYLOADS
from runfiles import S, T, talk, write
from sweeps import step_in, sweep_of, varied

import evalkit as ek
from evalkit.console import notebook_cell

ENDPOINT = {"base_url": "http://127.0.0.1:9/v1", "model": "tiny", "key_env": None, "params": {"temperature": 0}}
DARK = """
    body { background: #111; color: rgba(255, 255, 255, 0.87); --jp-content-font-color1: rgba(255, 255, 255, 0.87);
      --jp-content-font-color2: rgba(255, 255, 255, 0.7); --jp-border-color1: #616161; --jp-warn-color1: #ff9800; }"""
LIGHT = """
    body { background: #fff; --jp-content-font-color1: rgba(0, 0, 0, 0.87);
      --jp-content-font-color2: rgba(0, 0, 0, 0.54); --jp-border-color1: #bdbdbd; --jp-warn-color1: #f57c00; }"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Each result with its text and its HTML."""
    folder = tmp_path_factory.mktemp("cells")
    about = {"endpoint": ENDPOINT, "dataset": {"path": "sums.jsonl", "turns": 40}}
    scores = [[n % 3 > 0, n % 2 > 0, n % 5 > 0] for n in range(20)]
    first, second = two(
        folder, [float(row[0]) for row in scores], [float(row[2]) for row in scores], conversations=tagged(20, 3),
        **about,
    )  # fmt: skip
    step = step_in(folder)
    results = (
        ek.Run(first), ek.compare(first, second), ek.plan(first),
        sweep_of(varied(step, 1, 10.0), varied(step, 2, 20.0), varied(step, 4, 20.1), saturated=True),
    )  # fmt: skip
    return {type(each).__name__: each for each in results}


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.mark.parametrize(
    ("name", "before", "below"),
    [
        ("Run", ["tiny answered all 20 turns", "sums.jsonl against tiny", '<th scope="row">all</th>'],
         ["accuracy over answered turns", "20 turns have not been run yet", "run file: "]),
        ("Comparison", ["A and B have the same settings", '<th scope="col"', '<th scope="row">all</th>'],
         ["McNemar", "turns right in one run only"]),
        ("Plan", ["accuracy 65.0%", '<th scope="row">within ± 3 points</th>'], ["Intervals are 95 % intervals"]),
        ("Sweep", ["<strong>knee: concurrency 2", "sums.jsonl against m", '<th scope="row">4</th>'],
         ["run files: x"]),
    ],
)  # fmt: skip
def test_the_result_and_its_table_are_shown_and_the_rest_is_folded(shown, name, before, below):
    text = shown[name]._repr_html_()
    visible, _, folded = text.partition("<details>")
    for word in before:
        assert word in visible
    for word in below:
        assert word in folded
        assert word not in visible
    assert text.count("<table>") == text.count("</table>") >= 1
    assert repr(shown[name]).startswith(name)  # the text for a terminal is as it was


def test_numbers_are_those_of_the_terminal(shown, capsys):
    from evalkit.console.terminal import print_result

    notebook = html.unescape(re.sub(r"<[^>]+>", " ", shown["Plan"]._repr_html_().partition("</style>")[2]))
    print_result(shown["Plan"], notebook_cell.plan.show_plan, as_json=False)
    terminal = capsys.readouterr().out
    assert re.findall(r"\d[\d,.]*", notebook) == re.findall(r"\d[\d,.]*", terminal)


def test_a_run_of_many_turns_is_shown_as_text(shown, monkeypatch):
    monkeypatch.setattr(notebook_cell, "MOST_TURNS", 19)
    assert shown["Run"]._repr_html_() is None


def test_a_run_whose_file_is_gone_is_shown_as_text(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])])
    run = ek.Run(said(path, endpoint=ENDPOINT, dataset={"path": "d", "turns": 1}))
    assert "<table>" in run._repr_html_()
    path.write_bytes(b"no run file")
    assert run._repr_html_() is None
    path.unlink()
    assert run._repr_html_() is None


def test_texts_from_strangers_stay_text(browser, tmp_path):
    talks = [talk(f"{n:02}{payload}", (1,), tags=(payload,)) for n, payload in enumerate(PAYLOADS)]
    hostile = {"endpoint": ENDPOINT | {"model": PAYLOADS[2], "params": {PAYLOADS[3]: PAYLOADS[4]}}}
    hostile["dataset"] = {"path": PAYLOADS[0].replace("/", ""), "turns": len(talks)}
    runs = []
    for name, score in (("a", 0.0), ("b", 1.0)):
        turns = [T(each.id, 1, text=each.id, score=score) for each in talks]
        turns.append(T("failed", 1, error=PAYLOADS[1]))
        runs.append(said(write(tmp_path / f"{name}.evalkit", [S(turns)], talks), **hostile))
    visit = Visit(browser.new_page())
    cells = ek.Run(runs[0])._repr_html_() + ek.compare(*runs)._repr_html_()
    assert "\x1b" not in cells
    file = tmp_path / "cells.html"
    file.write_text(f"<!DOCTYPE html><meta charset=utf-8><title>x</title>{cells}", encoding="utf-8")
    visit.page.goto(file.as_uri())
    visit.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    visit.page.wait_for_timeout(100)
    assert visit.fired == 0
    assert visit.asked == [file.as_uri()]
    for word in (PAYLOADS[1], PAYLOADS[2], PAYLOADS[5]):
        assert word in visit.page.locator("body").text_content()
    visit.page.close()


@pytest.mark.parametrize("style", [LIGHT, DARK, "", "body { background: #111; color: #eee; }"])
def test_cells_are_accessible_and_fit_in_light_and_dark(shown, browser, style):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    cells = "<hr>".join(each._repr_html_() for each in shown.values())
    page.set_content(
        f"<!DOCTYPE html><html lang=en><title>x</title><style>{style}</style><main><h1>x</h1>{cells}</main></html>"
    )
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    if AXE.exists():
        page.evaluate(AXE.read_text(encoding="utf-8"))
    for width in (390, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if AXE.exists() and (width == 1280 or style == LIGHT):  # colours do not depend on the width
            found = page.evaluate("axe.run()")
            assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == []
    page.close()
    if not AXE.exists():
        pytest.skip(f"needs axe-core: npm install --prefix {AXE.parents[2]} axe-core")
