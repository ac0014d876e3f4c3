"""The app whose week ``tests.benchmarks.week`` makes, at ``REDIS_URL``; ``PRICED``: on Heroku."""

from __future__ import annotations

import os

from celery import Celery

import celery_middle_management  # noqa: F401
from tests.benchmarks.week import PRICED, SETTINGS

app = Celery("shop", broker=os.environ["REDIS_URL"])
app.conf.update(PRICED if "PRICED" in os.environ else SETTINGS)
