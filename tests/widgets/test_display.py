"""Widgets: in words where nothing can be drawn, and each of them in a bare page of a real browser."""

import gc
import json
import subprocess
import sys
import threading
import weakref

import lab
import pytest
from comparing import said
from runfiles import S, T, talk, write

import evalkit as ek
from evalkit.scripted.server import Arithmetic, Law, Script, serve
from evalkit.widgets import button_comm

HOSTILE = (
    "</script><img src=x onerror='window.fired=1'>\x1b[31mred\x1b[0m שלום\u202e 🙂 <svg onload=window.fired=1>"
    "{{constructor.constructor('window.fired=1')()}}"
)
_MODEL = """
async ({ module, state, style, light, inside }) => {
  if (light !== null) document.body.dataset.jpThemeLight = light;
  if (light === "false") document.body.style.cssText = "background:#111;--jp-ui-font-color1:#fff;" +
    "--jp-ui-font-color2:#bbb;--jp-layout-color0:#111;--jp-layout-color2:#424242;--jp-border-color1:#616161";
  const sheet = document.createElement("style");
  sheet.textContent = style;
  document.head.append(sheet);
  const listeners = {};
  window.sent = [];
  window.model = {
    get: (name) => state[name],
    send: (message) => window.sent.push(message),
    on: (event, listener) => { listeners[event] = listener; },
    off: (event) => { delete listeners[event]; },
  };
  window.change = (name, value) => { state[name] = value; listeners[`change:${name}`]?.(); };
  const { default: widget } = await import(URL.createObjectURL(new Blob([module], { type: "text/javascript" })));
  window.left = widget.render({ model: window.model, el: document.querySelector(inside) });
}
"""


@pytest.fixture(scope="module")
def chromium():
    if reason := lab.missing():
        pytest.skip(reason)
    with lab.browser() as opened:
        yield opened


@pytest.fixture
def page(chromium):
    opened, problems = chromium.new_page(viewport={"width": 960, "height": 900}), []
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    yield opened
    assert problems == []
    assert not any(frame.evaluate("window.fired") for frame in opened.frames)
    opened.close()


def mount(page, widget, *, dark=False, inside="body"):
    """Draw a widget as JupyterLab would, or another host in its own element, with the widget's script and style."""
    state = {
        name: getattr(widget, name) for name in widget.keys if name[0] != "_" and name not in ("layout", "tabbable")
    }
    light = json.dumps(not dark) if inside == "body" else None
    page.evaluate(
        _MODEL, {"module": widget._esm, "style": widget._css, "state": state, "light": light, "inside": inside}
    )


LIVE = {
    "state": "running", "outcome": None, "name": HOSTILE, "done": 42, "total": 60, "errors": {"server": 2},
    "per_s": 3.14159, "left_s": 95.0,
    "accuracy": {"value": 0.9, "low": 0.76, "high": 0.97, "n": 40, "wrong": 4, "unscored": 0},
    "latencies": [[1, 120.0], [1, 180.0], [1, 150.0], [2, 300.0], [20, 9.0]],
}  # fmt: skip


@pytest.mark.parametrize("dark", [False, True])
def test_a_live_run_is_drawn_and_its_button_stops_it(page, dark):
    from evalkit.widgets.live_run import LiveRun

    mount(page, LiveRun(LIVE), dark=dark)
    shown = page.locator(".ek-live").inner_text()
    for text in ("42 of 60", "90.0% of 40 (76.0% to 97.0%)", "3.14/s", "2 min", "2 × server", "<svg onload="):
        assert text in shown
    assert [dots.get_attribute("d").count("h0") for dots in page.locator(".ek-dot").all()] == [3, 1, 1]
    name = page.get_by_role("img").get_attribute("aria-label")
    assert name == "Median latency of the latest turns: turn 1 150 ms, turn 2 300 ms, turn 16 9.0 ms"
    lab.shot(page, f"live-{'dark' if dark else 'light'}")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("sent") == [{"do": "stop"}]
    assert page.get_by_role("button", name="Stop").is_disabled()
    assert page.get_by_role("status").inner_text() == "stopping: waiting for answers in flight"
    page.evaluate("change('seen', {...model.get('seen'), state: 'ended', outcome: 'stopped'})")
    assert page.get_by_role("status").inner_text() == "stopped"


