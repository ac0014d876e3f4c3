"""The app whose week ``tests.benchmarks.week`` makes, in the Redis at ``REDIS_URL``."""

from __future__ import annotations

import os

from celery import Celery

import celery_middle_management  # noqa: F401
from tests.benchmarks.week import SETTINGS

app = Celery("shop", broker=os.environ["REDIS_URL"])
app.conf.update(SETTINGS)
