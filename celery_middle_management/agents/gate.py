"""Whether a worker consumes: asked for by one thread, done by the main thread."""

from __future__ import annotations

import threading
from typing import Any

from celery.bootsteps import RUN  # type: ignore[attr-defined]


class Gate:
    """Whether the worker consumes. Asked for by one thread, done by the main thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = True
        self._open = True
        self._queues: list[str] = []

    def want(self, consuming: bool, consumer: Any) -> bool:
        """Ask for it; returns whether the worker surely has stopped consuming."""
        with self._lock:
            self._wanted = consuming
            # The consumer's own word: a remote control command may add a queue behind our back.
            return not self._open and not _consumed(consumer)

    def settled(self, consumer: Any) -> bool:
        """Whether it is as it was asked for."""
        with self._lock:
            return self._settled(consumer)

    def closed(self, consumer: Any) -> bool:
        """Whether it is not to consume, and does not."""
        with self._lock:
            return not self._wanted and self._settled(consumer)

    def reconcile(self, consumer: Any) -> None:
        """Stop or take up consuming, as asked for. For the main thread alone."""
        if consumer.task_consumer is None or consumer.blueprint.state != RUN:
            return
        with self._lock:
            if self._settled(consumer):
                return
            wanted = self._wanted
            # Before the first task can come, not after: nobody may read "stopped" meanwhile.
            self._open = self._open or wanted
        queues = consumer.app.amqp.queues
        if wanted:
            while self._queues:
                # Older Celery does not select a queue that it knows already.
                queues.select_add(queues[self._queues[-1]])
                consumer.add_task_queue(self._queues[-1])
                self._queues.pop()
            return
        for queue in dict.fromkeys([*queues.consume_from, *_consumed(consumer)]):
            if queue not in self._queues:
                self._queues.append(queue)
            consumer.cancel_task_queue(queue)
        with self._lock:
            self._open = False

    def _settled(self, consumer: Any) -> bool:
        if self._wanted:
            return self._open and not self._queues
        return not self._open and not _consumed(consumer)


def _consumed(consumer: Any) -> list[str]:
    """The queues that the consumer consumes, or will once its loop begins."""
    return [queue.name for queue in getattr(consumer.task_consumer, "queues", ())]
