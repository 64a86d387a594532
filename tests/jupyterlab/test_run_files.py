"""A real JupyterLab opens run files by double click: texts stay texts, files stay as they are, other files too."""

import contextlib
import hashlib
import http.client
import json
from urllib.parse import parse_qs, quote, urlsplit

import lab
import pytest
from hostile import PAYLOADS
from runfiles import S, T, write

import evalkit
from evalkit.jupyterlab import server_extension

pytestmark = [
    pytest.mark.skipif(lab.missing() is not None, reason=str(lab.missing())),
    pytest.mark.timeout(400),  # a busy machine needs minutes for what takes 20 s
]
TURNS = 2 + len(PAYLOADS)  # of run.evalkit
EXTENSION = lab.ROOT / "evalkit" / "jupyterlab" / "labextension"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the server must not show, and inside of it ``root`` with what it may."""
    folder = tmp_path_factory.mktemp("jupyterlab")
    root = folder / "root"
    (root / "äö & more").mkdir(parents=True)
    turns = [T("arithmetic", 1, text="It is 35.", score=1.0), T("arithmetic", 2, text="It is 12.", score=0.0)]
    write(folder / "outside.evalkit", [S(turns)])
    write(root / ".hidden.evalkit", [S(turns)])
    write(root / "äö & more" / "50% #1?.evalkit", [S(turns)])
    write(root / "run.evalkit", [S([*turns, *(T(f"c{n}", 1, text=text) for n, text in enumerate(PAYLOADS))])])
    (root / "broken.evalkit").write_bytes(b"SQLite format 3\0" + bytes(90))
    (root / "folder.evalkit").mkdir()
    (root / "plain.txt").write_text("just a text")
    (root / "run.evalkit.txt").write_text("notes on a run")
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with lab.jupyterlab(folder / "root") as address:
        yield address


@pytest.fixture(scope="module")
def page(address):
    with lab.browser() as browser:
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.set_default_timeout(lab.WAIT_MS)
        page.problems, page.requests = [], []
        page.expose_function("fire", lambda: page.problems.append("a text was run"))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda request: page.requests.append(request))
        page.goto(address.replace("/tree/{}", ""))
        yield page


def double_click(page, name):
    page.locator(".jp-DirListing-item", has=page.get_by_text(name, exact=True)).dblclick()


def transcripts(page, name):
    """The frame with the transcripts of a run file, opened by double click."""
    double_click(page, name)
    return page.frame_locator(f"iframe[title='Transcripts of {name}']")


def test_a_double_click_shows_the_transcripts_and_nothing_in_them_is_run(page):
    frame = transcripts(page, "run.evalkit")
    frame.get_by_text(f"{TURNS} of {TURNS} turns").wait_for()
    frame.locator(".row").nth(15).wait_for()  # as many as there is room for
    for payload in PAYLOADS[:5]:
        frame.get_by_role("gridcell").get_by_text(payload, exact=True).wait_for()
    frame.locator("#search").fill("It is 35.")
    frame.get_by_text(f"1 of {TURNS} turns").wait_for()
    frame.locator(".row").first.click()
    frame.get_by_role("dialog").get_by_text("It is 35.").first.wait_for()
    lab.shot(page, "jupyterlab-run-file")
    element = page.locator("iframe[title='Transcripts of run.evalkit']")
    assert element.get_attribute("sandbox") == "allow-scripts"
    assert element.evaluate("frame => frame.contentDocument") is None  # it has an origin of its own
    assert element.evaluate("frame => frame.clientHeight") > 700
    assert page.problems == []
    assert {urlsplit(request.url).hostname for request in page.requests} <= {"127.0.0.1", "", None}


def test_jupyterlab_reads_no_content_of_a_run_file_and_writes_none(page, folder):
    before = digest(folder / "root" / "run.evalkit")
    page.requests.clear()
    transcripts(page, "run.evalkit").get_by_text(f"of {TURNS} turns").wait_for()
    page.locator(".jp-DirListing-item", has=page.get_by_text("plain.txt", exact=True)).click()
    page.get_by_role("tab", name="run.evalkit").click()
    page.keyboard.press("Control+s")
    page.get_by_text("run.evalkit is read-only").first.wait_for()
    page.keyboard.press("Control+Shift+s")
    page.get_by_text("JupyterLab only reads run files.").wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Reload").click()
    transcripts(page, "run.evalkit").get_by_text(f"of {TURNS} turns").wait_for()
    of_the_file = [request for request in page.requests if "run.evalkit" in urlsplit(request.url).path]
    assert {request.method for request in of_the_file} == {"GET"}
    for request in of_the_file:
        asked = parse_qs(urlsplit(request.url).query)
        assert asked.get("content", ["0"]) == asked.get("hash", ["0"]) == ["0"], request.url
    assert digest(folder / "root" / "run.evalkit") == before
    assert list((folder / "root" / ".ipynb_checkpoints").glob("*")) == []


def test_what_is_open_is_open_again_when_the_page_is_loaded_again(page):
    transcripts(page, "run.evalkit").get_by_text(f"of {TURNS} turns").wait_for()
    page.wait_for_timeout(1_500)  # JupyterLab stores its layout a second after the last change
    page.reload()
    frame = page.frame_locator("iframe[title='Transcripts of run.evalkit']")
    frame.get_by_text(f"of {TURNS} turns").wait_for()


def test_a_file_that_is_no_run_file_says_so_and_other_files_open_as_before(page):
    double_click(page, "broken.evalkit")
    page.get_by_text("The transcripts cannot be shown: ").wait_for()
    for name, text in (("plain.txt", "just a text"), ("run.evalkit.txt", "notes on a run")):
        double_click(page, name)
        page.locator(".jp-FileEditor").get_by_text(text).wait_for()
    assert page.problems == []


def token(address):
    return parse_qs(urlsplit(address).query)["token"][0]


def get(address, path, **headers):
    """Status, headers and JSON of the server's answer for a path, which is sent as it is."""
    parts = urlsplit(address)
    with contextlib.closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    is_json = answer.getheader("Content-Type", "").startswith("application/json")
    return answer.status, answer.headers, json.loads(body) if is_json else None


