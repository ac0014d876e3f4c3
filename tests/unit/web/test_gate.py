"""Who may see the page of `mm web`."""

from __future__ import annotations

import re
from typing import Any

import pytest

from celery_middle_management.settings.secret import Secret
from celery_middle_management.web.gate import Gate
from celery_middle_management.web.server import token_of
from tests.unit.web.wsgi import Answer, ask

TOKEN = "a-token-of-forty-characters-for-this-test"
PORT = 8765


def gate() -> Gate:
    return Gate(Secret(TOKEN), PORT, "ann@here")


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    visitor = gate().visitor(environ)
    start_response("200 OK" if visitor else "403 Forbidden", [])
    return [repr(visitor).encode()]


def seen(path: str = "/", **headers: str) -> Answer:
    return ask(gate().before(app), path, **headers)


def cookie() -> str:
    return seen(f"/?token={TOKEN}").headers["Set-Cookie"].partition(";")[0]


def test_the_token_becomes_a_cookie_and_leaves_the_address() -> None:
    answer = seen(f"/?token={TOKEN}")
    path, said = answer.headers["Location"], answer.headers["Set-Cookie"]
    assert answer.status == 303
    assert re.fullmatch(r"/[0-9a-f]{32}/", path), "no server of another port is told of it"
    assert said.startswith(f"mm-{PORT}=")
    assert said.endswith(f"; Path={path}; HttpOnly; SameSite=Strict")
    assert TOKEN not in said
    assert path.strip("/") not in said.partition(";")[0]
    assert "ann@here" in seen(HTTP_COOKIE=f"other=a\x01b; {cookie()}; more=1").body


def test_the_page_is_mounted_where_its_cookies_go() -> None:
    def where(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [f"{environ['SCRIPT_NAME']} {environ['PATH_INFO']}".encode()]

    path = seen(f"/?token={TOKEN}").headers["Location"]
    door = gate().before(where)
    assert ask(door, f"{path}data?has=x").body == f"{path[:-1]} /data"
    assert ask(door, path).body == f"{path[:-1]} /"
    assert ask(door, "/metrics").body == " /metrics", "for Prometheus"
    assert ask(door, f"{path[:-1]}x/data").body == f" {path[:-1]}x/data"


def test_prometheus_sends_it_in_a_header() -> None:
    assert seen(HTTP_AUTHORIZATION=f"Bearer {TOKEN}").status == 200
    assert seen(HTTP_AUTHORIZATION=f"bearer  {TOKEN} ").status == 200


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"HTTP_AUTHORIZATION": TOKEN},
        {"HTTP_AUTHORIZATION": "Bearer "},
        {"HTTP_AUTHORIZATION": f"Basic {TOKEN}"},
        {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}x"},
        {"HTTP_AUTHORIZATION": "Bearer \udcff"},
        {"HTTP_COOKIE": f"mm-{PORT}={TOKEN}"},
        {"HTTP_COOKIE": f"mm-{PORT}="},
        {"HTTP_COOKIE": "mm-8766=" + "0" * 64},
    ],
)
def test_without_it_nothing_is_shown(given: dict[str, str]) -> None:
    assert seen(**given).status == 403


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "x", "%FF"])
def test_a_wrong_token_gets_no_cookie(token: str) -> None:
    answer = seen(f"/?token={token}")
    assert (answer.status, "Set-Cookie" in answer.headers) == (403, False)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8765", "127.0.0.1:8766", "127.0.0.1", "localhost.:8765"],
)
def test_a_name_that_someone_else_lets_lead_here_shows_nothing(host: str) -> None:
    assert seen(HTTP_HOST=host, HTTP_COOKIE=cookie()).status == 403
    assert seen(f"/?token={TOKEN}", HTTP_HOST=host).status == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765"])
def test_our_own_names_show_it(host: str) -> None:
    assert seen(HTTP_HOST=host, HTTP_COOKIE=cookie()).status == 200


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(vars(gate()))


@pytest.mark.parametrize(
    "token",
    ["", "x" * 19, "x" * 30 + "\n", "blank " * 5, "ü" * 30, "a+b" * 9, "a&b" * 9, "a#b" * 9],
)
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused(token: str) -> None:
    with pytest.raises(
        ValueError, match=r"MM_WEB_TOKEN has \d+ characters; allowed: 20 or more"
    ) as error:
        token_of({"MM_WEB_TOKEN": token})
    assert not token or token not in str(error.value)


def test_each_start_has_a_token_of_its_own() -> None:
    first, second = (token_of({}).reveal() for _ in range(2))
    assert first != second
    assert len(first) == 43
    assert token_of({"MM_WEB_TOKEN": TOKEN}).reveal() == TOKEN
