"""The app whose page the tests look at: local workers, and settings from the environment."""

from __future__ import annotations

import os
import time

from celery import Celery

import celery_middle_management  # noqa: F401

app = Celery("shop", broker=os.environ["REDIS_URL"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_concurrency=1,
    middle_management_enabled=True,
    middle_management_platform="local",
    middle_management_max_workers=3,
    middle_management_jobs_per_worker=2,
    middle_management_call_interval=1,
)


@app.task
def nap(seconds: float) -> None:
    """Work as long as a test wants."""
    time.sleep(seconds)
