"""A request that our page made, and those that other sites had a browser make."""

from __future__ import annotations

from typing import Any

import pytest

from celery_middle_management.web.forgery import new_token, set_cookie, token_of, why_forged
from tests.unit.web.wsgi import environ_of

TOKEN = new_token()
OURS = {
    "HTTP_COOKIE": f"mm-page={TOKEN}",
    "HTTP_X_MM_TOKEN": TOKEN,
    "CONTENT_TYPE": "application/json",
    "HTTP_ORIGIN": "http://127.0.0.1:8765",
    "HTTP_SEC_FETCH_SITE": "same-origin",
}


def forged(**changed: str | None) -> str | None:
    given = {k: v for k, v in {**OURS, **changed}.items() if v is not None}
    return why_forged(environ_of("/pause", "POST", **given))


def test_our_own_page() -> None:
    assert forged() is None
    assert forged(CONTENT_TYPE="Application/JSON; charset=utf-8") is None
    assert forged(HTTP_ORIGIN=None, HTTP_SEC_FETCH_SITE=None) is None
    assert forged(HTTP_SEC_FETCH_SITE=None) is None


def test_behind_a_proxy_that_changes_the_host_the_browser_knows_better() -> None:
    assert forged(HTTP_ORIGIN="https://ops.example") is None


@pytest.mark.parametrize(
    "changed",
    [
        {"HTTP_COOKIE": None},
        {"HTTP_COOKIE": f"mm-page={new_token()}"},
        {"HTTP_COOKIE": "mm-page=", "HTTP_X_MM_TOKEN": ""},
        {"HTTP_COOKIE": "mm-page=short", "HTTP_X_MM_TOKEN": "short"},
        {"HTTP_X_MM_TOKEN": None},
        {"HTTP_X_MM_TOKEN": TOKEN[:-1]},
        {"HTTP_X_MM_TOKEN": "\udcff"},
        {"CONTENT_TYPE": None},
        {"CONTENT_TYPE": "text/plain"},
        {"CONTENT_TYPE": "text/plain; application/json"},
        {"CONTENT_TYPE": "application/x-www-form-urlencoded"},
        {"HTTP_SEC_FETCH_SITE": "cross-site"},
        {"HTTP_SEC_FETCH_SITE": "same-site"},
        {"HTTP_SEC_FETCH_SITE": "none"},
        {"HTTP_SEC_FETCH_SITE": None, "HTTP_ORIGIN": "null"},
        {"HTTP_SEC_FETCH_SITE": None, "HTTP_ORIGIN": "https://evil.example"},
        {"HTTP_SEC_FETCH_SITE": None, "HTTP_ORIGIN": "http://127.0.0.1:3000"},
        {"HTTP_SEC_FETCH_SITE": None, "HTTP_ORIGIN": "http://[evil"},
        {"HTTP_SEC_FETCH_SITE": None, "HTTP_ORIGIN": "file://127.0.0.1:8765"},
    ],
)
def test_another_site(changed: dict[str, str | None]) -> None:
    assert forged(**changed)


@pytest.mark.parametrize(
    ("environ", "path", "ending"),
    [
        # Without a path, a browser takes that of the page, which it alone knows behind a proxy.
        ({}, "", "HttpOnly; SameSite=Strict"),
        ({"SCRIPT_NAME": "/ops/mm"}, "", "HttpOnly; SameSite=Strict"),
        ({}, "/hidden/", "Path=/hidden/; HttpOnly; SameSite=Strict"),
        ({"wsgi.url_scheme": "https"}, "", "HttpOnly; SameSite=Strict; Secure"),
    ],
)
def test_the_cookie_goes_to_the_page_alone(environ: dict[str, Any], path: str, ending: str) -> None:
    assert set_cookie(environ, "mm-page", TOKEN, path) == f"mm-page={TOKEN}; {ending}"


def test_a_cookie_that_is_not_ours_is_no_token() -> None:
    assert token_of({"HTTP_COOKIE": 'mm-page="><script>'}) is None
    assert token_of({"HTTP_COOKIE": f"mm-page={TOKEN}"}) == TOKEN