@pytest.mark.parametrize("dark", [False, True])
def test_a_live_run_on_a_cluster_links_its_dashboard_while_it_runs(page, dark):
    from evalkit.widgets.live_run import LiveRun

    address = "http://127.0.0.1:8787/status?a=1&b=%22%3E<img src=x onerror=window.fired=1>"
    mount(page, LiveRun(LIVE | {"dashboard": address}), dark=dark)
    link = page.get_by_role("link", name="Dask dashboard")
    assert link.evaluate("a => a.href").startswith("http://127.0.0.1:8787/status?a=1&b=%22%3E%3Cimg%20")
    assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener noreferrer")
    assert page.locator(".ek-live img").count() == 0
    lab.shot(page, f"live-cluster-{'dark' if dark else 'light'}")
    for other in (
        "'javascript:window.fired=1//http://'",
        "'data:text/html,<b>'",
        "'//other.example/'",
        "null",
        "undefined",
    ):
        page.evaluate(f"change('seen', {{...model.get('seen'), dashboard: {other}}})")
        assert link.count() == 0
        assert page.locator("a[href]").count() == 0


# what a page of VS Code has: classes of its body, variables of its theme, and --jp-* variables that are always light
VS_CODE = """
([kind, foreground, background]) => {
  document.body.classList.add(...kind.split(" "));
  document.documentElement.style.cssText = `
    --vscode-foreground: ${foreground}; --vscode-editor-background: ${background};
    --jp-ui-font-color1: rgba(0, 0, 0, .87); --jp-content-font-color1: rgba(0, 0, 0, .87); --jp-layout-color0: white;`;
  document.head.append(Object.assign(document.createElement("style"),
    { textContent: ".cell-output-ipywidget-background { background: white !important; }" }));
  document.body.innerHTML = "<div class='cell-output-ipywidget-background'></div>";
  document.body.style.background = background;
}
"""
WHITE, BLACK = "rgb(255, 255, 255)", "rgb(0, 0, 0)"


@pytest.mark.parametrize(
    ("kind", "dark"),
    [
        ("vscode-dark", True),
        ("vscode-light", False),
        ("vscode-high-contrast", True),
        ("vscode-high-contrast vscode-high-contrast-light", False),
    ],
)
def test_a_page_of_vs_code_gives_widgets_and_cells_its_theme(page, tmp_path, kind, dark):
    from evalkit.console import notebook_cell
    from evalkit.widgets.browse import Browser

    run = hostile_run(tmp_path / "one.evalkit")
    foreground, background = (WHITE, BLACK) if dark else (BLACK, WHITE)
    page.emulate_media(color_scheme="light" if dark else "dark")  # the system's, which is not that of VS Code
    page.evaluate(VS_CODE, [kind, foreground, background])
    mount(page, Browser([run], ""), inside=".cell-output-ipywidget-background")
    page.frame_locator("iframe").get_by_text("4 of 4 turns").wait_for()
    cell = notebook_cell.cell(lambda console: console.print("right"), more="")
    page.evaluate("cell => document.body.insertAdjacentHTML('beforeend', cell)", cell)
    colours = "element => [getComputedStyle(element).color, getComputedStyle(element).backgroundColor]"
    assert page.locator(".evalkit").evaluate(colours) == [foreground, background]
    assert page.locator(".evalkit-cell").evaluate(colours)[0] == foreground
    assert page.locator(".cell-output-ipywidget-background").evaluate(colours)[1] == "rgba(0, 0, 0, 0)"
    mark = page.locator(".evalkit").evaluate("element => getComputedStyle(element).getPropertyValue('--ek-mark')")
    assert mark == ("#56b4e9" if dark else "#0072b2")
    frame = page.frame_locator("iframe").locator("html")
    assert frame.get_attribute("data-theme") == ("dark" if dark else "light")
    lab.shot(page, kind.split()[-1])


def test_a_live_run_without_any_data(page):
    from evalkit.widgets.live_run import LiveRun

    empty = {"done": 0, "total": None, "errors": {}, "per_s": None, "left_s": None, "accuracy": None, "latencies": []}
    mount(page, LiveRun(LIVE | empty))
    assert "0 of ?" in page.locator("dl").inner_text()
    assert page.locator("svg").count() == 0
    assert page.locator("progress").get_attribute("value") is None


