"""The Celery app of the Django project, and its one page in this process."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.exceptions import ImproperlyConfigured

from celery_middle_management.celery_internals import active_apps
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.settings.reading import read_settings
from celery_middle_management.web.page import VISITOR

if TYPE_CHECKING:
    from celery_middle_management.web import Page

_log = LogThrottle(logging.getLogger("celery_middle_management"))
_lock = threading.Lock()
_pages: dict[Celery, Page] = {}


def celery_app() -> Celery:
    """Return the app of this process that has the package enabled.

    Raises:
        ImproperlyConfigured: there is none, or there are several, or its settings are wrong.
    """
    enabled, failures = _enabled()
    if len(enabled) > 1:
        # Celery makes an app "default" for code that runs before the project's is imported.
        enabled = [app for app in enabled if app.main != "default"]
    if not enabled and failures:
        raise failures[0]
    if not enabled:
        raise ImproperlyConfigured(
            "Middle Management is not enabled for any Celery app of this process: import the "
            "module of your app in the project's __init__.py, and set "
            "CELERY_MIDDLE_MANAGEMENT_ENABLED=True"
        )
    if len(enabled) > 1:
        names = ", ".join(sorted(repr(app.main) for app in enabled))
        raise ImproperlyConfigured(
            f"the admin shows one Celery app, and this process has several: {names}"
        )
    return enabled[0]


def _enabled() -> tuple[list[Celery], list[ImproperlyConfigured]]:
    """Return the apps that have the package enabled, and what is wrong with others' settings.

    Apps of libraries, whose configuration we cannot read, are none of ours.
    """
    enabled: list[Celery] = []
    failures: list[ImproperlyConfigured] = []
    for app in active_apps():
        try:
            if read_settings(app) is not None:
                enabled.append(app)
        except ImproperlyConfigured as error:
            failures.append(error)
        except Exception:  # noqa: BLE001 - that app's own code
            _log.warn("app", "the settings of the Celery app %r cannot be read", app.main)
    return enabled, failures


def page() -> Page:
    """Return the page of :func:`celery_app`, made at the first call: its readers share it."""
    from celery_middle_management.web import Page

    app = celery_app()
    with _lock:
        if app not in _pages:
            _pages[app] = Page(app, _visitor)
        return _pages[app]


def _visitor(environ: dict[str, Any]) -> Any:
    return environ[VISITOR]
