"""Native delayed delivery: with RabbitMQ's quorum queues, no worker holds a task until it is due.

Instead, Celery 5.5 and later publishes the task to an exchange that routes it through one queue
after another, each with a different delay, as the bits at the front of its routing key say. Until
the task is due, it is in none of the queues that are counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from celery import Celery

try:
    from celery.utils.quorum_queues import detect_quorum_queues
except ImportError:  # Celery before 5.5
    detect_quorum_queues = None  # type: ignore[assignment, unused-ignore]

_EXCHANGE = re.compile(r"(.+_)?celery_delayed_27")
_DELAY = re.compile(r"([01]\.){28}")


def without_delay(routing_key: str) -> str:
    """Return the routing key that a message had before its delay was put in front of it."""
    return _DELAY.sub("", routing_key, count=1)


def key_when_due(exchange: str, routing_key: str) -> str | None:
    """Return a delayed message's routing key without the delay; None if it is not delayed."""
    delayed = _EXCHANGE.fullmatch(exchange) and _DELAY.match(routing_key)
    return without_delay(routing_key) if delayed else None


def delayed_natively(app: Celery) -> Callable[[str], bool]:
    """Return a function that tells whether the broker keeps a queue's tasks until they are due."""
    queues: Any = app.amqp.queues
    if not _uses_quorum_queues(app, queues):
        return lambda _: False

    def is_delayed(name: str) -> bool:
        queue = queues.get(name) or queues.new_missing(name)
        return any(exchange_type != "direct" for exchange_type, _ in _bindings(queue))

    return is_delayed


def _uses_quorum_queues(app: Celery, queues: Mapping[str, Any]) -> bool:
    if detect_quorum_queues is None:
        return False
    if not any((q.queue_arguments or {}).get("x-queue-type") == "quorum" for q in queues.values()):
        return False
    with app.connection_for_write() as connection:
        return bool(detect_quorum_queues(app, connection.transport.driver_type)[0])


def _bindings(queue: Any) -> list[tuple[str, str]]:
    """Return the type and the routing key of everything that the queue is bound to."""
    bound = [queue] if queue.exchange else queue.bindings or ()
    return [(b.exchange.type, b.routing_key or "") for b in bound]
