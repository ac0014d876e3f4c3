"""The tasks that a worker holds until they are due, and how they get back to the broker.

A worker that shuts down gives back what it has not begun. Where kombu emulates acknowledgement, as
with Redis, it does so one by one, and thousands take longer than the platform waits before it
kills. So a cordoned worker gives them back beforehand, in its own time.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import chain
from time import monotonic, thread_time, time
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from celery.bootsteps import RUN  # type: ignore[attr-defined]
from celery.worker import state as worker_state
from celery.worker.request import Request

from celery_middle_management.core.demand import bucket_of
from celery_middle_management.core.headers import HEADER
from celery_middle_management.core.timing import RECENT
from celery_middle_management.counting.signals import handlers_of

#: Looking through scheduled tasks takes at most this part of the time.
_SCAN_SHARE = 0.05

#: What is left may take so long (s) to give back at the shutdown. A platform waits for 30 s; but
#: workers that stop at the same time hinder one another, and the time is that of the past.
ALLOWED = 2.0
#: Seconds a task that giving back takes, until it has been measured.
ASSUMED = 0.05
#: A cordon that is lifted before this time (s) lets everything be where it is.
PATIENCE = 3.0
#: Where cordons come and go, giving back takes at most this part of the time.
SHARE = 0.2
#: The worker's main thread gives back for so long (s) at a time, and does its other work between.
PORTION = 0.1
#: The same without an event loop, where a turn takes up to 2 s; what must not wait for it is done
#: by other green threads.
LONG_PORTION = 4.0
#: RabbitMQ 4 drops a message of a quorum queue that came back more often than this by default.
_RETURNS = 20


class Scheduled(NamedTuple):
    """A request in the consumer's timer. *begins* is a reading of ``monotonic()``."""

    request: Request
    eta: datetime
    begins: float
    #: The timer's own: an entry of its heap, or a green thread. None of what is kept apart.
    item: Any

    def pending(self, imminent: float) -> bool:
        """Whether it is neither begun, nor about to within *imminent* seconds, nor called off."""
        return (
            not self.item.entry.canceled
            and not self.request.acknowledged
            and self.begins - monotonic() > imminent
        )

    def cancel(self, timer: Any) -> None:
        """Take it off the timer, which else would keep it in memory until it were due."""
        entry = self.item.entry
        entry.cancel()
        entry.args = ()
        if hasattr(self.item, "cancel"):  # a green thread
            timer.cancel(self.item)


def scheduled(consumer: Any) -> Iterator[Scheduled]:
    """Requests in the consumer's timer, as ``celery inspect scheduled`` finds them."""
    schedule = getattr(consumer.timer, "schedule", consumer.timer)
    for item in list(getattr(schedule, "queue", ())):
        entry = item.entry
        request = entry.args[0] if entry.args else None
        if not entry.canceled and isinstance(request, Request) and request.eta is not None:
            yield Scheduled(request, request.eta, item.eta, item)


def kept_apart(apart: Iterable[Request]) -> Iterator[Scheduled]:
    """Those of the requests that a strategy of a task's own keeps *apart* until they are due."""
    now, begins = time(), monotonic()
    for request in apart:
        wait = request.eta.timestamp() - now if request.eta else 0.0
        if wait > 0 and request.eta is not None:
            yield Scheduled(request, request.eta, begins + wait, None)


def queue_of_request(request: Request) -> str:
    """The queue that a request came from."""
    handlers = handlers_of(request.app)
    return handlers.source_queues.queue_of(request) if handlers else ""


