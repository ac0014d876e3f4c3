"""The Celery app."""

from __future__ import annotations

import os
import time

from celery import Celery

import celery_middle_management  # noqa: F401 - hires and fires the workers

app = Celery("tasks", broker=os.environ["REDIS_URL"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_concurrency=1,
    middle_management_enabled=True,
    middle_management_platform="local",
    middle_management_max_workers=3,
    middle_management_jobs_per_worker=2,
    middle_management_web_actions=True,
)


@app.task
def resize(image: str) -> str:
    """Take as long as resizing an image might."""
    time.sleep(2)
    return image
