"""`celery mm web`, and the page mounted in a web app, over HTTP."""

from __future__ import annotations

import gzip
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from celery import Celery
from waitress.server import create_server

from celery_middle_management.demo.redis_server import RedisServer, free_port
from celery_middle_management.settings.secret import Secret
from celery_middle_management.web import Page, Visitor
from celery_middle_management.web.document import FRESH, LOOK_EVERY
from celery_middle_management.web.server import make_server
from tests.integration.stage import APP, ROOT, Stage, stage
from tests.integration.test_by_hand import decided
from tests.integration.web_apps import GUNICORN, PANEL, PEOPLE, django, serving
from tests.integration.web_apps import Browser as Admin
from tests.servers import wait_for

pytestmark = pytest.mark.usefixtures("plotting")
SETTINGS: dict[str, object] = {"call_interval": 1, "web_actions": True}


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        packed = self.headers.get("Content-Encoding") == "gzip"
        return json.loads(gzip.decompress(self.raw) if packed else self.raw)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Browser:
    """Makes requests as the page does, once it has been opened."""

    def __init__(self, url: str, **headers: str) -> None:
        self.url, self.headers, self.token = url, headers, ""
        self._open = urllib.request.build_opener(_Stay).open

    def get(self, path: str = "", **headers: str) -> Answer:
        return self._ask(path, None, headers)

    def open(self) -> Answer:
        """Open the page, and take its token and cookie from it."""
        answer = self.get()
        self.token = re.findall(rb'name="mm-token" content="([\w-]+)"', answer.raw)[0].decode()
        kept = self.headers.get("Cookie")
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        self.headers["Cookie"] = f"{kept}; {cookie}" if kept else cookie
        return answer

    def post(self, action: str, body: Any = None, **headers: str) -> Answer:
        """Ask for an action; a header that is empty is not sent."""
        ours = {"Content-Type": "application/json", "X-MM-Token": self.token}
        raw = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        return self._ask(action, raw, ours | {k.replace("_", "-"): v for k, v in headers.items()})

    def _ask(self, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        given = {k.replace("_", "-"): v for k, v in self.headers.items()}
        given |= {k.replace("_", "-"): v for k, v in headers.items()}
        given = {k: v for k, v in given.items() if v}
        asked = urllib.request.Request(self.url + path, body, given)
        try:
            with self._open(asked, timeout=60) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())


@contextmanager
def mm_web(on: Stage, *arguments: str, **env: str) -> Iterator[str]:
    """Run `mm web`; yields the address that it prints."""
    with subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", APP, "mm", "web", "--port", "0", *arguments],
        env=on._environment({"USER": "ann", "LOGNAME": "ann", **env}),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(30)
    assert process.returncode == 0


@contextmanager
def opened(on: Stage, **env: str) -> Iterator[Browser]:
    """A browser that has opened the page of `mm web` by the address that it printed."""
    with mm_web(on, **env) as address:
        root, _, query = address.partition("/?")
        entered = Browser(root).get(f"/?{query}")
        browser = Browser(root + entered.headers["Location"])
        browser.headers["Cookie"] = entered.headers["Set-Cookie"].partition(";")[0]
        assert browser.open().status == 200
        yield browser


@contextmanager
def mounted(app: Celery, visitor: Visitor | None, prefix: str = "") -> Iterator[Browser]:
    """The page of *app* in a server of this process."""
    page = Page(app, lambda _: visitor)
    server = create_server(page, host="127.0.0.1", port=0, threads=16, url_prefix=prefix)

    def run() -> None:
        with suppress(OSError):  # waitress waits for sockets that it has closed
            server.run()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield Browser(f"http://127.0.0.1:{server.effective_port}{prefix}/")
    finally:
        server.close()
        thread.join(10)


def app_on(url: str, **settings: Any) -> Celery:
    app = Celery("shop", broker=url, set_as_current=False)
    given = {"enabled": True, "platform": "local", "max_workers": 5, **settings}
    app.conf.update({f"middle_management_{name}": value for name, value in given.items()})
    return app


def calls_of_scripts(client: redis.Redis) -> int:
    stats: Any = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))


