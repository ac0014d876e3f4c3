"""A Celery app whose workers are processes of this machine."""

from __future__ import annotations

import os
import time

from celery import Celery

import celery_middle_management  # noqa: F401 - hires and fires the workers

app = Celery("tasks", broker=os.environ.get("REDIS_URL", "redis://localhost:6379/0"))
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_concurrency=1,
    worker_prefetch_multiplier=1,
    middle_management_enabled=True,
    middle_management_platform="local",
    middle_management_max_workers=3,
    middle_management_jobs_per_worker=1,
)


@app.task
def rotate(image: str) -> str:
    """Take as long as rotating an image might."""
    time.sleep(2)
    return image
