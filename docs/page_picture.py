"""Make the pictures of the page: ``python docs/page_picture.py``; with a directory, all of them there.

Needs the extra ``browser``, Chromium and its driver. The README's picture is ``docs/page.png``.
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celery import Celery
from PIL import Image

from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.settings.reading import read_settings
from tests.benchmarks.week import SETTINGS, reporting, week
from tests.browser.site import Site, serve
from tests.browser.window import Window, open_window

PICTURE = Path(__file__).with_name("page.png")
MOST_BYTES = 200_000
APP = "tests.benchmarks.week_app"


@contextmanager
def a_week(*, trouble: bool, seed: int = 7, **settings: str) -> Iterator[Site]:
    """The page of an app with a week of history, which ends now."""
    with RedisServer() as server, tempfile.TemporaryDirectory() as directory:
        app = Celery(broker=server.url, set_as_current=False)
        app.conf.update(SETTINGS)
        read = read_settings(app)
        assert read is not None
        ledger = RedisLedger(read)
        made = week(read, time.time(), seed, trouble=trouble)
        made.write(ledger)
        with reporting(ledger, made), serve(server.url, Path(directory), APP, **settings) as site:
            yield site
