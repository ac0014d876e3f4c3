"""One Chromium for all tests of the page, and what must hold after each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import redis

from celery_middle_management.demo.redis_server import RedisServer

pytest.importorskip("selenium", reason="pip install -e '.[browser]'")

from tests.browser.window import CHROMIUM, DRIVER, Window, find, open_window


@pytest.fixture(scope="session")
def chromium() -> Iterator[Window]:
    """A Chromium; without one, the tests are skipped, except in CI."""
    missing = [names[0] for names in (CHROMIUM, DRIVER) if find(names) is None]
    if missing:
        why = f"no {' and no '.join(missing)}: apt-get install chromium chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    with open_window() as window:
        yield window


@pytest.fixture(scope="module")
def redis_url_of_module(redis_server: RedisServer) -> str:
    """A database that is empty before the first test of a module."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def window(chromium: Window) -> Window:
    """A window that knows no cookie."""
    chromium.forget()
    return chromium