def test_a_playground_shows_streaming_answers_and_sends_typed_messages(page):
    from evalkit.widgets.playground import MOST_CHARACTERS, Playground

    changed = threading.Event()
    with serve(Script(answer=lambda body: HOSTILE + "x" * 10**6, law=Law())) as server:
        playground = Playground(ek.Endpoint(server.base_url, HOSTILE))
        playground.observe(lambda change: changed.set(), "past")
        playground._on_message({"do": "send", "text": HOSTILE, "system": HOSTILE})
        assert changed.wait(30)
        playground.chat.join()
    mount(page, playground)
    assert page.locator(".ek-answer").inner_text().count("x") >= MOST_CHARACTERS - len(HOSTILE)
    assert "more characters are not shown" in page.locator("article").inner_text()
    assert page.locator(".ek-playground img, .ek-playground script").count() == 0
    for name in ("cURL", "Python"):
        page.get_by_text(name, exact=True).first.click()
        page.locator(f"pre[aria-label='{name}']", has_text="onerror=").wait_for()  # it is filled after it was opened
    message = page.get_by_label("Message")
    message.fill("line one")
    message.press("Shift+Enter")
    message.type("line two")
    message.press("Enter")
    assert page.evaluate("sent") == [{"do": "send", "text": "line one\nline two", "system": ""}]
    assert page.get_by_role("button", name="Send").is_disabled()
    live = {**playground.past[0], "state": "streaming", "answer": "half", "latency": None, "tokens": [None, None]}
    page.evaluate("live => change('live', live)", {**live, "arrivals": [10, 20, 900], "reads": 3, "ttft": 10})
    assert page.locator(".ek-answer").last.inner_text() == "half"
    assert page.locator("figcaption").last.inner_text() == "first token 10.0 ms · 3 arrivals"
    lab.shot(page, "playground")
    page.get_by_role("button", name="Stop").click()
    assert page.evaluate("sent").pop() == {"do": "stop"}


def hostile_run(path, text=HOSTILE):
    asked = [talk("a<b>&", tags=(HOSTILE,)), talk("plain", system=HOSTILE)]
    turns = [T("a<b>&", n, score=n % 2, text=text, reason=text) for n in (1, 2, 3)]
    return write(path, [S([*turns, T("plain", 1, error="server", text=text)])], asked)


