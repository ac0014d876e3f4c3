"""A Celery app whose broker is RabbitMQ."""

from __future__ import annotations

import os
import time

from celery import Celery

import celery_middle_management  # noqa: F401 - hires and fires the workers

app = Celery("tasks", broker=os.environ.get("CLOUDAMQP_URL", "amqp://guest@localhost:5672//"))
app.conf.update(
    broker_connection_retry_on_startup=True,
    # CloudAMQP's small plans have few connections.
    broker_pool_limit=1,
    task_ignore_result=True,
    worker_concurrency=1,
    middle_management_enabled=True,
    middle_management_platform="local",
    middle_management_redis_url=os.environ["REDIS_URL"],
    middle_management_max_workers=3,
    middle_management_jobs_per_worker=2,
)


@app.task
def rotate(image: str) -> str:
    """Take as long as rotating an image might."""
    time.sleep(2)
    return image