def get_page(address, path):
    return get(address, f"/evalkit/transcripts/{path}", Authorization=f"token {token(address)}")


def test_any_name_of_a_run_file_is_found_and_its_page_is_never_one_of_jupyter(address):
    status, headers, body = get_page(address, quote("äö & more/50% #1?.evalkit"))
    assert status == 200
    assert body["page"].startswith("<!DOCTYPE html>")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("broken.evalkit", 400, "broken.evalkit"),
        ("plain.txt", 400, "is not a run file: run files are created by 'evalkit run' and end in .evalkit"),
        ("folder.evalkit", 400, "is a directory"),
        ("missing.evalkit", 404, "No such file"),
        (".hidden.evalkit", 404, "does not exist"),
        (".jupyter-of-the-test/runtime/jupyter_cookie_secret", 404, "does not exist"),
        ("../outside.evalkit", 404, "outside root"),
        ("%2e%2e/outside.evalkit", 404, "outside root"),
        ("..%2foutside.evalkit", 404, "outside root"),
        ("%C3%A4%C3%B6%20&%20more/../../outside.evalkit", 404, "outside root"),
        ("%2fetc/passwd", 404, "No such file"),
        ("run.evalkit%00.txt", 404, "not a valid path"),
        ("", 400, "is a directory"),
    ],
)
def test_the_server_shows_run_files_below_its_folder_and_nothing_else(address, path, status, message):
    answered, _, body = get_page(address, path)
    assert (answered, set(body)) == (status, {"message"} | ({"reason"} & set(body)))
    assert message in body["message"]


def test_a_whole_path_is_one_below_the_root_folder(address, folder):
    assert get_page(address, quote(str(folder / "outside.evalkit"), safe=""))[0] == 404


def test_strangers_and_pages_of_other_sites_get_nothing(address):
    path = "/evalkit/transcripts/run.evalkit"
    assert get(address, path)[0] == 403
    cookies = get(address, f"/lab?token={token(address)}")[1].get_all("Set-Cookie")
    cookie = "; ".join(each.partition(";")[0] for each in cookies)
    assert get(address, path, Cookie=cookie)[0] == 200
    assert get(address, path, Cookie=cookie, Origin="http://other.example")[::2] == (
        404,
        {"message": "Not Found", "reason": None},
    )


def test_the_extension_is_small_and_what_is_read_is_what_is_installed():
    files = {path.name: path for path in EXTENSION.iterdir()}
    assert sorted(files) == ["install.json", "package.json", "run_files.js"]
    assert sum(path.stat().st_size for path in files.values()) < 20_000
    package = json.loads(files["package.json"].read_text())
    assert package["version"] == evalkit.__version__
    assert package["jupyterlab"]["_build"]["load"] == "run_files.js"
    assert f'NAME = "{package["name"]}"' in files["run_files.js"].read_text()
    config = json.loads((EXTENSION.parent / "server_extension.json").read_text())
    assert config == {"ServerApp": {"jpserver_extensions": {server_extension.__name__: True}}}