def test_transcripts_are_filtered_and_opened_in_a_frame_that_reaches_nothing(page, tmp_path):
    one, other = hostile_run(tmp_path / "one.evalkit"), hostile_run(tmp_path / "other.evalkit", "x" * 10**6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evalkit.widgets.display.widgets_available", lambda: True)
        browser = ek.Run(one).browse(ek.Run(other))
    assert "one: 3 answered turns, 1 failed; accuracy" in repr(browser)
    mount(page, browser, dark=True)
    frame = page.frame_locator("iframe")
    frame.get_by_label("wrong").check()
    frame.get_by_text("1 of 4 turns").wait_for()
    assert frame.locator(".row").inner_text().split()[:2] == ["a<b>&", "2"]
    frame.locator("#grid").press("Enter")
    frame.locator("dialog .dialogue").nth(1).wait_for()
    assert "onerror=" in frame.locator("dialog").inner_text()
    lab.shot(page, "transcripts")
    assert page.locator("iframe").get_attribute("sandbox") == "allow-scripts"
    assert (
        frame.locator("html").evaluate("() => { try { return parent.document.title } catch { return 'shut' } }")
        == "shut"
    )
    frame.get_by_role("button", name="close").click()


def test_transcripts_of_a_run_without_a_turn(page, tmp_path):
    from evalkit.widgets.browse import Browser

    mount(page, Browser([write(tmp_path / "empty.evalkit", [])], ""))
    page.frame_locator("iframe").get_by_text("0 of 0 turns").wait_for()


def labeller(path):
    from evalkit.judging.labelling import Labelling
    from evalkit.widgets.label import Labeller

    return Labeller(Labelling(path))


def reply(page, widget):
    """Carry what the page has sent to Python, and show what it replies."""
    message = page.evaluate("sent").pop()
    widget._on_message(message)
    page.evaluate("shown => change('shown', shown)", widget.shown)
    return message


@pytest.mark.parametrize("dark", [False, True])
def test_answers_are_labelled_by_keyboard_and_by_mouse(page, tmp_path, dark):
    widget = labeller(hostile_run(tmp_path / "one.evalkit"))
    mount(page, widget, dark=dark)
    status = page.get_by_role("status")
    assert status.inner_text() == "Answer 1 of 3 · 0 right, 0 wrong, 0 unsure"
    assert "onerror=" in page.get_by_role("group", name="Answer to label").inner_text()
    assert page.locator(".ek-label img, .ek-label script, .ek-label .ek-words svg").count() == 0
    page.keyboard.press("Tab")
    page.keyboard.press("n")
    page.keyboard.type("rwu z <b>")  # letters in the note are no keys
    page.keyboard.press("Enter")
    assert page.evaluate("sent") == []
    page.keyboard.press("w")
    page.keyboard.press("w")  # the page waits for the kernel
    assert page.evaluate("sent.length") == 1
    assert reply(page, widget) == {"do": "wrong", "labelled": 0, "note": "rwu z <b>"}
    assert page.get_by_label("Note").input_value() == ""
    assert status.inner_text() == "Answer 2 of 3 · 0 right, 1 wrong, 0 unsure"
    assert "assistant: </script>" in page.get_by_role("group", name="Before the question").inner_text()
    page.keyboard.press("Control+r")
    page.keyboard.press("z")
    reply(page, widget)
    assert page.get_by_label("Note").input_value() == "rwu z <b>"
    lab.shot(page, f"label-{'dark' if dark else 'light'}")
    page.get_by_role("button", name="Wrong (W)").click()
    reply(page, widget)
    for key in "ru":  # the keys still work after the mouse
        page.keyboard.press(key)
        reply(page, widget)
    assert status.inner_text() == "Done · 1 right, 1 wrong, 1 unsure"
    assert page.get_by_text("Every answer of the sample is labelled.").is_visible()
    assert page.get_by_role("button", name="Right (R)").is_disabled()
    assert [json.loads(line)["label"] for line in widget.path.read_text().splitlines()] == [
        "INCORRECT", "CORRECT", "UNSURE",
    ]  # fmt: skip


def test_a_label_that_is_not_saved_is_reported_and_its_answer_stays(page, tmp_path):
    widget = labeller(hostile_run(tmp_path / "one.evalkit"))
    mount(page, widget)
    labeller(tmp_path / "one.evalkit")._on_message({"do": "right", "labelled": 0})
    page.get_by_label("Note").fill("kept")
    page.get_by_role("button", name="Right (R)").click()
    page.get_by_text("Not saved yet: a running cell keeps the kernel busy").wait_for()
    reply(page, widget)
    assert page.get_by_role("alert").inner_text().startswith("the labels file was changed by something else")
    assert page.get_by_role("status").inner_text().startswith("Answer 1 of 3")
    assert page.get_by_label("Note").input_value() == "kept"


@pytest.mark.parametrize("message", [{}, {"do": "right"}, {"do": "right", "labelled": 7}, {"do": [], "labelled": 0},
                                     {"do": "undo", "labelled": 0}])  # fmt: skip
def test_a_message_about_another_answer_or_without_sense_labels_nothing(tmp_path, message):
    pytest.importorskip("anywidget")
    widget = labeller(hostile_run(tmp_path / "one.evalkit"))
    before = widget.shown
    widget._on_message(message)
    assert not widget.path.exists()
    assert widget.shown == before | {"replies": 1, "problem": widget.shown["problem"]}
    assert "one" not in json.dumps(widget.shown["problem"])
    widget.close()


# -- where nothing can be drawn


def test_a_run_without_widgets_prints_a_line_with_its_outcome(sums, tmp_path, capsys):
    with serve(Script(answer=Arithmetic())) as server:
        run = ek.evaluate(sums(2, 2), ek.Endpoint(server.base_url, "s"), out=tmp_path / "r.evalkit", watch="widget")
    assert run.outcome == "done"
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("r: 4 of 4 turns · 0 errors · ")
    assert printed.err.endswith(" · done\n")
    assert "r: 4 answered turns, 0 failed; accuracy 100.0% of 4" in repr(run.browse())
    assert "playground for s at http" in repr(ek.Endpoint(server.base_url, "s").playground())


def test_a_watcher_that_returns_true_stops_the_run(sums, tmp_path):
    out = tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=20))) as server:
        endpoint = ek.Endpoint(server.base_url, "s")
        run = ek.evaluate(sums(60, 1), endpoint, out=out, concurrency=2, watch=lambda progress: progress.answered > 0)
        assert run.outcome == "stopped"
        assert 0 < len(run.turns()) < 60
        assert ek.resume(out).outcome == "done"


def test_an_unknown_watch_is_refused_before_a_file_is_created(sums, tmp_path):
    with pytest.raises(ek.SettingsError, match="watch is 'window'"):
        ek.evaluate(sums(), ek.Endpoint("http://127.0.0.1:9", "m"), out=tmp_path / "r.evalkit", watch="window")
    assert not (tmp_path / "r.evalkit").exists()


