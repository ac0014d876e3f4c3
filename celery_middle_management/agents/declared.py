"""The queues that an app declares."""

from __future__ import annotations

from typing import Any

from celery import Celery


def declared_queues(app: Celery) -> tuple[str, ...]:
    """The queues that *app* declares; ``app.amqp.queues`` grows with all that it publishes to."""
    amqp: Any = app.amqp
    return tuple(amqp.Queues(app.conf.task_queues))
