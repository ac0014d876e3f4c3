"""A Celery app without Middle Management; its broker and result backend are $BROKER_URL's."""

from __future__ import annotations

import os
import time

from celery import Celery

from celery_middle_management import slacker  # noqa: F401

BROKER_URL = os.environ.get("BROKER_URL", "memory://")
RESULT_BACKEND = os.environ.get("RESULT_BACKEND", "rpc://")

app = Celery("plain", broker=BROKER_URL, backend=RESULT_BACKEND)
app.conf.update(broker_connection_retry_on_startup=True, worker_concurrency=1)


@app.task
def where() -> str:
    """The dyno that runs it."""
    return os.environ.get("DYNO", "nowhere")


@app.task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