def test_the_token_of_mm_web(redis_url: str) -> None:
    with stage(redis_url, command=None) as on, mm_web(on) as address:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", address)
        root, token = address.split("?token=")
        stranger = Browser(root)
        for path in ("", "data", "static/x/page.js", "metrics", "?token=wrong"):
            answer = stranger.get(path)
            assert (answer.status, answer.raw) == (403, b"You may not see this page.\n")
        assert stranger.post("pause").status == 403
        answer = stranger.get(f"?token={token}")
        assert answer.status == 303
        path = answer.headers["Location"]
        assert f"; Path={path};" in answer.headers["Set-Cookie"]
        assert stranger.get(path[1:]).status == 403
        known = Browser(root, Authorization=f"Bearer {token}")
        assert known.get("data").json["visitor"].startswith("ann@")
        assert b"celery_mm_up 1.0" in known.get("metrics").raw
        assert known.get("data", Host="evil.example").status == 403
        assert [path for path in on.redis.keys("*") if "intent" in path] == []


def test_a_token_that_the_environment_fixes_is_not_printed(redis_url: str) -> None:
    token = "for-prometheus-and-for-people"
    with stage(redis_url, command=None) as on, mm_web(on, MM_WEB_TOKEN=token) as address:
        assert address.endswith("/?token=$MM_WEB_TOKEN")
        known = Browser(address.partition("?")[0], Authorization=f"Bearer {token}")
        assert known.get("data").status == 200
        port = int(re.findall(r":(\d+)/", address)[0])
        taken = mm(on, "web", "--port", str(port))
        assert (taken.returncode, taken.stdout) == (1, "")
        assert f"cannot listen on 127.0.0.1:{port}: " in taken.stderr
    with stage(redis_url, command=None) as on:
        refused = mm(on, "web", MM_WEB_TOKEN="short")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "MM_WEB_TOKEN has 5 characters; allowed: 20 or more" in refused.stderr


def test_a_port_that_is_none(redis_url: str) -> None:
    with stage(redis_url, command=None) as on:
        for port in ("abc", "65536", "-1"):
            refused = mm(on, "web", "--port", port)
            assert refused.returncode == 2
            assert f"'{port}' is not a number from 0 to 65535" in refused.stderr


@pytest.mark.slow
def test_connections_that_say_nothing_keep_no_one_out(redis_url: str) -> None:
    with stage(redis_url, command=None) as on, opened(on) as page, ExitStack() as stack:
        port = int(re.findall(r":(\d+)/", page.url)[0])
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(300)
        ]
        assert page.get("data").status == 200
        for each in silent:
            each.settimeout(60)
            assert each.recv(1) == b"", "it is closed"
        assert page.get("data").status == 200


