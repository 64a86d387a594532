"""Run the notebooks from the menu of a real JupyterLab: ``python tests/notebooks/run_in_lab.py [--dark] [NN …]``.

A headless Chromium opens each one in a copy of the course, runs all cells, and reports what a reader would see:
missing pictures, errors, links that lead nowhere, parts wider than the page of 1,280 pixels. Pictures of the whole page
are left in ``test-output/``.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import nbformat

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import lab  # noqa: E402

WIDTH, HEIGHT, TALLEST = 1280, 1000, 16_000
LONGEST_S = 300
OUTPUT_PICTURES = ".jp-Notebook .jp-OutputArea-output.jp-RenderedImage img"
WIDGETS = ".jp-Notebook .jp-OutputArea-output .jupyter-widgets, .jp-Notebook .jp-OutputArea-output .evalkit"
ERRORS = ".jp-OutputArea-output[data-mime-type*=error], .jp-OutputArea-output[data-mime-type*=stderr]"
RUNNING = "() => [...document.querySelectorAll('.jp-InputPrompt')].some(one => one.textContent.includes('*'))"
TOO_WIDE = """() => {
  const right = document.querySelector('.jp-Notebook').getBoundingClientRect().right;
  const wide = [...document.querySelectorAll('.jp-Notebook .jp-Cell img, .jp-Notebook table, .jp-Notebook svg, .ek')]
  const outside = wide.filter(one => one.getBoundingClientRect().right > right + 1)
  return outside.map(one => `${one.tagName} ${one.textContent.trim().slice(0, 80)}`)
}"""
BROKEN = """() => [...document.querySelectorAll('.jp-RenderedMarkdown img')].filter(one => !one.naturalWidth)
  .map(one => one.alt || one.src)"""
LINKS = """() => [...document.querySelectorAll('.jp-RenderedMarkdown a[href]')].map(one => one.href)"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dark", action="store_true", help="in JupyterLab's dark theme")
    parser.add_argument("notebooks", nargs="*", metavar="NN", help="default: all")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="course-") as folder:
        for part in ("notebooks", "data", "evalkit/docs", "README.md"):
            copy = Path(folder, part)
            copy.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, copy)
        names = sorted(path.name for path in Path(folder, "notebooks").glob("*.ipynb"))
        chosen = [name for name in names if not given.notebooks or name[:2] in given.notebooks]
        with lab.jupyterlab(Path(folder), dark=given.dark, all_cells=True) as address, lab.browser() as browser:
            problems = sum([look_at(browser, address, Path(folder), name, given.dark) for name in chosen], start=0)
    return int(problems > 0)


def look_at(browser, address, folder, name, dark):
    """Run one notebook, print what is wrong with it, and return how many things are."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    console = []
    page.on("pageerror", lambda error: console.append(str(error)))
    page.goto(address.format(f"notebooks/{name}") + "&reset")
    lab.ready(page)
    began = time.monotonic()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    wait_until_run(page)
    seconds = time.monotonic() - began
    problems = [*found(page, address, folder / "notebooks" / name), *console]
    height = page.evaluate("() => document.querySelector('.jp-WindowedPanel-outer').scrollHeight")
    page.set_viewport_size({"width": WIDTH, "height": min(int(height) + 200, TALLEST)})
    page.evaluate("() => document.querySelector('.jp-WindowedPanel-outer').scrollTo(0, 0)")
    page.wait_for_timeout(2_000)
    lab.shot(page, f"course-{name[:2]}-{'dark' if dark else 'light'}")
    counts = [page.locator(one).count() for one in (OUTPUT_PICTURES, WIDGETS)]
    print(f"{name:36} {seconds:4.0f} s, {counts[0]} pictures, {counts[1]} widgets, {len(problems)} problems")
    for problem in problems:
        print(f"    {problem}")
    page.close()
    return len(problems)


def wait_until_run(page):
    page.wait_for_timeout(2_000)
    until = time.monotonic() + LONGEST_S
    quiet = 0
    while quiet < 3:
        quiet = 0 if page.evaluate(RUNNING) else quiet + 1
        if time.monotonic() > until:
            raise SystemExit("not all cells were run in time")
        page.wait_for_timeout(500)


def found(page, address, path):
    """What is wrong on the page, in words."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    committed = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
    pictures = page.locator(OUTPUT_PICTURES).count()
    if pictures < committed:
        yield f"{committed} pictures are committed, and {pictures} are shown"
    meant = sum("raises-exception" in cell.metadata.get("tags", []) for cell in cells)
    if (errors := page.locator(ERRORS).count()) > meant:
        yield f"{errors} errors: {page.locator(ERRORS).first.inner_text()[:300]}"
    widgets = sum("widget" in cell.metadata.get("tags", []) for cell in cells)
    if page.locator(WIDGETS).count() < widgets:
        yield f"{widgets} cells have a widget, and {page.locator(WIDGETS).count()} widgets are shown"
    yield from (f"wider than the page: {one}" for one in page.evaluate(TOO_WIDE))
    yield from (f"a picture that cannot be shown: {one}" for one in page.evaluate(BROKEN))
    for link in sorted(set(page.evaluate(LINKS))):
        if urlsplit(link).hostname == "127.0.0.1" and not opens(page, address, link):
            yield f"a link that leads nowhere: {link}"


def opens(page, address, link):
    """Whether JupyterLab has the file that a link names."""
    path = urlsplit(link).path.removeprefix("/lab/tree/").removeprefix("/files/").strip("/")
    if path in ("", "lab") or path.startswith("lab/tree"):
        return True
    origin = urlsplit(address)
    asked = f"{origin.scheme}://{origin.netloc}/api/contents/{path}?content=0&{origin.query.partition('&')[0]}"
    return page.request.get(asked).ok


if __name__ == "__main__":
    sys.exit(main())
