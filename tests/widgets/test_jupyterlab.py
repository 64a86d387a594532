"""JupyterLab itself, run by a browser: a live run is stopped by its button and resumed; answers are labelled by key."""

import json
import os
import re
import signal
import sqlite3
import time
from urllib.parse import urlsplit

import lab
import pytest
from commands import evalkit
from judges import Bench, fair, verdict
from runfiles import S, T, endpoint, write

import evalkit as ek

CELLS = (
    "import evalkit as ek\nendpoint = ek.connect(params={'temperature': 0, 'max_tokens': 16})",
    "run = ek.evaluate('talks.jsonl', endpoint, out='live.evalkit', concurrency=2, watch='widget')",
    "print('after stop:', run.outcome)",
    "run = ek.resume('live.evalkit', endpoint=endpoint, watch='widget')\nprint('after resume:', run.outcome)",
    "run.browse()",
    "endpoint.playground()",
)
TALKS, TURNS = 20, 2

pytestmark = [
    pytest.mark.skipif(lab.missing() is not None, reason=str(lab.missing())),
    pytest.mark.timeout(400),  # a busy machine needs minutes for what takes 20 s
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The folder that JupyterLab lists, with a folder for each test."""
    root = tmp_path_factory.mktemp("widgets") / "lab"
    root.mkdir()
    return root


@pytest.fixture(scope="module")
def address(root):
    """Each test has a workspace of its own, so that no page opens the notebook of another."""
    with lab.jupyterlab(root) as address:
        yield address.replace("lab/tree/{}", "lab/workspaces/{0}/tree/{0}/{0}.ipynb")


@pytest.fixture(scope="module")
def browser():
    with lab.browser() as browser:
        yield browser


@pytest.fixture
def folder(root):
    folder = root / "live"
    folder.mkdir()
    rows = (
        {"id": f"talk-{n}", "turns": [{"user": f"What is {n} + {turn}?", "target": n + turn} for turn in range(TURNS)]}
        for n in range(TALKS)
    )
    (folder / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lab.notebook(folder / "live.ipynb", *CELLS)
    return folder


def committed(folder):
    """Turns in the run file, and how its sessions ended."""
    with sqlite3.connect(f"file:{folder / 'live.evalkit'}?mode=ro", uri=True) as connection:
        turns = connection.execute("SELECT count(*) FROM turn WHERE status = 'answered'").fetchone()[0]
        outcomes = [outcome for (outcome,) in connection.execute("SELECT outcome FROM session ORDER BY id")]
    connection.close()
    return turns, outcomes


def test_a_live_run_is_stopped_by_its_button_resumed_and_read(address, browser, folder):
    page = browser.new_page(viewport={"width": 1300, "height": 1500})
    problems, strangers = [], set()
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: strangers.add(urlsplit(request.url).hostname))
    page.goto(address.format("live"))
    lab.ready(page)
    run_all(page)
    stop_the_run(page, folder)
    page.locator(".ek-state[data-state=done]").wait_for(timeout=lab.WAIT_MS)
    assert committed(folder) == (TALKS * TURNS, ["stopped", "done"])
    page.get_by_text("after resume: done").wait_for()
    lab.shot(page, "jupyterlab-resumed")
    read_transcripts(page)
    type_a_message(page)
    page.close()
    assert problems == []
    assert strangers <= {"127.0.0.1", "", None}


def test_every_chart_appears_once_however_it_is_drawn(address, browser, root):
    folder = root / "charts"
    folder.mkdir()
    write(folder / "run.evalkit", [S([T(f"c{n}", 1, score=float(n % 2)) for n in range(9)])])
    lab.notebook(
        folder / "charts.ipynb",
        "import evalkit as ek\nrun = ek.Run('run.evalkit')\n_ = run.plot_accuracy()",
        "_ = run.charts()['latency'].draw()",
        "import pandas as pd\n_ = pd.Series([1, 2]).plot()",
        "from matplotlib import pyplot\n_ = pyplot.plot([2, 1])",
        "_ = run.plot_ecdf()",
        "print('all cells ran')",
    )
    page = browser.new_page(viewport={"width": 1300, "height": 3000})
    page.goto(address.format("charts"))
    lab.ready(page)
    run_all(page)
    page.get_by_text("all cells ran", exact=True).wait_for(timeout=lab.WAIT_MS)
    lab.shot(page, "jupyterlab-charts")
    assert page.locator(".jp-Notebook .jp-OutputArea-output img").count() == 5
    page.close()


LABEL_CELLS = (
    "import os\nfrom pathlib import Path\nimport evalkit as ek\nPath('kernel').write_text(str(os.getpid()))",
    "labels = ek.Run(next(Path('../..').glob('*.evalkit'))).label('Ana', conversations=10)\nlabels",
    "print('all cells ran')",
)


def test_twenty_answers_are_labelled_by_keyboard_although_the_kernel_is_killed(address, browser, root):
    turns = [
        T(f"talk-{n}", t, text=("It is 35." if t == 1 else "270"), score=2.0 - t) for n in range(12) for t in (1, 2)
    ]
    above = root.parent  # JupyterLab does not list its files
    run = endpoint(write(above / "secret-model.evalkit", [S(turns)]), model="secret-model")
    with Bench(lambda body: verdict("CORRECT", "secret-reason")) as bench:
        ek.judge(run, bench.endpoint())
    for judge in above.glob("*.judge-*"):
        judge.unlink()
    labels = above / "secret-model.labels-Ana.jsonl"
    folder = root / "label"
    folder.mkdir()
    lab.notebook(folder / "label.ipynb", *LABEL_CELLS)
    lab.configure(root, dark=True)
    page = browser.new_page(viewport={"width": 1300, "height": 1300})
    frames, problems = [], []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address.format("label"))
    lab.ready(page)
    assert page.evaluate("document.body.dataset.jpThemeLight") == "false"
    run_all(page)
    label_answers(page, labels, range(11))
    os.kill(int((folder / "kernel").read_text()), signal.SIGKILL)
    page.get_by_role("button", name="Ok").click(timeout=lab.WAIT_MS)
    assert len(labels.read_text().splitlines()) == 11
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=lab.WAIT_MS)
    run_all(page)
    label_answers(page, labels, range(11, 20))
    page.get_by_text("Done · 10 right, 10 wrong, 0 unsure").wait_for()
    lab.shot(page, "jupyterlab-labelled")
    assert page.locator(".jp-Notebook .jp-CodeCell").count() == page.locator(".jp-Notebook .jp-Cell").count() == 3
    page.close()
    received = "".join(frame.decode(errors="replace") if isinstance(frame, bytes) else frame for frame in frames)
    assert "Answer to label" in received
    assert "talk-1, question 2" in received
    assert "secret-" not in received  # neither model nor judge, nor the name of the run
    assert problems == []
    with Bench(fair) as bench:
        to = ("--base-url", bench.server.base_url, "--model", "judge", "--json")
        result = json.loads(evalkit("judge-check", labels, *to, cwd=above).stdout)
    assert (result["n"], result["agreement"]["value"]) == (20, 1.0)


def label_answers(page, labels, numbers):
    """Label by keys what the page shows; each label is in the file when the next answer is there."""
    section = page.locator(".ek-label").last
    status = section.get_by_role("status")
    section.wait_for(timeout=lab.WAIT_MS)
    for number in numbers:
        status.get_by_text(f"Answer {number + 1} of 20").wait_for(timeout=lab.WAIT_MS)
        assert len(labels.read_text().splitlines() if labels.exists() else ()) == number
        if number in (0, numbers[0]):
            section.focus()
        answer = section.get_by_role("group", name="Answer to label").inner_text()
        if number % 5 == 0:
            page.keyboard.press("n")
            page.keyboard.type(f"note {number}")
            page.keyboard.press("Enter")
        if number % 7 == 3:  # a mistake
            page.keyboard.press("u")
            status.get_by_text(f"Answer {number + 2} of 20").wait_for()
            page.keyboard.press("z")
            status.get_by_text(f"Answer {number + 1} of 20").wait_for()
        page.keyboard.press("r" if "35" in answer else "w")
    if numbers[-1] < 19:
        status.get_by_text(f"Answer {numbers[-1] + 2} of 20").wait_for()


def run_all(page):
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def stop_the_run(page, folder):
    page.get_by_text(re.compile(rf"^([4-9]|1\d) of {TALKS * TURNS}$")).wait_for(timeout=lab.WAIT_MS)
    lab.shot(page, "jupyterlab-running")
    page.get_by_role("button", name="Stop").click()
    pressed = time.monotonic()
    page.locator(".ek-state[data-state=stopped]").wait_for(timeout=lab.WAIT_MS)
    page.get_by_text("after stop: stopped").wait_for()  # the cell gave its run back: no interrupt was needed
    assert time.monotonic() - pressed < 10
    turns, outcomes = committed(folder)
    assert 4 <= turns < TALKS * TURNS
    assert outcomes[0] == "stopped"


def read_transcripts(page):
    frame = page.frame_locator(".ek-browse iframe")
    frame.get_by_text(f"{TALKS * TURNS} of {TALKS * TURNS} turns").wait_for()
    frame.locator("#turn").select_option("2")
    frame.get_by_text(f"{TALKS} of {TALKS * TURNS} turns").wait_for()
    frame.locator(".row").first.click()
    frame.get_by_role("heading", name="talk-0").wait_for()
    page.locator(".ek-browse").scroll_into_view_if_needed()
    lab.shot(page, "jupyterlab-transcripts")
    page.keyboard.press("Escape")


def type_a_message(page):
    page.get_by_label("System prompt").fill("You are a friendly teacher.")
    message = page.get_by_label("Message")
    message.fill("What is 12 + 23?")
    message.press("Enter")
    page.get_by_role("log").locator("article").wait_for(timeout=lab.WAIT_MS)
    assert (
        page.get_by_role("log").get_by_role("img").get_attribute("aria-label").startswith("Arrivals over time: first")
    )
    page.get_by_text("cURL", exact=True).first.click()
    page.locator(".ek-playground").scroll_into_view_if_needed()
    lab.shot(page, "jupyterlab-playground")