def test_the_word_task_queue_is_left_to_celery(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server(app_on(redis_url), 0, Secret("x" * 40), "ann")
    try:
        server.task_dispatcher.queue_logger.warning("Task queue depth is %d", 7)
        assert caplog.messages == []
    finally:
        server.close()


def mm(on: Stage, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", APP, "mm", *arguments],
        env=on._environment(env),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_hired_and_fired_on_the_page_within_the_limits(redis_url: str) -> None:
    with stage(redis_url, command=None, settings=SETTINGS) as on, opened(on) as page:
        unknown = page.post("hire", {"pool": "worker", "number": 1})
        assert unknown.status == 409
        assert "not known yet how many workers" in unknown.json["error"]
        on.publish("work.delay()")
        on.wait_for_quantity(1)
        asked = page.post("hire", {"pool": "worker", "number": 9, "for": 3600}).json
        assert (asked["action"], asked["from"], asked["to"]) == ("ask to hire", 1, 5)
        assert asked["reason"] == "not 9 more: max_workers is 5"
        on.wait_for_quantity(5)  # no process but the page is there to evaluate
        full = "worker has 5 workers, and its max_workers is 5"
        wait_for(lambda: page.post("hire", {"number": 1}).json["error"] == full)
        assert page.post("hire", {"number": 1}).status == 409
        assert page.post("pause", {"fires": False, "for": 600}).json["hires"] is True
        assert page.get("data").json["status"]["pause"]["by"].startswith("ann@")
        assert page.post("resume").json["action"] == "resume"
        wait_for(lambda: not page.get("data").json["status"]["paused"])
        told = [e for e in decided(on) if e["action"] not in ("hire", "fire")]
        assert [e["action"] for e in told] == ["ask to hire", "pause", "resume"]
        assert {e["by"].partition("@")[0] for e in told} == {"ann"}


def test_what_is_forged_or_not_allowed_changes_nothing(redis_url: str) -> None:
    app = app_on(redis_url, web_actions=True)
    with (
        mounted(app, Visitor("eve@example.com", may_act=True)) as page,
        mounted(app, Visitor("joe")) as looker,
        mounted(app_on(redis_url), Visitor("ann", may_act=True)) as off,
    ):
        for browser in (page, looker, off):
            browser.open()
        refused = [
            page.post("pause", X_MM_Token=""),
            page.post("pause", X_MM_Token="x" * 43),
            page.post("pause", Cookie=f"mm-page={'x' * 43}"),
            page.post("pause", Content_Type="text/plain"),
            page.post("pause", Origin="https://evil.example"),
            page.post("pause", Sec_Fetch_Site="cross-site"),
            looker.post("pause"),
            off.post("pause"),
        ]
        assert [answer.status for answer in refused] == [403] * 8
        assert "joe may look at this page" in refused[-2].json["error"]
        assert "middle_management_web_actions" in refused[-1].json["error"]
        assert [b.get("data").json["may_act"] for b in (page, looker, off)] == [True, False, False]
        wrong = [
            page.post("pause", b"not json"),
            page.post("pause", {"hires": 1}),
            page.post("hire", {"pool": "worker", "number": 10**30}),
            page.post("pause", {"x": "y" * 5000}),
        ]
        assert [answer.status for answer in wrong] == [400] * 4
        assert page.post("delete").status == 404
        assert page.get("pause").status == 405
        with redis.Redis.from_url(redis_url) as client:
            assert not [key for key in client.keys("*") if b"actions" in key]  # type: ignore[union-attr]
        assert page.post("pause").json["by"] == "eve@example.com"


def test_an_id_is_that_of_one_request(redis_url: str) -> None:
    visitor = Visitor("ann", may_act=True)
    with mounted(app_on(redis_url, web_actions=True), visitor) as page:
        page.open()
        first = page.post("pause", {"id": "0" * 32, "for": 600})
        assert page.post("pause", {"id": "0" * 32, "for": 600}).json == first.json
        for action, body in (("resume", {}), ("pause", {"for": 60}), ("pause", {"hires": False})):
            other = page.post(action, {**body, "id": "0" * 32})
            assert other.status == 409
            assert other.json == {
                "error": "nothing was done, because another request was sent with the same id"
            }
        assert page.get("data").json["status"]["pause"]["until"] == first.json["until"]


def test_fifty_readers_cost_redis_what_one_does(lonely_redis_url: str) -> None:
    with (
        mounted(app_on(lonely_redis_url), Visitor("ann")) as page,
        redis.Redis.from_url(lonely_redis_url) as client,
    ):
        assert page.get("data").status == 200
        before, began, over = calls_of_scripts(client), time.monotonic(), threading.Event()
        answers: list[int] = []

        def look() -> None:
            while not over.wait(0.1):
                answers.append(page.get("data").status)

        readers = [threading.Thread(target=look) for _ in range(50)]
        for reader in readers:
            reader.start()
        wait_for(lambda: len(answers) > 200)
        over.set()
        for reader in readers:
            reader.join()
        assert {*answers} == {200}
        calls, lasted = calls_of_scripts(client) - before, time.monotonic() - began
        readings, looks = lasted / FRESH + 2, lasted / LOOK_EVERY + 2
        calls_of_a_look = 3
        assert calls <= readings + calls_of_a_look * looks


def test_mounted_under_a_path(redis_url: str) -> None:
    with mounted(app_on(redis_url), Visitor("ann"), "/ops/mm") as page:
        answer = page.get()
        # A proxy may have added to the path: the browser takes the one that it knows.
        assert "Path=" not in answer.headers["Set-Cookie"]
        for name in re.findall(rb'(?:href|src)="([^"#]+)"', answer.raw):
            assert page.get(name.decode()).status == 200
        bare = Browser(page.url.rstrip("/")).get()
        assert (bare.status, bare.headers["Location"]) in [(302, "./mm/"), (302, "mm/")]


def test_what_is_sent_over_the_wire(redis_url: str) -> None:
    with mounted(app_on(redis_url), Visitor("ann")) as page:
        version = re.findall(rb"static/(\w+)/page\.js", page.get().raw)[0].decode()
        names = ["page.js", "page.css", "bokeh.min.js", "bokeh-api.min.js", "icon.svg"]
        names += ["actions.js", "dom.js", "events.js", "link.js", "plots.js", "pools.js"]
        names += ["money.js", "series.js", "words.js"]
        sent = [page.get(f"static/{version}/{n}", Accept_Encoding="gzip") for n in names]
        assert all("immutable" in answer.headers["Cache-Control"] for answer in sent)
        assert sum(len(answer.raw) for answer in sent) < 1_500_000
        document = page.get("data", Accept_Encoding="gzip")
        assert document.headers["Content-Encoding"] == "gzip"
        tags = ",".join(document.json["tags"].values())
        again = page.get(f"data?has={tags}", Accept_Encoding="gzip")
        assert len(again.raw) < len(document.raw) or len(document.raw) < 3000
        assert again.json["events"] is None
        assert "Content-Encoding" not in page.get("data").headers


@pytest.mark.slow
def test_redis_hangs_and_goes_on() -> None:
    visitor = Visitor("ann", may_act=True)
    with RedisServer() as server, mounted(app_on(server.url, web_actions=True), visitor) as page:
        page.open()
        known = page.get("data").json
        assert known["problem"] is None
        server.pause()
        wait_for(lambda: page.get("data").json["problem"])
        kept = page.get("data").json
        assert kept["status"]["at"] >= known["status"]["at"]
        assert kept["age"] > FRESH
        failed = page.post("pause")
        assert failed.status == 503
        assert "Redis could not be written (redis://127.0.0.1:" in failed.json["error"]
        server.resume()
        wait_for(lambda: page.get("data").json["problem"] is None, 60)


@pytest.mark.slow
def test_djangos_admin_says_that_redis_hangs(tmp_path: Path) -> None:
    with RedisServer() as server:
        django(["migrate", "--verbosity", "0"], tmp_path, server.url)
        django(["shell", "--command", PEOPLE], tmp_path, server.url)
        with serving("django", server.url, tmp_path, *GUNICORN) as address:
            admin = Admin(address).log_in("jo")
            wait_for(lambda: "Nothing is wrong." in admin.ask(PANEL).text, 60)
            server.pause()
            text = admin.ask(PANEL).text
            assert "Nothing is wrong." not in text
            assert re.search(r"Redis .* \(redis://127\.0\.0\.1:\d+\)", text)
            assert re.search(r"What you see is \d+ s old\.", text)
            server.resume()
            wait_for(lambda: "Nothing is wrong." in admin.ask(PANEL).text, 60)


def test_redis_that_was_never_there(caplog: pytest.LogCaptureFixture) -> None:
    url = f"redis://:hunter2@127.0.0.1:{free_port()}"
    with mounted(app_on(url), Visitor("ann")) as page:
        assert page.get().status == 200
        answer = page.get("data")
        assert answer.status == 503
        assert "Redis could not be read (redis://127.0.0.1:" in answer.json["error"]
        assert "hunter2" not in answer.json["error"] + caplog.text


def test_hostile_names_are_data(redis_url: str) -> None:
    evil = "<script>alert(1)</script>\x1b[31m\u202e" + "x" * 10_000
    app = app_on(redis_url, pools={"pdf": {"queues": [evil]}})
    with mounted(app, Visitor('"><img src=x onerror=alert(1)>')) as page:
        answer = page.get("data")
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        [pool] = answer.json["status"]["pools"]
        assert pool["queues"] == [evil]
        assert "onerror" not in page.get().raw.decode()


@pytest.mark.slow
def test_trouble_that_may_pass_is_shown_when_it_has_lasted(redis_url: str) -> None:
    app = app_on(redis_url, pools={"pdf": {"queues": ["pdf"], "max_workers": 1}})
    with redis.Redis.from_url(redis_url) as client:
        client.lpush("pdf", "{}")
        with mounted(app, Visitor("ann")) as page:
            assert page.get("data").json["status"]["trouble"] == []
            wait_for(lambda: page.get("data").json["status"]["trouble"], 60)
            assert page.get("data").json["status"]["trouble"][0]["kind"] == "unattended"
