"""The Celery app."""

from __future__ import annotations

import os
import ssl
import time

from celery import Celery

import celery_middle_management  # noqa: F401 - hires and fires the workers

REDIS_URL = os.environ["REDIS_URL"]

app = Celery("tasks", broker=REDIS_URL)
app.conf.update(
    # The certificate of Heroku's Redis is self-signed.
    broker_use_ssl={"ssl_cert_reqs": ssl.CERT_NONE} if REDIS_URL.startswith("rediss:") else None,
    broker_connection_retry_on_startup=True,
    # Small plans of Redis have few connections: a worker needs three with this, and seven without.
    broker_pool_limit=1,
    worker_enable_remote_control=False,
    task_ignore_result=True,
    # A worker that holds no tasks in reserve leaves them to the workers that are being hired.
    worker_prefetch_multiplier=1,
    # With REMAP_SIGTERM in app.json: a deploy gives running tasks 20 of Heroku's 30 seconds.
    worker_soft_shutdown_timeout=20,
    # The Heroku app, its API key and the limits come from config vars; see app.json.
    middle_management_enabled=True,
)


@app.task
def send_email(number: int, seconds: float) -> None:
    """Take as long as sending an e-mail might."""
    time.sleep(seconds)
    print(f"e-mail {number} is on its way")
