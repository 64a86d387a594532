"""JupyterLab itself, on loopback and in a folder of its own, and a browser that looks at it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "test-output"
WAIT_MS = 120_000  # longest wait for something that happens in a second where nothing else runs
# rfc3987_syntax builds 38 parsers when it is imported, for 2.5 s, and jsonschema does without
_LAB = "import sys; sys.modules['rfc3987_syntax'] = None; from jupyterlab.labapp import main; sys.exit(main())"
_SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "apputils-extension/themes": {"theme": "JupyterLab Light"},
}


def missing() -> str | None:
    """What is not here that a browser test needs."""
    if CHROMIUM is None:
        return "no Chromium"
    return next((f"no {name}" for name in ("playwright", "jupyterlab", "anywidget") if find_spec(name) is None), None)


@contextlib.contextmanager
def browser() -> Iterator:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def environment(folder: Path) -> dict[str, str]:
    """Variables with which Jupyter keeps out of its user's own folders."""
    own = folder / ".jupyter-of-the-test"
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JUPYTER_TOKEN": secrets.token_hex(16),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        **{f"JUPYTER_{name}_DIR": str(own / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")},
        "IPYTHONDIR": str(own / "ipython"),
    }


@contextlib.contextmanager
def jupyterlab(folder: Path, *, dark: bool = False, all_cells: bool = False) -> Iterator[str]:
    """JupyterLab with this folder as its root; yields an address that lets in.

    With ``all_cells`` the cells that are out of sight are in the page too.
    """
    own = folder / ".jupyter-of-the-test"
    configure(folder, dark=dark, all_cells=all_cells)
    install_extension({"share/jupyter": own / "data", "etc/jupyter": own / "config"})
    command = [sys.executable, "-c", _LAB, "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    command += ["--ServerApp.port=0", f"--ServerApp.root_dir={folder}", "--LabApp.extension_manager=readonly"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.news_url="]
    with (folder / "jupyterlab.log").open("w") as log:
        process = subprocess.Popen(command, env=environment(folder), stdout=log, stderr=log)
        try:
            yield _address(own / "runtime", process)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def configure(folder: Path, *, dark: bool = False, all_cells: bool = False) -> None:
    """Write the settings of the JupyterLab of this folder, for pages that are opened from now on."""
    tracker = {"windowingMode": "none" if all_cells else "full"}
    for name, values in {**_SETTINGS, "notebook-extension/tracker": tracker}.items():
        path = folder / ".jupyter-of-the-test" / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values).replace("Light", "Dark" if dark else "Light"))


def install_extension(folders: dict[str, Path]) -> None:
    """Copy the files that an installed evalkit has for JupyterLab into other folders than those of this Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for source, installed in project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"].items():
        folder = next(name for name in folders if installed.startswith(name))
        to = folders[folder] / Path(installed).relative_to(folder)
        to.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, to)
        else:
            shutil.copyfile(ROOT / source, to)


def _address(runtime: Path, process: subprocess.Popen) -> str:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(json.JSONDecodeError):
                told = json.loads(path.read_text())
                return f"{told['url']}lab/tree/{{}}?token={told['token']}"
        time.sleep(0.1)
    raise AssertionError("JupyterLab has not started")


def notebook(path: Path, *cells: str) -> Path:
    """A notebook of code cells."""
    made = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
        for n, source in enumerate(cells)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    told = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(told))
    return path


def ready(page) -> None:
    """Wait until a notebook's kernel is there, and select the first cell."""
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=WAIT_MS)
    page.locator(".jp-Notebook:visible .jp-Cell").first.click()


def shot(page, name: str) -> None:
    """Keep a picture of the page."""
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")
