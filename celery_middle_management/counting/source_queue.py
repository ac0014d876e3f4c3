"""The queue that a worker took a message from."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from celery import Celery

from celery_middle_management.core.headers import COPIES, HEADER
from celery_middle_management.counting.delayed import without_delay
from celery_middle_management.counting.routing import Routes


class SourceQueues:
    """Finds the queue of each message that workers of one app take."""

    def __init__(self, app: Celery, routes: Routes) -> None:
        self._app = app
        self._routes = routes

    def queue_of(self, request: Any) -> str:
        """Return the queue that this process, a worker, took the *request* from."""
        queue = self.named_in_headers(request.request_dict)
        if queue:
            return queue
        key = without_delay(request.delivery_info.get("routing_key") or "")
        queues = self._routes.queues_of(request.delivery_info.get("exchange"), key)
        return self._consumed(queues) or key

    def named_in_headers(self, request: Any) -> str | None:
        """Return the queue that our headers name; None for a message that is not counted.

        *request* is a task's context, a worker's request, or a mapping of headers.
        """
        copies = header(request, COPIES)
        return self._consumed(copies) if copies else header(request, HEADER)

    def _consumed(self, queues: Sequence[str]) -> str | None:
        """Return the first of these queues that this process consumes, or else the first."""
        if len(queues) < 2:
            return next(iter(queues), None)
        consumed: Container[str] = self._app.amqp.queues.consume_from
        return next((queue for queue in queues if queue in consumed), queues[0])


def header(request: Any, name: str) -> Any:
    """Return a header of a message; Celery gives headers as attributes or as a dictionary."""
    if isinstance(request, dict):
        return request.get(name)
    return getattr(request, name, None)
