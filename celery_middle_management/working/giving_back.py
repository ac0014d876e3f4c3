"""Gives the scheduled tasks of a cordoned worker back to the broker, before it shuts down.

A worker that shuts down gives back the tasks that it has not begun. Where kombu emulates
acknowledgement, as with Redis, they go back one by one, and thousands take longer than the platform
waits before it kills the worker. So a cordoned worker gives them back beforehand, in its own time.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Any

from celery.bootsteps import RUN  # type: ignore[attr-defined]
from celery.worker import state as worker_state

from celery_middle_management.working.scheduled import Scheduled, scheduled
from celery_middle_management.working.shutdown import is_shutting_down

#: Giving back the rest at the shutdown may take this long (s). A platform waits for 30 s, but
#: workers that stop at the same time slow one another down, and the time is an estimate.
ALLOWED = 2.0
#: How long (s) it takes to give back one task, until that has been measured.
ASSUMED = 0.05
#: A cordon must last this long (s) before anything is given back.
PATIENCE = 3.0
#: If cordons come and go, giving tasks back takes up at most this fraction of the time.
SHARE = 0.2
#: The main thread gives tasks back for this long (s) at a time, and does its other work in between.
PORTION = 0.1
#: The same without an event loop, where a turn takes up to 2 s; other green threads do the work
#: that must not wait for it.
LONG_PORTION = 4.0


class GivingBack:
    """Gives tasks back until the rest can be given back at the shutdown.

    The reporter's thread asks how many there are; only the main thread gives them back.
    """

    def __init__(self, imminent: float) -> None:
        """A task that begins within *imminent* seconds is not given back."""
        self._imminent = imminent
        #: How many tasks that are due later keep the worker from being stopped.
        self.rest = 0
        self._cordoned_at: float | None = None
        self._not_before = 0.0
        self._spent = 0.0
        self._slowest: float | None = None
        self._left: deque[Scheduled] | None = None

    def look(self, later: int, *, cordoned: bool, one_by_one: bool) -> int:
        """Return how many tasks, of the *later* ones, keep the worker from being stopped."""
        now = monotonic()
        if cordoned and self._cordoned_at is None:
            self._cordoned_at, self._slowest, self._left = now, None, None
        elif not cordoned and self._cordoned_at is not None:
            self._not_before = now + self._spent / SHARE
            self._cordoned_at, self._spent = None, 0.0
        self.rest = later if cordoned and one_by_one and self._too_many(later) else 0
        return self.rest

    @property
    def due(self) -> bool:
        """Whether the main thread should give tasks back now."""
        if not self.rest or self._cordoned_at is None:
            return False
        return monotonic() >= max(self._cordoned_at + PATIENCE, self._not_before)

    def give_back_portion(self, consumer: Any) -> bool:
        """Spend a short while giving tasks back; return whether more remain. Main thread only.

        Raises:
            one of the consumer's connection or channel errors; the worker still holds the rest.
        """
        if self._left is None:
            self._left = deque(s for s in scheduled(consumer) if s.pending(self._imminent))
        left, given, began = self._left, 0, monotonic()
        lasts = LONG_PORTION if consumer.hub is None else PORTION
        try:
            # The tasks due last go first: if the cordon is lifted, the others are needed sooner.
            while left and self._too_many(len(left)) and monotonic() - began < lasts:
                if is_shutting_down() or consumer.blueprint.state != RUN:
                    return False
                given += _give_back(consumer, left[-1], self._imminent)
                left.pop()
        finally:
            spent = monotonic() - began
            self._spent += spent
            if given:
                self._slowest = max(spent / given, self._slowest or 0.0)
            if not left:
                self._left = None
        return self._too_many(len(left))

    def _too_many(self, tasks: int) -> bool:
        cost = ASSUMED if self._slowest is None else self._slowest
        return tasks * cost > ALLOWED


def gives_back_one_by_one(consumer: Any) -> bool:
    """Return whether kombu, and not the broker, gives back what a channel holds at its close."""
    channel = getattr(consumer.task_consumer, "channel", None)
    return bool(getattr(channel, "do_restore", False))


def _give_back(consumer: Any, held: Scheduled, imminent: float) -> bool:
    """Give one task back, or acknowledge it if it was revoked; return whether that was done."""
    request = held.request
    if not held.pending(imminent):
        return False
    if not request.revoked():
        request.message.requeue()
        request.acknowledged = True
        request.send_event("task-rejected", requeue=True)
        worker_state.task_ready(request)
    held.cancel(consumer.timer)
    # Celery raised the count for each task, though not beyond worker_eta_task_limit.
    if consumer.qos.value > consumer.initial_prefetch_count:
        consumer.qos.decrement_eventually()
    return True
