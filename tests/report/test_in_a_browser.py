"""The report as its reader has it: in a real browser, by pointer and keyboard, with whatever strangers wrote in it."""

import ast
import io
import json
import re
import shlex
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from browser import AXE, Visit, chromium, until
from commands import evalkit
from hostile import PAYLOADS
from pages import EMPTY_CHART
from PIL import Image
from recording_server import recording
from runfiles import S, T, endpoint, talk, write

import evalkit as ek
from evalkit.conversation import Conversation, Message, ToolCall, Turn, with_names
from evalkit.record import NO_RESULT, with_call_ids
from evalkit.report import charts
from evalkit.report.html_report import report
from evalkit.runfile.store import RunFile


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser):
    page = browser.new_page()
    yield Visit(page)
    page.close()


def shown(visit, path, fragment=""):
    visit.page.goto(path.as_uri() + fragment)
    visit.page.wait_for_selector("#browser:not([aria-busy])")
    return visit.page


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A report of two runs: 30 conversations of two turns, of which the second run has others right."""
    folder = tmp_path_factory.mktemp("report")
    talks = [talk(f"c{n:02}", (1, 2), tags=("even" if n % 2 == 0 else "odd",)) for n in range(30)]
    files = []
    for name, wrong in (("first", 3), ("second", 4)):
        turns = [
            T(f"c{n:02}", t, latency_ms=100.0 + n, score=float(n % wrong > 0), text=f"{name} answer {n}, {t}", tokens=5)
            for n in range(30) for t in (1, 2)
        ]  # fmt: skip
        turns[-1] = T("c29", 2, error="server")
        files.append(endpoint(write(folder / f"{name}.evalkit", [S(turns)], talks)))
    more = [folder / f"more{n}.evalkit" for n in range(3)]
    for path in more:
        shutil.copy(files[0], path)
    report(files, folder / "two.html")
    report(files[:1], folder / "one.html")
    with pytest.MonkeyPatch.context() as patch:  # its charts are those of the others
        patch.setattr(charts, "_data_url", lambda chart: EMPTY_CHART)
        report([*files, *more], folder / "five.html")
    return folder


def rows(page):
    return page.locator("#space [role=row]")


def test_the_list_is_filtered_searched_and_sorted(visit, plain):
    page = shown(visit, plain / "one.html")
    assert page.inner_text("#count") == "60 of 60 turns"
    page.check("#statuses input[value=w]")
    assert page.inner_text("#count") == "20 of 60 turns"
    page.select_option("#tag", "odd")
    page.select_option("#turn", "2")
    assert page.inner_text("#count") == "5 of 60 turns"
    page.uncheck("#statuses input[value=w]")
    page.check("#statuses input[value=e]")
    assert page.inner_text("#count") == "1 of 60 turns"
    assert "! failed" in rows(page).first.inner_text()
    page.fill("#search", "no such words")
    page.wait_for_selector("#nothing:not([hidden])")
    page.fill("#search", "")
    page.uncheck("#statuses input[value=e]")
    page.select_option("#tag", "")
    page.fill("#search", "ANSWER 17, 2")
    until(lambda: page.inner_text("#count") == "1 of 60 turns")
    page.fill("#search", "")
    until(lambda: page.inner_text("#count") == "30 of 60 turns")
    page.click("button[data-sort=latency]")
    assert page.get_attribute("[role=columnheader]:has(button[data-sort=latency])", "aria-sort") == "descending"
    assert "128 ms" in rows(page).first.inner_text()  # that of the failed turn is missing
    page.click("button[data-sort=latency]")
    assert visit.complaints == []
    assert visit.asked == [(plain / "one.html").as_uri()]


@pytest.mark.parametrize("name", ["latency", "ttft", "score"])
def test_missing_values_are_last_in_both_sort_directions(visit, tmp_path, name):
    turns = [T(f"c{n}", 1, latency_ms=100.0 + n, ttft_ms=50.0 + n, score=n % 2.0) for n in range(6)]
    turns += [T(f"lost{n}", 1, error="server", ttft_ms=None, latency_ms=None) for n in range(3)]
    path = endpoint(write(tmp_path / "r.evalkit", [S(turns)], [talk(turn.conversation, (1,)) for turn in turns]))
    report([path], tmp_path / "r.html")
    page = shown(visit, tmp_path / "r.html")
    for _ in ("falling", "rising"):
        page.click(f"button[data-sort={name}]")
        ids = [text.split()[0] for text in rows(page).all_inner_texts()]
        assert ids[-3:] == ["lost0", "lost1", "lost2"]
        assert sorted(ids[:-3]) == [f"c{n}" for n in range(6)]


def test_a_conversation_is_opened_read_and_closed_by_the_keyboard_alone(visit, plain):
    page = shown(visit, plain / "one.html")
    page.focus("#grid")
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector("dialog[open]")
    assert page.inner_text("#title") == "c01"
    assert page.locator("#dialogues article").count() == 2
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    assert page.evaluate("document.activeElement.id") == "grid"
    page.keyboard.press("End")
    assert page.get_attribute("#grid", "aria-activedescendant") == "row-59"
    assert page.locator("#row-59").is_visible()
    assert rows(page).count() < 60  # only what can be seen is there
    assert visit.complaints == []


def test_two_runs_are_side_by_side_and_can_be_filtered_by_flips(visit, plain):
    page = shown(visit, plain / "two.html")
    assert page.inner_text("h1") == "first (A) and second (B) on a dataset without a name"
    page.check("#flipped")
    # of 30, every third is wrong in the first and every fourth in the second run, every twelfth in both
    flipped = sum((n % 3 == 0) != (n % 4 == 0) for n in range(30) for _ in range(2))
    until(lambda: page.inner_text("#count") == f"{flipped} of 60 turns")
    rows(page).first.click()
    page.wait_for_selector("dialog[open]")
    text = page.inner_text("#dialogues")
    assert "first answer 3, 1" in text
    assert "second answer 3, 1" in text
    page.click("#close")
    page.select_option("#run", "1")
    until(lambda: "second answer" in page.inner_text("#space"))
    assert visit.complaints == []


def test_a_link_opens_a_conversation(visit, plain):
    page = shown(visit, plain / "one.html", "#run=0&conversation=c07&repeat=1")
    page.wait_for_selector("dialog[open]")
    assert page.inner_text("#title") == "c07"


class _Asked(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


def test_the_curl_command_sends_the_same_request_whatever_text_it_has(visit, tmp_path):
    nasty = 'It\'s $(touch hacked) `touch hacked` "quoted" \\ back\nline ! ; && <&>'
    server = HTTPServer(("127.0.0.1", 0), _Asked)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    turns = (Turn(nasty, 1, assistant="gold"), Turn("And then?", 2))
    conversation = Conversation("c", turns, system=nasty, params={"top_p": 0.5})
    file = write(tmp_path / "r.evalkit", [S([T("c", 1, text=nasty), T("c", 2)])], [conversation])
    endpoint(file, base_url=f"http://127.0.0.1:{server.server_port}/v1", params={"temperature": 0})
    report([file], tmp_path / "r.html")
    page = shown(visit, tmp_path / "r.html")
    rows(page).nth(1).click()
    command = curl(page, 2)
    subprocess.run(["bash", "-c", command], check=True, cwd=tmp_path, capture_output=True)
    server.shutdown()
    server.server_close()
    assert not (tmp_path / "hacked").exists()
    assert server.asked == [(
        "/v1/chat/completions",
        {
            "model": "tiny",
            "messages": [
                {"role": "system", "content": nasty}, {"role": "user", "content": nasty},
                {"role": "assistant", "content": nasty}, {"role": "user", "content": "And then?"},
            ],
            "stream": True, "stream_options": {"include_usage": True}, "temperature": 0, "top_p": 0.5,
        },
    )]  # fmt: skip


def curl(page, turn, form="cURL"):
    """The command or program of a turn of the conversation that is open."""
    article = page.locator(f"dialog article[data-turn='{turn}']")
    article.locator("summary", has_text=form).click()
    return article.get_by_label(form, exact=True).inner_text()  # it is there once the click is done


HOSTILE = (
    'it\'s `id` $(touch owned) \\ "q" """ {x} %s \r\n\t </script><img src=x onerror="alert(1)"> \u202e\x00\u2028 🙂'
)


