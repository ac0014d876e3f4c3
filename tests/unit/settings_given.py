"""Apps with given settings, and what is read from them."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.app.utils import filter_hidden_settings
from celery.exceptions import ImproperlyConfigured

from celery_middle_management.settings.model import Heroku, Settings
from celery_middle_management.settings.reading import (
    read_settings,
)
from tests.discreet import assert_discreet

KEY = "HRKU-01234567-89ab-cdef-0123-456789abcdef"
APP_ID = "01234567-89ab-cdef-0123-456789abcdef"
HUNTER = "hunter2"  # part of every other secret here
LOCAL = {"enabled": True, "platform": "local", "max_workers": 5, "redis_url": "redis://r/1"}
ON_HEROKU = {**LOCAL, "platform": "heroku", "heroku_app": "an-app", "heroku_api_key": KEY}


def app_with(celery: dict[str, Any] | None = None, /, **ours: Any) -> Celery:
    """An app with these settings: Celery's own, and ours without their prefix."""
    app = Celery("app", set_as_current=False)
    app.conf.update(celery or {})
    app.conf.update({f"middle_management_{name}": value for name, value in ours.items()})
    return app


def read(celery: dict[str, Any] | None = None, /, **ours: Any) -> Settings | None:
    """Read the settings of an app with these."""
    return read_settings(app_with(celery, **ours))


def settings(celery: dict[str, Any] | None = None, /, **ours: Any) -> Settings:
    """Read settings, with the required ones added."""
    found = read(celery, **{**LOCAL, **ours})
    assert found
    return found


def heroku(**ours: Any) -> Heroku:
    """Read the settings of Heroku."""
    found = settings(**{"platform": "heroku", **ours})
    assert found.heroku
    return found.heroku


def refusal(celery: dict[str, Any] | None = None, /, **ours: Any) -> str:
    """Return the message about wrong settings."""
    app = app_with(celery, **ours)
    with pytest.raises(ImproperlyConfigured) as caught:
        read_settings(app)
    message = str(caught.value)
    assert "\n" not in message
    assert_discreet(caught.value, KEY, HUNTER)
    assert_masked(app, KEY, HUNTER)
    return message


def assert_masked(app: Celery, *secrets: str) -> None:
    """Assert that Celery, where it shows the app's settings, shows no secret of ours."""
    table = app.conf.table(with_defaults=True, censored=False)
    ours = {name: table[name] for name in table if "middle_management" in name.lower()}
    shown = repr(filter_hidden_settings(ours))
    assert not any(secret in shown for secret in secrets)
