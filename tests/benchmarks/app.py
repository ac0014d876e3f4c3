"""An app with Middle Management, or with ``MM_OFF`` in the environment, plain Celery."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery

if "MM_OFF" not in os.environ:
    import celery_middle_management  # noqa: F401

app = Celery("benchmarks", broker=os.environ["BROKER_URL"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    middle_management_enabled=True,  # means nothing to plain Celery
)


@app.task
def noop() -> None:
    """The empty task."""


@app.task
def work(seconds: float) -> None:
    time.sleep(seconds)


@app.task
def mark(path: str) -> None:
    """Append the time (``monotonic()``) to a file."""
    with Path(path).open("a") as file:
        file.write(f"{time.monotonic()}\n")