def test_curl_and_python_of_a_turn_are_those_that_evalkit_curl_prints(visit, tmp_path):
    row = {"id": "c", "system": HOSTILE, "turns": [{"user": HOSTILE}, {"user": "again"}], "params": {"stop": ["\n"]}}
    (tmp_path / "d.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with recording() as server:
        server.answers = [HOSTILE]
        target = ek.Endpoint(server.base_url, "m", params={"temperature": 0, "top_k": 3})
        ek.evaluate(tmp_path / "d.jsonl", target, out=tmp_path / "r.evalkit", seed=3)
    report([tmp_path / "r.evalkit"], tmp_path / "r.html")
    page = shown(visit, tmp_path / "r.html")
    page.evaluate("openConversation('c', 1, 1)")
    for turn in (1, 2):
        printed = evalkit("curl", tmp_path / "r.evalkit", "c", turn, "--python").stdout
        assert curl(page, turn, "Python") == printed.removesuffix("\n")
        compile(printed, "program", "exec")
    assert HOSTILE in ast.literal_eval(re.search(r"(?ms)messages=(\[.*?^    \])", printed)[1])[1].values()
    assert (visit.complaints, visit.fired) == ([], 0)


def test_the_text_is_copied_without_having_been_unfolded(visit, plain):
    page = shown(visit, plain / "two.html")
    page.evaluate("openConversation('c00', 1, 1)")
    page.evaluate("navigator.clipboard.writeText = (text) => { window.copied = text; }")
    page.evaluate("document.querySelectorAll('dialog article button').forEach((button) => button.click())")
    until(lambda: page.evaluate("window.copied"))
    assert "answer = client.chat.completions.create(" in page.evaluate("window.copied")
    assert all(text for text in page.locator("dialog article details pre").all_text_contents())


UNSEEN = (
    "\u202e\u202d\u2066\x7f\x80\x85\x9b\u200b\u200d\u2060\ufeff\xad\xa0\u2028\u3000\u061c\U000e0041\U000f0000\x00\x1b"
)


def test_invisible_characters_are_escaped_in_the_curl_command(visit, tmp_path):
    talk = Conversation("c", (Turn(f"a{UNSEEN}b"),), system=UNSEEN, params={UNSEEN: UNSEEN})
    file = endpoint(
        write(tmp_path / "r.evalkit", [S([T("c", 1)])], [talk]),
        base_url="http://a/" + UNSEEN.replace("\0", "") + "\n/v1",
    )
    report([file], tmp_path / "r.html")
    page = shown(visit, tmp_path / "r.html")
    page.evaluate("openConversation('c', 1, 1)")
    command = curl(page, 1)
    assert all(character.isprintable() or character == "\n" for character in command)
    body = json.loads(command.partition("--data-raw '")[2].removesuffix("'"))
    assert [message["content"] for message in body["messages"]] == [UNSEEN, f"a{UNSEEN}b"]
    assert body[UNSEEN] == UNSEEN
    assert "%E2%80%AE" in command.partition("\n")[0]


def test_the_curl_command_has_earlier_turns_as_the_model_saw_them_not_as_shown(visit, tmp_path):
    calls = (ToolCall("add", '{"a": 1}', "call_a"), ToolCall("add", "{}"))
    context = (
        Message("user", "Hello"),
        Message("assistant", None, (ToolCall("add", "{}", "x"),)),
        Message("tool", "2", (), "x"),
    )
    tools = ({"type": "function", "function": {"name": "add"}},)
    turns = tuple(Turn(f"question {n}", 1) for n in range(1, 7))
    asked = Conversation("c", turns, context=context, tools=tools)
    done = [
        *(T("c", 1, text="", calls=calls), T("c", 2, text=""), T("c", 3, text="")),
        *(T("c", 4, text="x" * 20_001), T("c", 5), T("c", 6, error="server")),
    ]
    file = endpoint(write(tmp_path / "r.evalkit", [S(done)], [asked]))
    with RunFile.open(file) as run, run.connection as connection:
        connection.execute("UPDATE turn SET refusal = 'I will not' WHERE turn = 2")
        connection.execute("UPDATE turn SET reasoning = 'hm' WHERE turn = 3")
        connection.execute("UPDATE turn SET attempts = 0 WHERE turn = 6")
    report([file], tmp_path / "r.html")
    page = shown(visit, tmp_path / "r.html")
    rows(page).first.click()
    body = json.loads(curl(page, 4).partition("--data-raw '")[2].removesuffix("'"))
    assert body["tools"] == list(tools)
    assert body["messages"] == [
        *(message.to_json() for message in with_names(context)),
        {"role": "user", "content": "question 1"},
        {"role": "assistant", "content": None, "tool_calls": [call.to_json() for call in with_call_ids(calls, 1, 0)]},
        {"role": "tool", "content": NO_RESULT, "tool_call_id": "call_a", "name": "add"},
        {"role": "tool", "content": NO_RESULT, "tool_call_id": "call_1_0_1", "name": "add"},
        {"role": "user", "content": "question 2"},
        {"role": "assistant", "content": "I will not"},
        {"role": "user", "content": "question 3"},
        {"role": "assistant", "content": ""},  # reasoning is shown, and not sent
        {"role": "user", "content": "question 4"},
    ]
    assert curl(page, 5).startswith("# not available: an earlier answer is too long")
    assert page.locator("dialog article[data-turn='6'] summary").count() == 0  # it was never asked
    assert visit.complaints == []


def hostile(path):
    """A run file in which every text that a stranger may write is one that attacks."""
    talks, turns = [], []
    for number, payload in enumerate(PAYLOADS):
        name = f"{number:02} {payload}"
        asked = (Turn(payload, payload, assistant=payload), Turn(payload, payload))
        talks.append(Conversation(name, asked, system=payload, tags=(payload,), meta={payload: payload}))
        turns.append(T(name, 1, text=payload, score=0.0, reason=payload, extracted=payload, scorer=payload))
        turns.append(T(name, 2, error="server"))
    file = endpoint(write(path, [S(turns)], talks), model=PAYLOADS[2], params={PAYLOADS[3]: PAYLOADS[4]})
    with RunFile.open(file) as run, run.connection as connection:
        connection.execute("UPDATE run SET name = ?", (PAYLOADS[1],))
        connection.execute("UPDATE turn SET error_message = ? WHERE status = 'error'", (PAYLOADS[2],))
        connection.execute("UPDATE session SET about = ?", (json.dumps({"versions": {PAYLOADS[2]: PAYLOADS[3]}}),))
    return file


def test_attacks_stay_text(visit, tmp_path, drawn_charts):
    report([hostile(tmp_path / "h.evalkit")], tmp_path / "h.html")
    page = shown(visit, tmp_path / "h.html")
    for number, payload in enumerate(PAYLOADS):
        page.evaluate("id => openConversation(id, 1, 1)", f"{number:02} {payload}")
        page.locator("dialog summary").first.click()
        seen = "".join(chr(0x2400 + ord(each)) if each < " " else each for each in payload)
        assert page.locator("dialog .assistant .words").first.text_content() == seen
        page.click("#close")
    page.fill("#search", "<img")
    page.wait_for_timeout(300)
    assert visit.fired == 0
    assert visit.complaints == []
    assert visit.asked == [(tmp_path / "h.html").as_uri()]


def test_the_attacks_are_real(browser, tmp_path):
    """Put into a page as markup most of them do fire; else the test above would prove nothing."""
    fired = 0
    for number, payload in enumerate(PAYLOADS[::2]):
        file = tmp_path / f"{number}.html"
        file.write_text(f"<!DOCTYPE html><title>x</title><p>{payload}</p>", encoding="utf-8")
        visit = Visit(browser.new_page())
        visit.page.goto(file.as_uri(), wait_until="commit")
        visit.page.wait_for_timeout(30)
        away = any("127.0.0.1:9" in url for url in visit.asked)
        fired += away or visit.fired > 0
        visit.page.close()
    assert fired >= 8


def test_the_page_has_no_serious_accessibility_problem(visit, plain):
    if not AXE.exists():
        pytest.skip(f"needs axe-core: npm install --prefix {AXE.parents[2]} axe-core")
    for scheme, width in (("light", 1280), ("dark", 390)):
        visit.page.emulate_media(color_scheme=scheme)
        visit.page.set_viewport_size({"width": width, "height": 800})
        page = shown(visit, plain / "two.html")
        page.evaluate(AXE.read_text(encoding="utf-8"))
        for opened in (False, True):
            if opened:
                rows(page).first.click()
                page.wait_for_selector("dialog[open]")
            found = page.evaluate("axe.run()")
            assert len(found["passes"]) > 15
            faults = [
                (each["id"], each["help"], [node["html"][:120] for node in each["nodes"][:3]])
                for each in found["violations"] if each["impact"] in ("serious", "critical")
            ]  # fmt: skip
            assert faults == []


@pytest.mark.parametrize("name", ["one", "two", "five"])
def test_nothing_is_wider_than_a_phone(visit, plain, name):
    visit.page.set_viewport_size({"width": 390, "height": 800})
    page = shown(visit, plain / f"{name}.html")
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wide)
    rows(page).first.click()
    page.wait_for_selector("dialog[open]")
    assert not page.evaluate(wide)
    box = page.locator("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_charts_follow_the_colour_scheme_of_the_page(visit, plain):
    corners = {}
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)
        page = shown(visit, plain / "one.html")
        picture = Image.open(io.BytesIO(page.locator("figure img").first.screenshot())).convert("L")
        corners[scheme] = picture.getpixel((8, 8)), picture.getextrema()
    assert corners["light"][0] > 250
    assert corners["dark"][0] < 40
    assert corners["dark"][1][1] > 200  # its letters are light


