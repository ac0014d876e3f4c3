"""A Celery app with two kinds of work, and a pool of workers for each."""

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
    task_routes={
        "tasks.thumbnail": {"queue": "thumbnails"},
        "tasks.film": {"queue": "films"},
    },
    middle_management_enabled=True,
    middle_management_platform="local",
    middle_management_pools={
        "thumbnails": {"queues": ["thumbnails"], "max_workers": 2, "jobs_per_worker": 20},
        "films": {"queues": ["films"], "max_workers": 3, "jobs_per_worker": 1},
    },
)


@app.task
def thumbnail(image: str) -> str:
    """Take as long as making a thumbnail might."""
    time.sleep(0.1)
    return image


@app.task
def film(name: str) -> str:
    """Take a few seconds, in place of the minutes that encoding a film might take."""
    time.sleep(8)
    return name
