"""Transcripts in a real browser: code, mathematics, calls and marks are set apart, and every text stays text."""

import json
import random
import time

import pytest
from browser import AXE, Visit, chromium
from hostile import PAYLOADS
from runfiles import S, T, endpoint, write

from evalkit.conversation import Conversation, Message, ToolCall, Turn
from evalkit.report.html_report import report
from evalkit.runfile.store import RunFile

CODE = (
    "Here:\n\n```python\ndef f(a):\n    return '" + "x" * 200 + "'\n```\n\nCall `f(1)`; $a \\cdot b$ costs $5 and $6."
)
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYPhfDwAChAGA60e6kgAAAABJRU5E"
PNG += "rkJggg=="
CALLS = (ToolCall("weather", '{"city":"Oslo","days":[1,2]}', "1"), ToolCall("weather", '{"n": 1.10}', "2"))


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser):
    opened = Visit(browser.new_page())
    yield opened
    assert opened.fired == 0
    assert opened.complaints == []
    opened.page.close()


@pytest.fixture(scope="module")
def script(browser, folder):
    """A page whose functions can be called."""
    visit = Visit(browser.new_page())
    yield opened(visit, folder / "one.html")
    assert (visit.fired, visit.complaints) == (0, [])
    visit.page.close()


def exchange(calls, *results):
    messages = [{"role": "assistant", "content": None, "tool_calls": [call.to_json() for call in calls]}]
    messages += [
        {"role": "tool", "content": result, "tool_call_id": call.id, "name": call.name}
        for call, result in zip(calls, results, strict=False)
    ]
    return json.dumps(messages)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report of one run, and of two with different answers."""
    folder = tmp_path_factory.mktemp("transcripts")
    picture = {"type": "image_url", "image_url": {"url": PNG}}
    turns = (Turn("sum?", 276), Turn("code?"), Turn("weather?", "rain"), Turn("", parts=(picture,)))
    context = (Message("user", "Hello"), Message("assistant", None, (ToolCall("greet", "{}", "x"),)))
    talks = [Conversation("a", turns, context=context, system="Be\nbrief.")]
    files = []
    for name, answer, code in (
        ("first", "12 · 23 is **266**.", CODE),
        ("second", "12 · 23 is **276**.", CODE + " Yes."),
    ):
        done = [
            T("a", 1, text=answer, score=float("276" in answer), extracted=int(answer[-6:-3]), reasoning="hm " * 9),
            T("a", 2, text=code), T("a", 3, text="It rains.", calls=CALLS), T("a", 4, text="a dot"),
        ]  # fmt: skip
        file = endpoint(write(folder / f"{name}.evalkit", [S(done)], talks))
        with RunFile.open(file) as run, run.connection as connection:
            results = exchange(CALLS, '{"sky":"rain"}')
            connection.execute("UPDATE turn SET exchange = ? WHERE turn = 3", (results,))
        files.append(file)
    report(files[:1], folder / "one.html")
    report(files, folder / "two.html")
    return folder


def opened(visit, path, conversation="a"):
    visit.page.goto(path.as_uri())
    visit.page.wait_for_selector("#browser:not([aria-busy])")
    visit.page.evaluate("id => openConversation(id, 1, 1)", conversation)
    return visit.page


SHOWN = """([text, marks]) => {
  const box = document.createElement("div"), began = performance.now();
  box.append(...readable(text, marks));
  const tags = [...box.querySelectorAll("*")].map((each) => each.tagName.toLowerCase());
  const texts = (name) => [...box.querySelectorAll(name)].map((each) => each.textContent);
  return { text: box.textContent, expected: visible(text), tags, block: texts("code.block"), math: texts(".math"),
    code: texts("code:not(.block)"), marks: texts("mark"), ms: performance.now() - began };
}"""


def readable(page, text, marks=()):
    return page.evaluate(SHOWN, [text, list(marks)])


@pytest.mark.parametrize(
    ("text", "block", "code", "math"),
    [
        ("plain", [], [], []),
        ("a\n```py\nx\n```\nb", ["```py\nx\n```\n"], [], []),
        ("```\nx", ["```\nx"], [], []),  # cut off
        ("~~~\n```\n~~~", ["~~~\n```\n~~~"], [], []),
        ("````\n```\n````\n", ["````\n```\n````\n"], [], []),
        ("```\na\n```\n```\nb\n```", ["```\na\n```\n", "```\nb\n```"], [], []),
        ("a ``` b", [], [], []),
        ("use `a` and ``b`c``", [], ["`a`", "``b`c``"], []),
        ("`$x$`", [], ["`$x$`"], []),
        ("$5 and $6", [], [], []),
        ("US$5, C$6", [], [], []),
        (r"$x^2$ and \(y\) and \[ z \] and $$w$$", [], [], ["$x^2$", r"\(y\)", r"\[ z \]", "$$w$$"]),
        ("\\[\nx[1]\n\\]", [], [], ["\\[\nx[1]\n\\]"]),
        (r"so \boxed{\frac{1}{2}}.", [], [], [r"\boxed{\frac{1}{2}}"]),
        (r"\$5 and \$6", [], [], []),
    ],
)
def test_code_and_mathematics_are_set_apart_and_no_character_is_lost(script, text, block, code, math):
    found = readable(script, text)
    assert (found["block"], found["code"], found["math"]) == (block, code, math)
    assert found["text"] == text


FORMS = ("{}", "```{0}\n{0}\n```\n{0}", "`{}`", "$${}$$", "\\[{}\\]", "\\boxed{{{}}}", "a\n~~~\n{}", "$x{}y$")


def test_attacks_in_every_form_stay_text(script):
    for form in FORMS:
        for payload in PAYLOADS:
            text = form.format(payload)
            found = readable(script, text, [[1, 5, "extracted", payload], [3, 9, "difference", "x"]])
            assert found["text"] == found["expected"]
            assert set(found["tags"]) <= {"code", "span", "mark"}


def test_any_text_keeps_its_characters_and_its_marks(script):
    chance = random.Random(3)
    for _ in range(300):
        text = "".join(chance.choices("``~\\$[](){}ab 1\n\x00\u202e\U0001f600", k=chance.randrange(60)))
        length = len(text.encode("utf-16-le")) // 2
        first, last = sorted(chance.choices(range(length + 1), k=2))
        found = readable(script, text, [[first, last, "extracted", "t"]])
        assert found["text"] == found["expected"]
        units = found["expected"].encode("utf-16-le", "surrogatepass")
        assert "".join(found["marks"]) == units[2 * first : 2 * last].decode("utf-16-le", "surrogatepass")


@pytest.mark.parametrize("piece", ["`", "``` ", "\n```\n", "$", "$a", "$$", "\\[", "\\(", "\\boxed{", "~~~\n", "` `` "])
def test_no_text_takes_long(script, piece):
    found = readable(script, piece * (20_000 // len(piece)))
    assert found["text"] == found["expected"]
    assert found["ms"] < 2_000


def test_a_megabyte_of_text_is_shown_plainly(script):
    began = time.monotonic()
    found = readable(script, "`a` $b$ " * 125_000)
    assert (found["tags"], len(found["text"])) == ([], 1_000_000)
    assert time.monotonic() - began < 20


def test_what_was_extracted_is_marked_with_the_wrong_part_of_a_number(visit, folder):
    article = opened(visit, folder / "one.html").locator("dialog article").first
    assert article.locator("mark").all_inner_texts() == ["2", "6", "6"]
    assert article.locator("mark.differs").all_inner_texts() == ["6"]
    assert "differs from the target" in article.locator("mark.differs").get_attribute("title")
    assert article.locator(".assistant .words").inner_text() == "12 · 23 is **266**."


def test_two_runs_are_side_by_side_with_the_first_difference_marked(visit, folder):
    page = opened(visit, folder / "two.html")
    assert page.locator("mark.difference").all_text_contents() == [
        *("**", "2", "6", "6", "**."),
        *("**", "276", "**."),
        "Yes.",
    ]
    tops = page.evaluate("[...document.querySelectorAll('article')].map((each) => each.getBoundingClientRect().top)")
    assert tops[:4] == tops[4:]  # turns with the same number begin at the same height
    button = page.locator("#difference")
    assert button.inner_text() == "first difference: turn 1"
    button.click()
    assert page.locator("dialog h3").all_inner_texts() == ["A: primary", "B: primary"]
    page.evaluate("document.querySelector('dialog').close()")
    page = opened(visit, folder / "one.html")
    assert not page.locator("#difference").is_visible()


def test_calls_are_laid_out_with_their_results(visit, folder):
    page = opened(visit, folder / "one.html")
    assert page.locator(".opening .call code").inner_text() == "greet"
    calls = page.locator("article[data-turn='3'] .call")
    assert calls.locator("summary code").all_inner_texts() == ["weather", "weather"]
    arguments = calls.locator("pre[aria-label=arguments]").all_inner_texts()
    assert arguments == ['{\n  "city": "Oslo",\n  "days": [\n    1,\n    2\n  ]\n}', '{"n": 1.10}']  # 1.10 is not 1.1
    assert calls.locator("pre[aria-label=result]").all_inner_texts() == ['{\n  "sky": "rain"\n}']


def test_reasoning_is_folded_and_pictures_are_shown(visit, folder):
    page = opened(visit, folder / "one.html")
    assert page.locator("article .reasoning").count() == 1
    assert not page.locator("article .reasoning").is_visible()
    page.get_by_text("reasoning, 27 characters").click()
    assert page.locator("article .reasoning").is_visible()
    assert page.locator("article img").get_attribute("src") == PNG


def test_attacks_in_calls_results_and_marks_stay_text(visit, tmp_path):
    talks, done, calls = [], [], []
    for number, payload in enumerate(PAYLOADS):
        talks.append(Conversation(f"c{number}", (Turn(f"```\n{payload}", payload, assistant=payload),)))
        call = ToolCall(payload, payload, payload)
        calls.append((exchange([call], payload), number))
        done.append(
            T(f"c{number}", 1, text=f"`{payload}`", score=0.0, extracted=payload, reasoning=payload, calls=(call,))
        )
    file = endpoint(write(tmp_path / "r.evalkit", [S(done)], talks))
    with RunFile.open(file) as run, run.connection as connection:
        connection.executemany("UPDATE turn SET exchange = ? WHERE conversation = ?", calls)
        connection.execute('UPDATE run SET settings = json_patch(settings, \'{"history": "golden"}\')')
    report([file, file], tmp_path / "r.html")
    for number, payload in enumerate(PAYLOADS):
        page = opened(visit, tmp_path / "r.html") if not number else visit.page
        page.evaluate("id => openConversation(id, 1, 1)", f"c{number}")
        seen = "".join(chr(0x2400 + ord(each)) if each < " " else each for each in payload)
        for place in (
            ".call code",
            "pre[aria-label=arguments]",
            "pre[aria-label=result]",
            ".golden .words",
            ".reasoning .words",
        ):
            assert page.locator(f"article {place}").first.text_content() == seen
    assert visit.asked == [(tmp_path / "r.html").as_uri()]


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("width", [390, 1_280])
def test_an_open_transcript_fits_its_page(visit, folder, name, width):
    visit.page.set_viewport_size({"width": width, "height": 800})
    page = opened(visit, folder / f"{name}.html")
    for box in ("document.documentElement", "document.querySelector('dialog')", "document.querySelector('#dialogues')"):
        assert page.evaluate(f"{box}.scrollWidth <= {box}.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_transcript_has_no_serious_accessibility_problem(visit, folder, scheme):
    if not AXE.exists():
        pytest.skip(f"needs axe-core: npm install --prefix {AXE.parents[2]} axe-core")
    visit.page.emulate_media(color_scheme=scheme)
    page = opened(visit, folder / "two.html")
    page.evaluate("for (const each of document.querySelectorAll('dialog details')) each.open = true")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run('dialog')")
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]] == []


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("It is 35.", "It is 36.", ["35.", "36."]),
        ("It is 35", "It is 35 or 36", ["", "or"]),
        ("It is 35", "It is 350", ["35", "350"]),
        ("a  b", "a b", ["b", "b"]),
        ("", "b", ["", "b"]),
        ("same", "Same", ["same", "Same"]),
        ("\U0001f600 a", "\U0001f601 a", ["\U0001f600", "\U0001f601"]),
    ],
)
def test_the_first_difference_is_a_whole_word(script, first, second, words):
    found = script.evaluate(
        "texts => texts.map((text) => text.slice(...wordFrom(text, startOfDifference(...texts))))", [first, second]
    )
    assert found == words
