"""Runs against endpoints that refuse requests for a while, over real HTTP: quotas, loading models, limiters."""

import json
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme
from answering import rows
from haproxy_server import behind_haproxy, needs_haproxy
from parallel import in_parallel

import evalkit as ek
from evalkit.engine.pacing.retries import RetryPolicy
from evalkit.errors import AT_CAPACITY, LOADING, Failure
from evalkit.runfile import store

GOOD = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "35"}, "finish_reason": "stop"}]}


class Server:
    """Answers each POST with what ``answer(number, seconds since the first)`` says, and keeps when each came."""

    def __init__(self, answer, get=lambda path, seconds: (404, {}, b""), pause_s=0.0):
        posts, gets, bodies, lock = [], [], [], threading.Lock()
        self.posts, self.gets, self.bodies = posts, gets, bodies
        began = time.monotonic()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    bodies.append(body)
                    posts.append(time.monotonic())
                    reply = answer(len(posts), posts[-1] - posts[0])
                time.sleep(pause_s)
                self.send(*reply)

            def do_GET(self):
                gets.append((self.path, self.headers.get("Authorization")))
                self.send(*get(self.path, time.monotonic() - began))

            def send(self, status, headers, body):
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        class Quiet(ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()


def run(server, tmp_path, conversations=24, **settings):
    data = tmp_path / "sums.jsonl"
    rows = [{"id": str(n), "turns": [{"user": "12 + 23?", "target": 35}]} for n in range(conversations)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return ek.evaluate(data, ek.Endpoint(server.url, "m"), out=tmp_path / "r.evalkit", stream=False, **settings)


def converse(server, **settings):
    """One conversation, without a run."""
    conversation = ek.Conversation("one", (ek.Turn("12 + 23?"),))
    return list(ek.converse(conversation, ek.Endpoint(server.url, "m"), stream=False, **settings))


def quota(refusal, most=8, window_s=1.5):
    """At most so many answers in each window; ``refusal(seconds left)`` is the answer beyond them."""
    window = [-1e9, 0]

    def answer(number, seconds):
        if seconds - window[0] >= window_s:
            window[:] = seconds, 0
        window[1] += 1
        return (200, {}, GOOD) if window[1] <= most else refusal(window_s - (seconds - window[0]))

    return answer


REFUSALS = {
    "words": lambda left: (429, {}, {"error": {"message": f"Please try again in {left * 1000:.0f}ms."}}),
    "RateLimit": lambda left: (429, {"RateLimit": f'"default";r=0;t={left:.2f}'}, {}),
    "wrapped": lambda left: (
        429,
        {},
        {"error": {"message": "Upstream: " + json.dumps({"retry_after_ms": left * 1e3})}},
    ),
    "proto": lambda left: (429, {}, [{"error": {"details": [{"retryDelay": f"{left:.3f}s"}]}}]),
    "no word": lambda left: (429, {}, {"error": {"message": "Too many requests"}}),
    "limiter": lambda left: (503, {"Content-Type": "text/html"}, b"<h1>503 Service Temporarily Unavailable</h1>nginx"),
    "busy": lambda left: (503, {}, {"error": "server busy, maximum pending requests exceeded"}),
}


@pytest.fixture(scope="module")
def under_a_quota(tmp_path_factory):
    """The run under a quota of each form, and its server."""
    folders = {form: tmp_path_factory.mktemp("quota") for form in REFUSALS}

    def under(form):
        with Server(quota(REFUSALS[form])) as server:
            return run(server, folders[form], concurrency=6), server

    return in_parallel(under, REFUSALS)


@pytest.mark.parametrize("form", REFUSALS)
def test_a_quota_fails_no_turn(form, under_a_quota):
    done, server = under_a_quota[form].result()
    assert done.summary_json()["answered"] == 24
    assert len(server.posts) < 60


def test_a_refusal_without_a_word_slows_all_requests(tmp_path):
    refused = [None]

    def answer(number, seconds):
        if number == 10:
            refused[0] = time.monotonic()
            return 429, {}, {"error": {"message": "Too many requests"}}
        return 200, {}, GOOD

    with Server(answer) as server:
        run(server, tmp_path, conversations=40, concurrency=4)
    after = [at - refused[0] for at in server.posts if at > refused[0]]
    assert len([at for at in after if 0.3 < at < 0.95]) == 0
    assert len(after) == 31


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"error": {"message": "Rate limit reached on tokens per day (TPD). Please try again in 7h12m."}}, {}),
        ({"error": {"message": "Rate limit exceeded: free-models-per-day"}}, {}),
        ({"error": {"message": "No."}}, {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "7h"}),
        ({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}, {}),
    ],
)
@pytest.mark.parametrize("answered", [0, 20])
def test_a_quota_that_is_used_up_ends_the_run_and_says_so(body, headers, answered, tmp_path):
    with (
        Server(lambda number, seconds: (200, {}, GOOD) if number <= answered else (429, headers, body)) as server,
        pytest.raises(ek.EndpointError) as caught,
    ):
        run(server, tmp_path, conversations=200)
    message = str(caught.value)
    assert len(server.posts) <= answered + 12
    assert any(word in message for word in ("asks to wait 7 hours", "tomorrow", "quota is used up"))
    assert (f"quota is used up after {answered} answered turns" in message) is (answered > 0)
    assert ek.Run(tmp_path / "r.evalkit").summary_json()["answered"] == answered


