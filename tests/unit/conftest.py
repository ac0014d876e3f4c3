"""Fixtures of several files."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a dyno that names no Celery, Redis or Heroku setting."""
    for name in list(os.environ):
        if name.startswith(("MIDDLE_MANAGEMENT_", "HEROKU_", "CELERY_")) or name == "REDIS_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("DYNO", "web.1")
    return monkeypatch
