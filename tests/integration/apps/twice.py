"""An app whose factory is called twice, and one that is not managed, on a broker of its own."""

from __future__ import annotations

import os

from celery import Celery, shared_task

import celery_middle_management  # noqa: F401


@shared_task(name="work")
def work() -> None:
    """The empty task."""


@shared_task(name="publish", bind=True)
def publish(self: object, tasks: int) -> None:
    """Publish by both apps, from within a worker."""
    for _ in range(tasks):
        first.send_task("work")
        second.send_task("work")
        theirs.send_task("work")


def make(broker_url: str, managed: bool) -> Celery:
    app = Celery("twice", broker=broker_url, set_as_current=False)
    app.conf.update(
        middle_management_enabled=managed,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
    )
    return app


first, second = (make(os.environ["BROKER_URL"], managed=True) for _ in range(2))
theirs = make(os.environ["THEIR_BROKER_URL"], managed=False)
app = first
