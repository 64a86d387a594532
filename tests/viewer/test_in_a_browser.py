"""The page of ``evalkit view`` in a real browser: by pointer and keyboard, with whatever strangers wrote."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from browser import AXE, Visit, chromium, until
from comparing import said
from hostile import PAYLOADS
from runfiles import S, T, endpoint, talk, write

from evalkit.viewer.server import serving

SIZES = {390: "dark", 1280: "light", 1920: "dark"}  # colours do not depend on the width, nor layout on colours


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser):
    page = browser.new_page()
    yield Visit(page)
    page.close()


def run(folder, name, wrong, count=30, **more):
    turns = [
        T(f"c{n:03}", t, latency_ms=100.0 + n, score=float(n % wrong > 0), text=f"{name} answer {n}, {t}", tokens=5)
        for n in range(count) for t in (1, 2)
    ]  # fmt: skip
    turns[-1] = T(f"c{count - 1:03}", 2, error="server")
    talks = [talk(f"c{n:03}", (1, 2), tags=("even" if n % 2 == 0 else "odd",)) for n in range(count)]
    path = endpoint(write(folder / f"{name}.evalkit", [S(turns)], talks), **more)
    return said(path, dataset={"path": "data/sums.jsonl" if wrong < 5 else "other.jsonl"})


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    run(folder, "third", 5)
    run(folder, "second", 4, model="large")
    run(folder, "first", 3)
    (folder / "bad.evalkit").write_text("no run")
    with serving(folder) as server:
        yield server


def shown(visit, server, fragment=""):
    visit.page.goto(server.address + fragment)
    visit.page.wait_for_selector("#space [role=row] span:nth-child(7)")
    return visit.page


def choose(page, name):
    page.get_by_role("button", name=name, exact=True).click()
    until(lambda: page.inner_text("#listed") == f"Turns of {name}" and f"{name} answer" in page.inner_text("#space"))


def rows(page):
    return page.locator("#space [role=row]")


def test_runs_are_listed_and_filtered(visit, served):
    page = shown(visit, served)
    until(lambda: "…" not in page.inner_text("#runrows"))
    text = page.inner_text("#runrows")
    assert "66.1% (" in text
    assert "large" in text
    assert "is not a run file" in text
    page.fill("#runsearch", "LARGE")
    assert page.inner_text("#runcount").startswith("1 of 4 run files")
    assert page.locator("#runrows tr:visible").count() == 1
    page.fill("#runsearch", "")
    page.select_option("#dataset", "other.jsonl")
    assert page.locator("#runrows tr:visible").all_inner_texts()[0].split()[0] == "third"
    assert visit.complaints == []
    assert all(url.startswith(served.address) for url in visit.asked)


def test_turns_are_filtered_searched_and_sorted(visit, served):
    page = shown(visit, served)
    choose(page, "first")
    assert page.inner_text("#count") == "60 of 60 turns"
    for act, count in (
        (lambda: page.check("#statuses input[value=w]"), "20 of 60 turns"),
        (lambda: page.select_option("#tag", "odd"), "10 of 60 turns"),
        (lambda: page.select_option("#turn", "2"), "5 of 60 turns"),
        (lambda: page.fill("#search", "no such words"), "0 of 60 turns"),
        (lambda: page.fill("#search", "ANSWER 3, 2"), "1 of 60 turns"),
    ):
        act()
        until(lambda count=count: page.inner_text("#count") == count)
    page.fill("#search", "")
    for control in ("#tag", "#turn"):
        page.select_option(control, "")
    page.uncheck("#statuses input[value=w]")
    until(lambda: page.inner_text("#count") == "60 of 60 turns")
    page.click("#grid button[data-sort=latency]")
    until(lambda: "129 ms" in rows(page).first.inner_text())
    assert page.get_attribute("[role=columnheader]:has(button[data-sort=latency])", "aria-sort") == "descending"
    assert visit.complaints == []


def test_the_first_turns_do_not_wait_for_the_numbers_of_runs(visit, served):
    page = shown(visit, served)
    until(lambda: "…" not in page.inner_text("#runrows"))
    asked = [url.removeprefix(served.address).split("?")[0] for url in visit.asked]
    assert [what for what in asked if what in ("files", "turns", "labels", "lines")] == [
        "files",
        "turns",
        "labels",
        "lines",
    ]


def test_filters_stay_for_another_run_unless_it_lacks_the_tag(visit, tmp_path):
    run(tmp_path, "first", 3)
    other = [T(f"c{n:03}", 1, score=1.0, text=f"other answer {n}") for n in range(4)]
    write(tmp_path / "other.evalkit", [S(other)], [talk(f"c{n:03}", (1, 2)) for n in range(4)])
    with serving(tmp_path) as server:
        page = shown(visit, server, "#run=first.evalkit")
        page.select_option("#tag", "odd")
        page.select_option("#turn", "1")
        until(lambda: page.inner_text("#count") == "15 of 60 turns")
        choose(page, "other")
        until(lambda: page.inner_text("#count") == "4 of 4 turns")
        assert (page.input_value("#tag"), page.input_value("#turn")) == ("", "1")
    assert visit.complaints == []


def test_conversations_are_side_by_side_and_can_be_filtered_by_differing_scores(visit, served):
    page = shown(visit, served)
    choose(page, "first")
    assert not page.is_visible("#flipped")
    page.get_by_label("second.evalkit side by side").check()
    page.check("#flipped")
    # of 30, every third is wrong in the first and every fourth in the second run
    differ = sum((n % 3 == 0) != (n % 4 == 0) for n in range(30) for _ in range(2))
    until(lambda: page.inner_text("#count") == f"{differ} of 60 turns")
    rows(page).first.click()
    page.wait_for_selector("dialog[open]")
    text = page.inner_text("#dialogues")
    assert "A: first" in text
    assert "first answer 3, 1" in text
    assert "second answer 3, 1" in text
    address = page.url
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    assert page.evaluate("document.activeElement.id") == "grid"
    page.goto("about:blank")
    page.goto(address)  # the link shows the same again
    page.wait_for_selector("dialog[open]")
    assert "second answer 3, 1" in page.inner_text("#dialogues")
    assert visit.complaints == []


def test_a_conversation_that_another_run_lacks_is_said_to_be_missing(visit, tmp_path):
    write(tmp_path / "b.evalkit", [S([T("only", 1, score=1.0)])])
    write(tmp_path / "a.evalkit", [S([T("other", 1, score=1.0)])])
    with serving(tmp_path) as server:
        page = shown(visit, server, "#run=b.evalkit&beside=a.evalkit&conversation=only")
        page.wait_for_selector("dialog[open]")
        assert "does not have the conversation" in page.inner_text("#dialogues")
        page.click("#close")
        page.check("#flipped")
        page.wait_for_selector("#failure:not([hidden])")
        assert "no conversation in common" in page.inner_text("#failure")
    assert all("400" in complaint for complaint in visit.complaints)


def test_the_keyboard_alone_is_enough(visit, served):
    page = shown(visit, served, "#run=first.evalkit")
    page.focus("#grid")
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector("dialog[open]")
    assert page.inner_text("#title") == "c001"
    assert page.locator("#dialogues article").count() == 2
    page.keyboard.press("Escape")
    page.keyboard.press("End")
    until(lambda: page.get_attribute("#grid", "aria-activedescendant") == "row-59")
    assert page.locator("#row-59").is_visible()
    assert visit.complaints == []


def test_pieces_are_fetched_as_they_are_scrolled_to(visit, tmp_path):
    run(tmp_path, "long", 3, count=900)
    with serving(tmp_path) as server:
        page = shown(visit, server)
        assert sum("/turns?" in url for url in visit.asked) == 1
        page.focus("#grid")
        page.keyboard.press("End")
        until(lambda: "the server message" in page.inner_text("#row-1799"))
        assert sum("/turns?" in url for url in visit.asked) <= 3
        page.evaluate("page.grid.scrollTop = 500 * ROW")
        until(lambda: "long answer 251, 1" in page.inner_text("#space"))
        assert rows(page).count() < 60
    assert visit.complaints == []


def test_the_page_says_that_it_is_no_longer_served(visit, tmp_path):
    run(tmp_path, "first", 3)
    with serving(tmp_path) as server:
        page = shown(visit, server)
    page.check("#statuses input[value=w]")
    page.wait_for_selector("#failure:not([hidden])")
    assert "no longer served" in page.inner_text("#failure")


def test_what_strangers_wrote_stays_text(visit, tmp_path):
    folder = tmp_path / "<img src=x onerror=fire()>"
    folder.mkdir()
    turns, talks = [], []
    for n, payload in enumerate(PAYLOADS):
        name = f"{n}{payload}"
        turns.append(
            T(name, 1, text=payload, reasoning=payload, refusal=payload, score=0.0, reason=payload, extracted=payload)
        )
        turns.append(T(name, 2, error="server"))
        talks.append(talk(name, (payload, payload), system=payload, tags=(payload,)))
    name = "<img src=x onerror=fire()>"
    path = write(folder / f"{name}.evalkit", [S(turns)], talks)
    said(
        path,
        dataset={"path": f"data/{PAYLOADS[0]}"},
        endpoint={"model": PAYLOADS[3], "base_url": "http://127.0.0.1:9/v1"},
    )
    (folder / f"{PAYLOADS[7].replace('/', '')}.evalkit").write_text("no run")
    with serving(folder) as server:
        page = shown(visit, server, f"#run={name}.evalkit&beside={name}.evalkit")
        until(lambda: "…" not in page.inner_text("#runrows"))
        assert f"Runs in {folder}" in page.inner_text("#foldername")
        for payload in PAYLOADS:
            page.evaluate("([id]) => open({ id, repeat: 1, turn: 1 })", [f"{PAYLOADS.index(payload)}{payload}"])
            page.wait_for_selector("dialog[open]")
        page.wait_for_timeout(200)
        assert visit.fired == 0
        assert visit.complaints == []
        assert all(url.startswith(server.address) or url.startswith("data:") for url in visit.asked)


def test_a_page_of_another_site_reads_nothing(browser, served):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!DOCTYPE html><title>other</title>")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{other.server_port}/")
        for mode in ("cors", "no-cors"):
            script = "([url, mode]) => fetch(url, { mode }).then((answer) => answer.text(), () => 'refused')"
            assert page.evaluate(script, [f"{served.address}files", mode]) in ("refused", "")
        frame = """url => new Promise((done) => {
            const frame = document.createElement("iframe");
            frame.onload = () => done(frame.contentDocument === null);
            frame.src = url;
            document.body.append(frame);
        })"""
        assert page.evaluate(frame, served.address) is True
        assert "Runs" not in "".join(child.content() for child in page.frames[1:])
        page.close()
        other.shutdown()


@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: 'make check' installs it")
@pytest.mark.parametrize(("width", "scheme"), SIZES.items())
def test_axe_finds_nothing_and_nothing_overflows(browser, served, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page.goto(served.address + "#run=first.evalkit&beside=second.evalkit")
    page.wait_for_selector("#space [role=row] span:nth-child(7)")
    until(lambda: "…" not in page.inner_text("#runrows"))
    page.add_script_tag(path=str(AXE))
    for opened in (False, True):
        if opened:
            rows(page).first.click()
            page.wait_for_selector("dialog[open]")
        found = page.evaluate("axe.run()")["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