def test_browse_needs_a_run():
    with pytest.raises(ek.SettingsError):
        ek.browse()


class Bell:
    """Notes that it was pressed."""

    def __init__(self, heard):
        self.heard = heard

    def press(self):
        self.heard.append(1)


def test_a_button_works_until_it_is_unregistered():
    heard = []
    bell = Bell(heard)
    button_id = button_comm.register_button(bell.press)
    for data in ({"button_id": button_id}, {"button_id": "another"}, {}):
        button_comm._on_press(None, {"content": {"data": data}})
    button_comm.unregister_button(button_id)
    button_comm._on_press(None, {"content": {"data": {"button_id": button_id}}})
    assert heard == [1]


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("kind", ["browser", "playground"])
def test_a_widget_without_references_is_freed(tmp_path, kind, shown):
    pytest.importorskip("anywidget")
    from ipywidgets.widgets import widget as ipywidget

    from evalkit.widgets.browse import Browser
    from evalkit.widgets.playground import Playground

    path = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])])
    said(path, endpoint={"model": "m", "base_url": "http://127.0.0.1:9", "params": {}})
    gc.collect()  # what earlier tests have left
    known, buttons = len(ipywidget._instances), len(button_comm._buttons)
    kept = []
    for _ in range(3):
        widget = Browser([path], "x") if kind == "browser" else Playground(ek.Endpoint("http://127.0.0.1:9", "m"))
        held = ipywidget._instances[widget.model_id]  # by it a page that is loaded again finds it
        assert held.model_id == widget.model_id
        if shown:
            widget._repr_mimebundle_()
        kept.append(weakref.ref(widget))
        if kind == "playground" and shown:  # its page still wants answers
            del widget
            gc.collect()
            kept[-1]().close()
            gc.collect()
        else:
            del widget
    gc.collect()
    assert [ref() for ref in kept] == [None] * 3
    layouts = 3 if shown and kind == "browser" else 0  # those of what a page still shows
    assert (len(ipywidget._instances), len(button_comm._buttons)) == (known + layouts, buttons)


@pytest.mark.parametrize("shown", [False, True])
def test_a_displayed_widget_stays_on_its_page_when_it_is_freed(tmp_path, monkeypatch, shown):
    pytest.importorskip("anywidget")
    from ipywidgets.widgets import widget as ipywidget

    from evalkit.widgets.browse import Browser

    path = write(tmp_path / "r.evalkit", [S([])])
    said(path, endpoint={"model": "m", "base_url": "http://127.0.0.1:9", "params": {}})
    browser, closed = Browser([path], "x"), []
    monkeypatch.setattr(browser.comm, "publish_msg", lambda kind, **_: closed.append(kind))
    if shown:
        browser._repr_mimebundle_()
    name = browser.model_id
    browser.comm.handle_msg({"content": {"data": {"method": "request_state"}}})  # it is heard while it is there
    assert closed == ["comm_msg"]
    comm = browser.comm
    del browser
    gc.collect()
    comm.handle_msg({"content": {"data": {"method": "request_state"}}})
    assert closed == ["comm_msg"] + ["comm_close"] * (not shown)
    assert name not in ipywidget._instances


def test_a_notebook_executed_without_a_browser_has_the_outcome_as_text(sums, tmp_path):
    if reason := lab.missing():
        pytest.skip(reason)
    with serve(Script(answer=Arithmetic()), process=True) as server:
        cells = (
            f"import evalkit as ek\nendpoint = ek.Endpoint({server.base_url!r}, 's')",
            f"run = ek.evaluate({str(sums(2, 2))!r}, endpoint, out='r.evalkit', watch='widget')",
            "run.browse()",
            "endpoint.playground()",
        )
        path = lab.notebook(tmp_path / "n.ipynb", *cells)
        command = [sys.executable, "-m", "jupyter", "execute", "--inplace", str(path)]
        subprocess.run(command, check=True, capture_output=True, env=lab.environment(tmp_path), cwd=tmp_path)
    outputs = [cell["outputs"] for cell in json.loads(path.read_text())["cells"]]
    texts = ["".join(output["data"]["text/plain"]) for (output,) in outputs[1:]]
    assert texts[0].startswith("r: 4 of 4 turns · 0 errors")
    assert texts[0].endswith(" · done")
    assert texts[1].startswith("r: 4 answered turns")
    assert texts[2].startswith("playground for s at http")
