"""System checks of what the admin's page needs; ``django_check`` has the one of our settings."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from celery.exceptions import ImproperlyConfigured
from django.apps import apps
from django.conf import settings
from django.core import checks
from django.urls import NoReverseMatch, reverse

from celery_middle_management.django_check import level
from celery_middle_management.settings.reading import read_settings
from celery_middle_management.web.django.managed import celery_app
from celery_middle_management.web.extra import NEEDED

_APP = "celery_middle_management.web.django"


def register() -> None:
    """Add the checks to Django's own."""
    checks.register(check_page)
    checks.register(check_actions, checks.Tags.security, deploy=True)


def check_page(**_: Any) -> list[checks.CheckMessage]:
    """Return what keeps the page from being served."""
    return [*_extra(), *_admin()]


def check_actions(**_: Any) -> list[checks.CheckMessage]:
    """Return a warning if the buttons are on, and the session's cookie may travel in the clear."""
    if settings.SESSION_COOKIE_SECURE or not _actions_are_on():
        return []
    what = (
        "The page's buttons hire and fire workers (CELERY_MIDDLE_MANAGEMENT_WEB_ACTIONS), and "
        "SESSION_COOKIE_SECURE is not True: they work for any reader of the cookie on its way."
    )
    hint = "Set SESSION_COOKIE_SECURE = True, or CELERY_MIDDLE_MANAGEMENT_WEB_ACTIONS = False."
    return [checks.Warning(what, hint=hint, id="celery_middle_management.W004")]


def _extra() -> Iterator[checks.CheckMessage]:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        yield checks.CheckMessage(
            level(),
            f"{_APP} is in INSTALLED_APPS, and its page needs {' and '.join(missing)}.",
            hint="pip install 'celery-middle-management[web]'",
            id="celery_middle_management.E002",
        )


def _admin() -> Iterator[checks.CheckMessage]:
    if not apps.is_installed("django.contrib.admin"):
        yield checks.CheckMessage(
            level(),
            f"{_APP} is in INSTALLED_APPS, and django.contrib.admin is not. The page is part of "
            "the admin, whose login protects it.",
            hint="Add django.contrib.admin to INSTALLED_APPS, or remove this package there and "
            "mount celery_middle_management.web.Page with a visitor of your own.",
            id="celery_middle_management.E003",
        )
        return
    try:
        reverse("admin:middle_management_workers_changelist")
    except NoReverseMatch:
        yield checks.Warning(
            f"{_APP} is in INSTALLED_APPS, and no address leads to its page.",
            hint="Add path('admin/', admin.site.urls) to the URLs. If the project has an admin "
            "site of its own, register the page there: "
            "site.register(Workers, WorkersAdmin).",
            id="celery_middle_management.W003",
        )
    except Exception:  # noqa: BLE001 - wrong URLs have a check of Django's own
        return


def _actions_are_on() -> bool:
    try:
        found = read_settings(celery_app())
    except ImproperlyConfigured:  # which is the check of our settings
        return False
    return found is not None and found.web_actions
