"""How long a worker has had room for a message without getting one."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any


class IdleTime:
    """The idle time of one worker. Made before Celery makes the handler of its messages."""

    def __init__(self, consumer: Any) -> None:
        self._since = monotonic()
        consumer.create_task_handler = self._noting(consumer.create_task_handler)

    def update(self, *, idle: bool) -> float:
        """Return for how long (s) the worker has been *idle*; 0 if it is not."""
        now = monotonic()
        if not idle:
            self._since = now
        return now - self._since

    def _noting(self, create: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the method that makes the message handler, to note when a message comes."""

        def create_task_handler(*args: Any, **options: Any) -> Callable[..., Any]:
            handle = create(*args, **options)

            def on_message(message: Any) -> Any:
                self._since = monotonic()
                return handle(message)

            return on_message

        return create_task_handler