def test_runs_and_comparisons_of_a_long_report_are_opened_by_the_keyboard(visit, plain):
    page = shown(visit, plain / "five.html")
    assert page.locator("details[open]").count() == 0
    assert page.locator("table.leaderboard tbody tr").count() == 5
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("details[open] figure img")
    assert visit.complaints == []


def test_it_prints_without_its_interactive_parts(visit, plain, tmp_path):
    page = shown(visit, plain / "one.html")
    page.emulate_media(media="print")
    assert not page.locator("#browser").is_visible()
    assert page.locator("table").first.is_visible()
    assert page.pdf(path=str(tmp_path / "r.pdf")).startswith(b"%PDF")


ODD = {
    "no finished turn": [],
    "one turn": [T("a", 1, score=1.0)],
    "all failed": [T("a", 1, error="server"), T("b", 1, error="timeout")],
    "no times": [T("a", 1, ttft_ms=None, score=0.5)],
    "a million characters": [T("a", 1, text="0123456789" * 100_000, score=0.0)],
    "right to left": [
        T("\u0645\u062d\u0627\u062f\u062b\u0629", 1, text="\u0627\u0644\u062c\u0648\u0627\u0628 35", score=1.0)
    ],
    "emoji": [T("\U0001f469\u200d\U0001f680", 1, text="\U0001f44d\U0001f3fd 35", score=1.0)],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_runs_are_shown_and_say_what_is_missing(visit, tmp_path, name):
    file = endpoint(write(tmp_path / "r.evalkit", [S(ODD[name])]))
    report([file], tmp_path / "r.html")
    page = shown(visit, tmp_path / "r.html")
    assert page.inner_text("#count") == f"{len(ODD[name])} of {len(ODD[name])} turns"
    assert visit.complaints == []
    if ODD[name]:
        rows(page).first.click()
        page.wait_for_selector("dialog[open]")
        text = page.inner_text("dialog")
        assert ODD[name][0].conversation in text
        if name == "a million characters":
            assert "980,000 more characters are in the run file" in text


def test_two_hundred_tags_can_be_chosen_from(visit, tmp_path):
    talks = [talk(f"c{n}", (1,), tags=(f"tag {n:03}",)) for n in range(200)]
    file = endpoint(write(tmp_path / "r.evalkit", [S([T(f"c{n}", 1, score=1.0) for n in range(200)])], talks))
    report([file], tmp_path / "r.html")
    page = shown(visit, tmp_path / "r.html")
    assert page.locator("#tag option").count() == 201
    page.select_option("#tag", "tag 123")
    assert page.inner_text("#count") == "1 of 200 turns"


def test_a_picture_is_shown_from_the_page_alone_and_its_command_sends_it(visit, tmp_path):
    png = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYPhf"
    png += "DwAChAGA60e6kgAAAABJRU5ErkJggg=="
    facts = {"sha256": "0" * 64, "bytes": 68, "media_type": "image/png"}
    addresses = [png, "https://example.com/<img onerror=fire()>.png", "data:image/svg+xml;base64,PHN2Zy8+", "a'b.png"]
    parts = [{"type": "image_url", "image_url": {"url": address}} for address in addresses]
    parts[-1]["from_file"] = facts
    text = {"type": "text", "text": "<img src=x onerror=fire()>"}
    turns = (
        Turn("", parts=(text, *parts)),
        Turn("again"),
        Turn("", parts=({"type": "image_url", "image_url": png * 30_000},)),
    )
    file = endpoint(write(tmp_path / "r.evalkit", [S([T("c", n) for n in (1, 2, 3)])], [Conversation("c", turns)]))
    report([file], tmp_path / "r.html")
    page = shown(visit, tmp_path / "r.html")
    page.evaluate("openConversation('c', 1, 1)")
    assert page.locator("dialog img").count() == 1
    assert page.locator("dialog img").get_attribute("src") == png
    words = page.locator("dialog article").first.locator(".message.user .words").all_inner_texts()
    assert words[0] == text["text"]
    assert words[1:] == [
        "[image: PNG, 70 bytes]", f"[image: {addresses[1]}]", "[image: SVG+XML, 6 bytes]",
        "[image: a'b.png, PNG, 68 bytes]",
    ]  # fmt: skip
    comment, _, command = curl(page, 2).partition("\n")
    assert comment == '''# the run sent the content of this file: put it in place of its name: "a'b.png"'''
    (argument,) = shlex.split(command.partition("--data-raw ")[2])
    sent = json.loads(argument)["messages"][0]["content"]
    assert [part["image_url"]["url"] for part in sent[1:]] == addresses
    assert "from_file" not in argument
    assert curl(page, 3).startswith("# not available: an image or another part is too long")
    assert visit.fired == 0
    assert [asked for asked in visit.asked if not asked.startswith(("file:", "data:"))] == []
