"""The page in the examples' web apps, by the servers that people run them with."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

from celery_middle_management.demo.redis_server import RedisServer, free_port
from tests.integration.web_apps import (
    GUNICORN,
    LIVE,
    PANEL,
    PEOPLE,
    UVICORN,
    Browser,
    basic,
    by,
    django,
    serving,
)

for module in ("bokeh", "django", "flask", "fastapi", "a2wsgi", "gunicorn", "uvicorn"):
    pytest.importorskip(module)


@pytest.fixture(scope="module", params=[GUNICORN, UVICORN], ids=["gunicorn", "uvicorn"])
def project(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    redis_server: RedisServer,
) -> Iterator[tuple[str, Path]]:
    """The Django example: its address and its database."""
    directory = tmp_path_factory.mktemp("django")
    django(["migrate", "--verbosity", "0"], directory, redis_server.url)
    django(["shell", "--command", PEOPLE], directory, redis_server.url)
    with serving("django", redis_server.url, directory, *request.param) as address:
        yield address, directory / "db.sqlite3"


@pytest.fixture
def admin(project: tuple[str, Path]) -> str:
    """Its address."""
    return project[0]


def see_nothing(browser: Browser, redis_url: str) -> None:
    for path in (PANEL, LIVE):
        text = browser.ask(path).text
        assert "Scheduled" not in text
        assert "mm-token" not in text
    assert browser.ask(LIVE + "data").status == 403
    assert browser.post(LIVE + "pause", {}).status == 403
    assert by(redis_url) == []


@pytest.mark.usefixtures("redis_url")
class TestDjango:
    @pytest.fixture
    def redis_url(self, redis_server: RedisServer) -> str:
        """The project's database, emptied."""
        with redis.Redis.from_url(redis_server.url) as client:
            client.flushall()
        return redis_server.url

    def test_without_a_login_there_is_only_the_form_for_it(self, admin: str) -> None:
        stranger = Browser(admin)
        for path in (PANEL, LIVE):
            answer = stranger.ask(path)
            assert "/admin/login/" in answer.url
            assert "Scheduled" not in answer.text
        for path in ("data", "metrics", "static/x/page.js", "anything"):
            assert stranger.ask(LIVE + path).status == 403

    def test_staff_without_the_permission_see_nothing(self, admin: str, redis_url: str) -> None:
        see_nothing(Browser(admin).log_in("other"), redis_url)

    def test_former_staff_whose_session_lasts_see_nothing(
        self, project: tuple[str, Path], redis_url: str
    ) -> None:
        address, database = project
        browser = Browser(address).log_in("former")
        assert "Scheduled" in browser.ask(PANEL).text
        with sqlite3.connect(database) as users:
            users.execute("UPDATE auth_user SET is_staff = 0 WHERE username = 'former'")
        users.close()
        see_nothing(browser, redis_url)

    def test_staff_who_may_view_cannot_act(self, admin: str, redis_url: str) -> None:
        browser = Browser(admin).log_in("view")
        assert "Scheduled" in browser.ask(PANEL).text
        page = browser.ask(LIVE)
        assert page.status == 200
        document = json.loads(browser.ask(LIVE + "data").text)
        assert (document["visitor"], document["may_act"]) == ("view", False)
        assert browser.post(LIVE + "pause", {}).status == 403
        assert by(redis_url) == []

    @pytest.mark.parametrize("name", ["change", "jo"])
    def test_staff_who_may_change_act_under_their_name(
        self, admin: str, name: str, redis_url: str
    ) -> None:
        browser = Browser(admin).log_in(name)
        browser.ask(LIVE)
        answer = browser.post(LIVE + "pause", {"hires": True, "fires": True, "for": 60})
        assert answer.status == 200, answer.text
        assert by(redis_url) == [("pause", name)]
        assert f"Paused: no hires and no fires, by {name}." in browser.ask(PANEL).text

    def test_a_request_without_the_pages_token_changes_nothing(
        self, admin: str, redis_url: str
    ) -> None:
        """Although Django's own protection of forms does not apply to it."""
        browser = Browser(admin).log_in("jo")
        assert browser.post(LIVE + "pause", {}).status == 403
        assert by(redis_url) == []

    def test_the_index_leads_to_the_panel_and_that_to_the_page(self, admin: str) -> None:
        browser = Browser(admin).log_in("jo")
        index = browser.ask("/admin/").text
        assert "Middle Management" in index
        assert f'href="{PANEL}"' in index
        assert 'href="live/"' in browser.ask(PANEL).text
        assert browser.ask(LIVE.rstrip("/")).url == admin + LIVE

    def test_headers_of_the_page_stay_beside_those_of_djangos_middleware(self, admin: str) -> None:
        browser = Browser(admin).log_in("jo")
        headers = browser.ask(LIVE).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers.get_all("Referrer-Policy") == ["no-referrer"]
        [cookie] = [c for c in headers.get_all("Set-Cookie") if c.startswith("mm-page=")]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Path=" not in cookie, "the browser knows it"

    def test_what_the_page_shows_is_text_in_the_panel(self, admin: str, redis_url: str) -> None:
        with redis.Redis.from_url(redis_url) as client:
            client.hset(
                "{middle-management:local}:state",
                "trouble",
                json.dumps({"unknown": {"what": "<b>bold</b>", "since": time.time()}}),
            )
            client.expire("{middle-management:local}:state", 60)
        text = Browser(admin).log_in("jo").ask(PANEL).text
        assert "&lt;b&gt;bold" in text
        assert "<b>bold" not in text


