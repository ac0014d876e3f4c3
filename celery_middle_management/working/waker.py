"""Wakes a worker's loop when a slot is free again.

A prefork pool wakes the loop itself, by the pipe from its children. A thread or a green thread does
not: without this module, the loop would sleep until its next timer.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

#: A loop that is held back checks at least this often (s), whether it is woken or not.
_AT_LEAST = 1.0


class Waker:
    """The waker of one worker, over all the connections that it makes."""

    def __init__(self, consumer: Any) -> None:
        self._hub = consumer.hub
        #: Whether the loop has stopped polling its broker, so that a free slot must wake it.
        self.waiting = False
        self._woken = threading.Event()
        if self._hub is not None:
            self._readable, self._writable = os.pipe()

    def start(self, connection: Any, check: Callable[[], object]) -> None:
        """Begin before the loop runs on this *connection*; *check* sets :attr:`waiting`."""
        self.waiting = False
        if self._hub is not None:
            self._hub.add_reader(self._readable, self._acknowledge)
            return
        drain_events = connection.drain_events

        def drain(timeout: float | None = None, **options: Any) -> Any:
            check()
            if self.waiting:
                self._woken.wait(_AT_LEAST if timeout is None else min(timeout, _AT_LEAST))
                self._woken.clear()
                timeout = 0.0  # to poll for a message again, not to wait for one
            return drain_events(timeout=timeout, **options)

        connection.drain_events = drain

    def stop(self) -> None:
        """Stop when the loop has ended with its connection.

        Celery's mingle reads from a new connection to Redis before there is a loop again. Before
        kombu 5.7, it fails at any other event that the hub has, and the worker with it.
        """
        if self._hub is not None:
            self._hub.remove_reader(self._readable)

    def wake(self) -> None:
        """Have the loop turn once more, from any thread."""
        if not self._woken.is_set():
            self._woken.set()
            if self._hub is not None:
                os.write(self._writable, b"!")

    def job_ended(self) -> None:
        """Have the loop turn if it waits for a job to end. From any thread."""
        if self.waiting:
            self.wake()

    def _acknowledge(self) -> None:
        self._woken.clear()
        os.read(self._readable, 1)
