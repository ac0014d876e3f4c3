"""An app with Middle Management or, with ``MM_OFF`` in the environment, with plain Celery.

With ``RECEIVERS`` as well, plain Celery's signals have empty receivers.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery, Task, signals

from tests.integration.apps.journal import Journal

if "MM_OFF" not in os.environ:
    import celery_middle_management  # noqa: F401

app = Celery("benchmarks", broker=os.environ["BROKER_URL"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    # The `celery` command imports the package anyway, for its `mm` command.
    middle_management_enabled="MM_OFF" not in os.environ,
)


if os.environ.get("RECEIVERS"):
    for _signal in (
        signals.before_task_publish,
        signals.after_task_publish,
        signals.task_received,
        signals.task_prerun,
        signals.task_postrun,
        signals.task_failure,
        signals.task_revoked,
        signals.task_internal_error,
        signals.task_unknown,
        signals.task_rejected,
    ):
        _signal.connect(lambda **_: None, weak=False)


def _nothing() -> None:
    """The empty task."""


noop = app.task(name="noop")(_nothing)


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


@app.task
def wait_for_file(path: str) -> None:
    """Take a slot until there is a file."""
    while not Path(path).exists():
        time.sleep(0.01)


@app.task
def nap() -> None:
    time.sleep(0.3)


@app.task
def tenth() -> None:
    time.sleep(0.1)


#: Tasks that are published in turns, by the name of the load.
LOADS = {
    "of_many_names": [app.task(name=f"noop-{i}")(_nothing) for i in range(400)],
    "some_longer": [noop] * 16 + [nap] + [noop] * 16,
}
