"""A headless Chromium for tests, if there is one, that keeps what a page asks for and complains of."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = Path(sys.prefix) / "axe" / "node_modules" / "axe-core" / "axe.min.js"
WATCH = "window.fired = 0; window.fire = () => { window.fired += 1; }; window.alert = window.fire;"


class Visit:
    """A page, and what has come of it: ``asked`` of the network, and ``complaints`` of the console."""

    def __init__(self, page):
        from playwright.sync_api import Error

        self.page, self._error = page, Error
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.add_init_script(WATCH)

    @property
    def fired(self) -> int:
        """How often something that must not was run."""
        try:
            return self.page.evaluate("window.fired")
        except self._error:
            return 1  # the page has been led away


def until(true: Callable[[], object], within_s: float = 10.0) -> None:
    """Wait until it is; the page's own policy forbids to wait inside it."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


@contextmanager
def chromium() -> Iterator:
    """The browser; without one the test is skipped."""
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install 'chat-evalkit[dev]'")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
