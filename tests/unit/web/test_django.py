"""The Celery app that Django's admin shows, and what a view passes on to the page."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from celery.exceptions import ImproperlyConfigured

pytest.importorskip("django")

from celery_middle_management.web.django import bridge, managed


class App:
    def __init__(self, main: str) -> None:
        self.main = main


@pytest.fixture
def apps(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets there be apps, by name: True is enabled, None is not, an error is what is wrong."""

    def there_are(**found: Any) -> None:
        def read(app: App) -> Any:
            if isinstance(found[app.main], Exception):
                raise found[app.main]
            return found[app.main]

        monkeypatch.setattr(managed, "active_apps", lambda: [App(name) for name in found])
        monkeypatch.setattr(managed, "read_settings", read)

    return there_are


@pytest.mark.parametrize("error", [ImproperlyConfigured("max_workers"), ImportError("no module")])
def test_what_is_wrong_with_another_app_does_not_hide_ours(
    apps: Callable[..., None], error: Exception
) -> None:
    apps(other=error, ours=True, third=None)
    assert managed.celery_app().main == "ours"


def test_what_is_wrong_with_ours_is_said(apps: Callable[..., None]) -> None:
    apps(third=None, ours=ImproperlyConfigured("max_workers is 'x'"))
    with pytest.raises(ImproperlyConfigured, match="max_workers is 'x'"):
        managed.celery_app()
    apps(one=True, two=True)
    with pytest.raises(ImproperlyConfigured, match="this process has several: 'one', 'two'"):
        managed.celery_app()


def test_errors_of_the_page_are_seen_where_the_server_is_told_no_place_for_them() -> None:
    class Request:
        path, scheme, body = "/live/data", "http", b""

        def __init__(self, **meta: Any) -> None:
            self.META = {"REQUEST_METHOD": "GET", **meta}

        def get_host(self) -> str:
            return "testserver"

    def errors(request: Any) -> Any:
        return bridge._environ(request, "data", None)["wsgi.errors"]

    assert errors(Request()) is sys.stderr
    assert errors(Request(**{"wsgi.errors": "its own"})) == "its own"