def test_one_long_wait_among_answers_ends_nothing(tmp_path):
    def answer(number, seconds):
        return (429, {"Retry-After": "3600"}, {}) if number % 7 == 0 else (200, {}, GOOD)

    with Server(answer) as server:
        done = run(server, tmp_path, conversations=70)
    assert done.summary_json()["errors"] == {"rate_limited": 10}


LOADING_ANSWERS = {
    "llama.cpp": (503, {}, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
    "estimate": (503, {}, {"error": "Model m is currently loading", "estimated_time": 2.0}),
    "starting": (503, {"Retry-After": "1"}, {"detail": "The engine is starting"}),
    "conflict": (409, {}, {"error": {"message": "Model is loading"}}),
}


@pytest.fixture(scope="module")
def while_loading(tmp_path_factory):
    """The run while a server is loading and says so in each form, and its server."""
    folders = {form: tmp_path_factory.mktemp("loading") for form in LOADING_ANSWERS}

    def loading(form):
        with Server(lambda number, seconds: LOADING_ANSWERS[form] if seconds < 4 else (200, {}, GOOD)) as server:
            return run(server, folders[form], conversations=12, retries=1), server

    return in_parallel(loading, LOADING_ANSWERS)


@pytest.mark.parametrize("form", LOADING_ANSWERS)
def test_a_server_that_is_loading_is_waited_for(form, while_loading):
    done, server = while_loading[form].result()
    assert done.summary_json()["answered"] == 12
    assert len(server.posts) < 30


def run_with_one_refused(tmp_path, status, message, until_s=1e9):
    """Twelve conversations, one of which is refused: the run, after how long others were sent, and that one."""
    others, refused = [], []

    def answer(number, seconds):
        bad = b"question 3" in server.bodies[-1]
        (refused if bad else others).append(seconds)
        return (status, {}, {"error": {"message": message}}) if bad and seconds < until_s else (200, {}, GOOD)

    with Server(answer) as server:
        data = rows(tmp_path / "d.jsonl", 12)
        done = ek.evaluate(data, ek.Endpoint(server.url, "m"), out=tmp_path / "r.evalkit", stream=False, concurrency=3)
    return done.summary_json(), others, refused


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "File file-abc is not ready"),
        (422, "Vector store is not ready"),
        (404, "Assistant is not ready: publish it first"),
        (400, "prompt is starting with role system, not supported"),
    ],
)
def test_a_refused_request_is_not_waited_for(status, message, tmp_path):
    summary, others, refused = run_with_one_refused(tmp_path, status, message)
    assert summary["answered"] == len(others) == 11
    assert len(refused) == 1
    assert others[-1] < 3


def test_one_request_that_is_told_to_wait_for_the_model_does_not_hold_the_others_back(tmp_path):
    summary, others, refused = run_with_one_refused(tmp_path, 503, "The model is loading", until_s=7)
    assert summary["answered"] == 12  # another server behind the address may load
    assert others[-1] < 6
    assert len(refused) < 9


def test_patience_with_loading_is_shorter_while_others_are_answered():
    retry, failure = RetryPolicy(retries=1), Failure("server", "Loading.", pending=LOADING)
    assert 1 <= retry.decide(failure, 1, refused_s=0.5, alone=True).delay_s <= 1.5
    assert 11 <= retry.decide(failure, 1, refused_s=20.0, alone=True).delay_s <= 21
    assert retry.decide(failure, 1, refused_s=31.0, alone=True) == (
        None, "It has said so for 31 s of this request, and answered others.",
    )  # fmt: skip


def test_without_retries_nothing_is_waited_for(tmp_path):
    with Server(lambda number, seconds: LOADING_ANSWERS["llama.cpp"]) as server, pytest.raises(ek.EndpointError):
        run(server, tmp_path, retries=0)
    assert len(server.posts) <= 9


def test_patience_with_loading_ends():
    retry = RetryPolicy(retries=1)
    failure = Failure("server", "Loading.", pending=LOADING)
    assert retry.decide(failure, 5, refused_s=100.0).delay_s == 0.0
    assert retry.decide(failure, 1, refused_s=121.0) == (None, "It has been loading for 121 s since the first request.")
    assert RetryPolicy(retries=1, loading_s=600.0).decide(failure, 1, refused_s=121.0).delay_s == 0.0
    assert retry.decide(Failure("server", "Full.", pending=AT_CAPACITY), 2, refused_s=1.0).delay_s is None


# -- limiters as they are installed