def test_django_with_a_ledger_that_cannot_be_read(tmp_path: Path) -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    django(["migrate", "--verbosity", "0"], tmp_path, url)
    django(["shell", "--command", PEOPLE], tmp_path, url)
    with serving("django", url, tmp_path, *GUNICORN) as address:
        answer = Browser(address).log_in("jo").ask(PANEL)
        assert answer.status == 200
        assert "could not be read" in answer.text
        assert "secret" not in answer.text


def test_django_where_nothing_is_managed(tmp_path: Path, redis_url: str) -> None:
    django(["migrate", "--verbosity", "0"], tmp_path, redis_url)
    django(["shell", "--command", PEOPLE], tmp_path, redis_url)
    off = {"MIDDLE_MANAGEMENT_ENABLED": "false"}
    with serving("django", redis_url, tmp_path, *GUNICORN, **off) as address:
        browser = Browser(address).log_in("jo")
        for path in (PANEL, LIVE, LIVE + "data"):
            assert "not enabled" in browser.ask(path).text


FLASK = ("gunicorn", "web:create_app()", "--bind", "127.0.0.1:PORT", "--threads", "3")
FASTAPI = ("uvicorn", "web:web", "--port", "PORT")


class Host(NamedTuple):
    """An example, its server, and what is before the path: for the server, and in public."""

    example: str
    command: tuple[str, ...]
    env: Mapping[str, str] = {}
    prefix: str = ""
    public: str = ""


@pytest.mark.parametrize(
    "host",
    [
        Host("flask", FLASK),
        # gunicorn's prefix is part of the path; uvicorn's is what a proxy has taken off it.
        Host("flask", FLASK, {"SCRIPT_NAME": "/shop"}, "/shop", "/shop"),
        Host("fastapi", FASTAPI),
        Host("fastapi", (*FASTAPI, "--root-path", "/shop"), public="/shop"),
    ],
    ids=["flask", "flask-prefix", "fastapi", "fastapi-prefix"],
)
def test_the_hosts_login_decides(host: Host, redis_url: str, tmp_path: Path) -> None:
    live = f"{host.prefix}/workers/"
    with serving(host.example, redis_url, tmp_path, *host.command, **host.env) as address:
        for stranger in (Browser(address), Browser(address, Authorization=basic("jo", "wrong"))):
            for path in ("", "data", "metrics"):
                answer = stranger.ask(live + path)
                assert answer.status == 401
                assert answer.text == "Log in.\n"
            assert stranger.post(live + "pause", {}).status == 401
        jo = Browser(address, Authorization=basic("jo", "try-it"))
        page = jo.ask(live)
        assert page.status == 200
        [cookie] = page.headers.get_all("Set-Cookie")
        assert "Path=" not in cookie, "the browser knows it"
        document = json.loads(jo.ask(live + "data").text)
        assert (document["visitor"], document["may_act"]) == ("jo", True)
        assert jo.ask(live + "pause", b"{}", **{"Content-Type": "application/json"}).status == 403
        assert by(redis_url) == []
        [token] = [each.value or "" for each in jo.jar]
        headers = {"X-MM-Token": token, "Cookie": f"mm-page={token}"}
        body = json.dumps({"hires": True, "fires": True, "for": 60}).encode()
        answer = jo.ask(live + "pause", body, **{"Content-Type": "application/json"}, **headers)
        assert answer.status == 200, answer.text
        assert by(redis_url) == [("pause", "jo")]
