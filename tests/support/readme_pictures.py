"""Take the two pictures of the README again, when reports or notebooks look different: look at both before a commit.

python tests/support/readme_pictures.py RUN.evalkit

RUN.evalkit is a run of ``evalkit demo``. It needs Chromium, Playwright and JupyterLab; nothing is executed again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import browser, environment, jupyterlab
from PIL import Image

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "evalkit" / "docs" / "images"
NOTEBOOK, SECTION = "06-latency-and-accuracy.ipynb", "Accuracy by turn, with intervals"
SIZE = {"width": 1240, "height": 1080}


def of_report(opened, run: Path, folder: Path) -> bytes:
    page = opened.new_page(viewport=SIZE)
    report = folder / "report.html"
    subprocess.run([sys.executable, "-m", "evalkit.cli", "report", run, "-o", report], cwd=ROOT, check=True)
    page.goto(report.as_uri())
    page.locator("figure img").first.wait_for()
    return page.screenshot()


def of_notebook(opened, folder: Path) -> bytes:
    shutil.copytree(ROOT / "notebooks", folder, dirs_exist_ok=True)
    # outputs of a notebook that is not trusted are shown as text
    trust = [sys.executable, "-m", "jupyter", "trust", folder / NOTEBOOK]
    subprocess.run(trust, env=environment(folder), check=True)
    with jupyterlab(folder) as address:
        page = opened.new_page(viewport=SIZE)
        page.goto(address.format(NOTEBOOK), timeout=120_000)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=120_000)
        page.keyboard.press("Control+b")  # hides the file browser
        page.locator(".jp-Notebook .jp-Cell").first.click()
        heading = page.get_by_role("heading", name=SECTION)
        for _ in range(60):  # cells are drawn when they come into view
            if heading.count():
                break
            page.mouse.wheel(0, 600)
            page.wait_for_timeout(150)
        for _ in range(2):  # charts above the heading move it when they are drawn
            heading.first.evaluate("element => element.scrollIntoView({block: 'start'})")
            page.wait_for_timeout(1500)
        return page.screenshot()


def save(name: str, picture: bytes, folder: Path) -> None:
    """Save a picture with 256 colours, which is enough and a third of the size."""
    raw = folder / name
    raw.write_bytes(picture)
    few = Image.open(raw).convert("RGB").quantize(256, kmeans=1, dither=Image.Dither.NONE)
    few.save(IMAGES / name, optimize=True)
    print(f"{IMAGES / name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN.evalkit")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, browser() as opened:
        here = Path(name)
        save("report.png", of_report(opened, chosen.run.resolve(), here), here)
        (here / "lab").mkdir()
        save("notebook.png", of_notebook(opened, here / "lab"), here)