QUEUE = "  timeout queue 150ms"
COUNTED = "  stick-table type ip size 100 expire 30s store http_req_rate(2s)"
RATE = (
    "  http-request track-sc0 src table out\n  http-request deny deny_status 429 if { sc_http_req_rate(0,out) gt 8 }\n"
)


@needs_haproxy
@pytest.mark.parametrize(
    ("frontend", "options", "status", "told"),
    [("", "maxconn 1", 503, "a limit in front of it was exceeded"), (RATE, "", 429, "asks for fewer requests")],
)
def test_a_limit_of_haproxy_fails_no_turn(frontend, options, status, told, tmp_path):
    def answer(number, seconds):
        return 200, {"Connection": "close"}, GOOD

    with (
        Server(answer, pause_s=0.3 if status == 503 else 0.0) as server,
        behind_haproxy(
            tmp_path, server.url, defaults=QUEUE, frontend=frontend, backend=COUNTED, server=options
        ) as server.url,
    ):
        done = run(server, tmp_path, conversations=12, concurrency=4)
    assert done.summary_json()["answered"] == 12
    connection = store.open_to_read(tmp_path / "r.evalkit")
    refused = connection.execute(
        "SELECT http_status, error_message FROM attempt WHERE error_kind IS NOT NULL"
    ).fetchall()
    connection.close()
    assert refused
    assert {row[0] for row in refused} == {status}
    assert all(told in row[1] and "concurrency" in row[1] for row in refused)


# -- before the first request


def test_wait_ready_waits_for_a_server_that_is_not_started_yet(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    server = Server(lambda number, seconds: (200, {}, GOOD))
    server._server.server_close()

    def start():
        time.sleep(1.5)
        late = ThreadingHTTPServer(("127.0.0.1", port), server._server.RequestHandlerClass)
        servers.append(late)
        late.serve_forever(0.02)

    servers = []
    threading.Thread(target=start, daemon=True).start()
    server.url = f"http://127.0.0.1:{port}/v1"
    done = run(server, tmp_path, conversations=3, wait_ready=30)
    servers[0].shutdown()
    servers[0].server_close()
    assert done.summary_json()["answered"] == 3
    assert len(server.posts) == 3
    told = capsys.readouterr().err
    assert f"waiting up to 30 s for http://127.0.0.1:{port}/v1: Nothing listens on" in told
    assert "the endpoint is ready after" in told


@pytest.mark.parametrize(
    "get",
    [
        lambda path, seconds: (503, {}, {"error": {"message": "Loading model"}}) if seconds < 2 else (200, {}, {}),
        # the list of models is there while the model loads; /health tells
        lambda path, seconds: (503 if path == "/health" and seconds < 2 else 200, {}, {"data": []}),
        lambda path, seconds: (502 if seconds < 2 else 404, {"Content-Type": "text/html"}, b"<h1>Bad Gateway</h1>"),
    ],
)
def test_wait_ready_waits_for_a_model_that_is_loading(get):
    began = time.monotonic()
    with Server(lambda number, seconds: (200, {}, GOOD), get) as server:
        converse(server, wait_ready=30)
    assert server.posts[0] - began > 1.5
    assert len(server.posts) == 1
    assert server.gets[0][0] == "/v1/models"


@pytest.mark.parametrize("status", [200, 401, 403, 404, 405, 429, 500])
def test_any_other_answer_means_ready(status, capsys):
    with Server(lambda number, seconds: (200, {}, GOOD), lambda path, seconds: (status, {}, {})) as server:
        converse(server, wait_ready=30)
    assert len(server.gets) <= 2
    assert "waiting" not in capsys.readouterr().err


def test_wait_ready_ends_with_the_reason(tmp_path):
    with (
        Server(lambda number, seconds: (200, {}, GOOD), lambda path, seconds: (503, {}, {})) as server,
        pytest.raises(ek.EndpointError) as caught,
    ):
        run(server, tmp_path, wait_ready=1.2)
    assert str(caught.value) == (
        f"{server.url} was not ready within 1.2 s (wait_ready). It is not available yet (HTTP 503). "
        "Check the endpoint's log, or wait longer."
    )
    assert server.posts == []
    assert not (tmp_path / "r.evalkit").exists()


def test_a_certificate_that_is_refused_is_not_waited_for(tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    began = time.monotonic()
    with Server(lambda number, seconds: (200, {}, GOOD)) as server:
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
        server.url = server.url.replace("http:", "https:")
        with pytest.raises(ek.EndpointError, match=r"cannot become ready .*certificate"):
            run(server, tmp_path, wait_ready=60)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("wait", [0, -1, float("nan"), float("inf"), "5", True])
def test_a_time_that_cannot_be_waited_is_refused(wait, tmp_path):
    with Server(lambda number, seconds: (200, {}, GOOD)) as server, pytest.raises(ek.errors.SettingsError):
        run(server, tmp_path, wait_ready=wait)
    assert server.gets == server.posts == []
