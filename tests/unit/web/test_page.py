"""The page as a WSGI callable, as far as it needs no Redis."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import ImproperlyConfigured

import celery_middle_management.web
from celery_middle_management.web import Page, Visitor
from celery_middle_management.web.visitor import name_of
from tests.unit.web.wsgi import ask, environ_of

pytestmark = pytest.mark.usefixtures("plotting")
STATIC = Path(celery_middle_management.web.__file__).with_name("static")
ANN = Visitor("ann@example.com", may_act=True)


def page(visitor: Any = ANN, name: str = "shop") -> Page:
    return Page(Celery(name, broker="memory://", set_as_current=False), lambda _: visitor)


@pytest.mark.parametrize("path", ["/", "/data", "/metrics", "/static/x/page.js", "/nothing", ""])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_who_is_no_visitor_sees_the_same_everywhere(path: str, method: str) -> None:
    answer = ask(page(None), path, method)
    assert (answer.status, answer.body) == (403, "You may not see this page.\n")
    assert "Set-Cookie" not in answer.headers


def test_what_is_no_visitor_lets_no_one_in() -> None:
    with pytest.raises(TypeError, match="returned a bool, not a Visitor"):
        ask(page(True))
    with pytest.raises(TypeError, match="visitor is 'ann'; allowed: a function"):
        Page(Celery(set_as_current=False), "ann")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": None}, "name is None; allowed: a text"),
        ({"name": 7}, "name is 7; allowed"),
        ({"name": "ann", "may_act": "no"}, "may_act is 'no'; allowed: True or False"),
        ({"name": "ann", "may_act": "x".isupper}, "may_act is <built-in"),
        ({"name": "ann", "may_act": 1}, "may_act is 1; allowed"),
        ({"name": "ann", "may_act": None}, "may_act is None; allowed"),
    ],
)
def test_a_visitor_is_told_by_a_text_and_a_bool(given: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError) as error:
        Visitor(**given)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize("path", ["/nope", "/static", "/favicon.ico", "/pauses"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_at_an_unknown_address_there_is_nothing(path: str, method: str) -> None:
    answer = ask(page(), path, method)
    assert (answer.status, answer.body) == (404, '{"error":"there is nothing at this address"}')


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [("/pause", "GET", "POST"), ("/data", "POST", "GET"), ("/", "PUT", "GET")],
)
def test_an_address_for_other_requests_says_for_which(path: str, method: str, allowed: str) -> None:
    answer = ask(page(), path, method)
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize("module", ["bottle", "bokeh"])
def test_a_missing_package_is_named_once(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "celery_middle_management.web.extra.find_spec",
        lambda name: None if name == module else found(name),
    )
    with pytest.raises(ImproperlyConfigured) as error:
        page()
    said = f"the page needs {module}: pip install 'celery-middle-management[web]'"
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("mounted", "place"), [("/mm", "./mm/"), ("/ops/mm", "./mm/"), ("/a b", "./a%20b/")]
)
def test_its_addresses_are_relative_so_it_wants_a_slash(mounted: str, place: str) -> None:
    answer = ask(page(), "", SCRIPT_NAME=mounted)
    assert (answer.status, answer.headers["Location"]) == (302, place)
    assert ask(page(), "/", SCRIPT_NAME=mounted).status == 200
    assert ask(page(), "", SCRIPT_NAME="").status == 200
    assert not re.search(r'(href|src)="(/|https?:)', ask(page(), "/", SCRIPT_NAME=mounted).body)


def test_the_web_app_around_it_keeps_its_environ() -> None:
    environ = environ_of("/")
    before = {**environ}
    list(page()(environ, lambda *_: None))
    assert environ == before


def test_headers_keep_other_sites_out() -> None:
    for path in ("/", "/static/x/page.js", "/nothing", "/data"):
        headers = ask(page(), path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; connect-src 'self'; ")
        assert "unsafe" not in policy
        for part in ("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"):
            assert part in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"


def test_each_page_has_a_nonce_of_its_own_and_keeps_the_visitors_token() -> None:
    first, second = ask(page()), ask(page())
    nonces = [
        re.findall(r"nonce-([\w-]+)", a.headers["Content-Security-Policy"]) for a in (first, second)
    ]
    assert nonces[0] != nonces[1]
    assert f'nonce="{nonces[0][0]}"' in first.body
    token = first.headers["Set-Cookie"].partition(";")[0]
    again = ask(page(), HTTP_COOKIE=token)
    assert again.headers["Set-Cookie"].startswith(token)
    assert f'content="{token.partition("=")[2]}"' in again.body


def test_a_hostile_name_stays_text() -> None:
    body = ask(page(name='"><script>alert(1)</script>{token}')).body
    assert "<script>alert" not in body
    assert "&quot;&gt;&lt;script&gt;" in body


def test_files_are_kept_by_browsers_for_as_long_as_they_are_these() -> None:
    version = re.findall(r"static/(\w+)/page\.js", ask(page()).body)[0]
    kept = ask(page(), f"/static/{version}/page.js")
    assert kept.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert kept.headers["Content-Type"].startswith("text/javascript")
    assert ask(page(), "/static/another/page.js").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "name", ["page.html", "..%2fpage.py", "../page.py", "%2e%2e/page.py", "nothing.js", "page.js/"]
)
def test_only_the_pages_own_files_are_served(name: str) -> None:
    answer = ask(page(), f"/static/x/{name}")
    assert (answer.status, answer.body) == (404, '{"error":"there is nothing at this address"}')


def test_an_app_that_is_not_managed_is_told_so() -> None:
    answer = ask(page(), "/data")
    assert answer.status == 503
    assert "Middle Management is not enabled for the app 'shop'" in answer.body


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_do_nothing(method: str) -> None:
    answer = ask(page(), "/pause", method)
    assert answer.status in (404, 405)
    assert not [name for name in answer.headers if name.startswith("Access-Control")]


def test_its_own_scripts_make_no_markup_of_text() -> None:
    scripts = {path.name: path.read_text() for path in STATIC.glob("*.js")}
    assert len(scripts) >= 5
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|https?://"
    assert {name for name, text in scripts.items() if re.search(ways, text)} == set()


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        ("ann", "ann"),
        (" ann\x1b[31m\r\nbob ", "ann [31m bob"),
        ("a\u202eb", "a b"),
        ("x" * 500, "x" * 80),
        ("\x00", "a visitor of the page"),
        ("", "a visitor of the page"),
    ],
)
def test_the_recorded_name_is_one_short_line(name: str, recorded: str) -> None:
    assert name_of(Visitor(name)) == recorded
