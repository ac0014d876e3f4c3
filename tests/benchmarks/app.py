"""An app with Middle Management, or with ``MM_OFF`` in the environment, plain Celery."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery, Task

from tests.integration.apps.journal import Journal

if "MM_OFF" not in os.environ:
    import celery_middle_management  # noqa: F401

app = Celery("benchmarks", broker=os.environ["BROKER_URL"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    # The `celery` command imports the package all the same, for its own command.
    middle_management_enabled="MM_OFF" not in os.environ,
)


@app.task
def noop() -> None:
    """The empty task."""


@app.task
def work(seconds: float) -> None:
    time.sleep(seconds)


@app.task(bind=True)
def noted(self: Task, seconds: float) -> None:
    """As `work`, written down."""
    journal = Journal()
    journal.begin(self.request.id)
    time.sleep(seconds)
    journal.end(self.request.id)


@app.task
def mark(path: str) -> None:
    """Append the time (``monotonic()``) to a file."""
    with Path(path).open("a") as file:
        file.write(f"{time.monotonic()}\n")
