"""Django's system check of our settings: ``manage.py check`` fails if they are wrong.

Django also runs its checks before every other command, and does not run the command if one fails.
So for other commands, wrong settings are only a warning.
"""

from __future__ import annotations

import sys
from typing import Any

from celery.exceptions import ImproperlyConfigured
from django.core import checks

from celery_middle_management.celery_internals import active_apps, configured
from celery_middle_management.settings.reading import NotNeededHere, read_settings

_HINT = "Where nothing should be managed, set MIDDLE_MANAGEMENT_ENABLED=false in the environment."
_ID = "celery_middle_management.E001"


def register() -> None:
    """Add the check to Django's own."""
    checks.register(check_settings)


def level() -> int:
    """Return how bad a mistake is: for any command but ``check``, it only deserves a warning."""
    return int(checks.ERROR if sys.argv[1:2] == ["check"] else checks.WARNING)


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Return a message for each app of the process that has wrong settings."""
    wrong = filter(None, map(_wrong, active_apps()))
    return [checks.CheckMessage(level(), message, hint=_HINT, id=_ID) for message in wrong]


def _wrong(app: Any) -> str | None:
    try:
        # As in tests: no task leaves the process, so nothing is managed.
        if app.conf.task_always_eager or str(app.conf.broker_url).startswith("memory:"):
            return None
        read_settings(app)
    except Exception as error:  # noqa: BLE001 - if not ours, Celery raises it itself
        ours = isinstance(error, ImproperlyConfigured) and configured(app)
        return str(error) if ours and not isinstance(error, NotNeededHere) else None
    return None