def can_return(message: Any, queue: Any) -> bool:
    """Whether the broker surely keeps a *message* that goes back to its *queue* once more.

    A quorum queue counts how often a message came back, and drops it after its delivery limit. That
    of a policy cannot be seen from here, so half of what is known is left unused.
    """
    limit = ((queue.queue_arguments if queue else None) or {}).get("x-delivery-limit", _RETURNS)
    returns = (message.headers or {}).get("x-delivery-count", 0)
    return bool(returns < (limit if limit >= 0 else _RETURNS) // 2)


class ScheduledScan:
    """What there is to tell of the tasks that a worker holds until they are due."""

    def __init__(self, imminent: float) -> None:
        #: Seconds within which a task is as good as begun.
        self._imminent = imminent
        self.due: Mapping[str, Mapping[int, int]] = {}
        self.recent: Mapping[str, Mapping[int, int]] = {}
        #: Those that keep the worker: they begin soon, or must not go back.
        self.imminent = 0
        #: The others.
        self.later = 0
        self._first_seen = WeakKeyDictionary[Request, float]()
        self._again = 0.0

    def look(
        self, consumer: Any, ahead: float, cordoned: bool, apart: Iterable[Scheduled] = ()
    ) -> ScheduledScan:
        """Look again, unless that costs too much time; *apart* are those that no timer has.

        Due times are the ledger's, which is *ahead* of our clock (s). Of a cordoned worker, which
        may be fired next, everything must be known.
        """
        began, spent = monotonic(), thread_time()
        if not cordoned and began < self._again:
            return self
        now, imminent, later = time(), 0, 0
        due, recent = (defaultdict[str, Counter[int]](Counter) for _ in range(2))
        for request, eta, begins, _ in chain(scheduled(consumer), apart):
            queue = queue_of_request(request)
            returns = can_return(request.message, consumer.app.amqp.queues.get(queue))
            bucket = bucket_of(eta.timestamp() + ahead, now + ahead)
            due[queue][bucket] += 1
            held_for = began - self._first_seen.setdefault(request, began)
            if held_for < RECENT and HEADER in request.request_dict and not cordoned:
                recent[queue][bucket] += 1
            if begins - began <= self._imminent or not returns:
                imminent += 1
            else:
                later += 1
        self.due, self.recent = dict(due), dict(recent)
        self.imminent, self.later = imminent, later
        # Processor time: when other processes are busy, the scan costs no more.
        self._again = began + (thread_time() - spent) / _SCAN_SHARE
        return self


class GivingBack:
    """Gives the scheduled tasks of a cordoned worker back, until the rest is soon given back.

    One thread asks how many, the main thread alone gives them.
    """

    def __init__(self, imminent: float) -> None:
        self._imminent = imminent
        #: Tasks that must not be lost sight of: with them the worker may not be stopped yet.
        self.rest = 0
        self._cordoned_at: float | None = None
        self._not_before = 0.0
        self._spent = 0.0
        self._slowest: float | None = None
        self._left: deque[Scheduled] | None = None

    def look(self, later: int, *, cordoned: bool, one_by_one: bool) -> int:
        """How many tasks keep the worker from being stopped, out of those that are due *later*."""
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
        """Whether the main thread is to give back now."""
        if not self.rest or self._cordoned_at is None:
            return False
        return monotonic() >= max(self._cordoned_at + PATIENCE, self._not_before)

    def portion(self, consumer: Any) -> bool:
        """Give back for a moment; returns whether there is more. For the main thread alone.

        Raises:
            one of the consumer's connection or channel errors; what is not back is held still.
        """
        if self._left is None:
            self._left = deque(s for s in scheduled(consumer) if s.pending(self._imminent))
        left, given, began = self._left, 0, monotonic()
        lasts = LONG_PORTION if consumer.hub is None else PORTION
        try:
            # Those due last go first: the others are sooner wanted here, if the cordon is lifted.
            while left and self._too_many(len(left)) and monotonic() - began < lasts:
                if closing() or consumer.blueprint.state != RUN:
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


def closing() -> bool:
    """Whether this worker shuts down."""
    flags = worker_state.should_stop, worker_state.should_terminate
    return any(flag is not None and flag is not False for flag in flags)


def one_by_one(consumer: Any) -> bool:
    """Whether kombu gives back itself what a channel held when it closes; else the broker does."""
    channel = getattr(consumer.task_consumer, "channel", None)
    return bool(getattr(channel, "do_restore", False))


def _give_back(consumer: Any, held: Scheduled, imminent: float) -> bool:
    """Returns whether it was given back, or acknowledged for it was revoked."""
    request = held.request
    if not held.pending(imminent):
        return False
    if not request.revoked():
        request.message.requeue()
        request.acknowledged = True
        request.send_event("task-rejected", requeue=True)
        worker_state.task_ready(request)
    held.cancel(consumer.timer)
    # Celery raised it for each, though not beyond worker_eta_task_limit.
    if consumer.qos.value > consumer.initial_prefetch_count:
        consumer.qos.decrement_eventually()
    return True
