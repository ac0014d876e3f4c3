"""The tasks that a worker holds until they are due."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import chain
from time import monotonic, thread_time, time
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from celery.worker.request import Request

from celery_middle_management.core.demand import bucket_of
from celery_middle_management.core.headers import HEADER
from celery_middle_management.core.timing import RECENT
from celery_middle_management.counting.signals import handlers_of

#: Without a cordon, scans of scheduled tasks take up at most this fraction of the time.
_SCAN_SHARE = 0.05
#: By default, RabbitMQ 4 drops a message of a quorum queue that came back more often than this.
_RETURNS = 20


class Scheduled(NamedTuple):
    """A request in the consumer's timer. *begins* is a reading of ``monotonic()``."""

    request: Request
    eta: datetime
    begins: float
    #: The timer's item: an entry of its heap, or a green thread. None if a strategy keeps the task.
    item: Any

    def pending(self, imminent: float) -> bool:
        """Return whether it is not cancelled, nor begun, nor will begin in *imminent* seconds."""
        return (
            not self.item.entry.canceled
            and not self.request.acknowledged
            and self.begins - monotonic() > imminent
        )

    def cancel(self, timer: Any) -> None:
        """Take it off the timer, which would otherwise keep it in memory until it is due."""
        entry = self.item.entry
        entry.cancel()
        entry.args = ()
        if hasattr(self.item, "cancel"):  # a green thread
            timer.cancel(self.item)


def scheduled(consumer: Any) -> Iterator[Scheduled]:
    """Yield the requests in the consumer's timer, as ``celery inspect scheduled`` finds them."""
    schedule = getattr(consumer.timer, "schedule", consumer.timer)
    for item in list(getattr(schedule, "queue", ())):
        entry = item.entry
        request = entry.args[0] if entry.args else None
        if not entry.canceled and isinstance(request, Request) and request.eta is not None:
            yield Scheduled(request, request.eta, item.eta, item)


def scheduled_by_strategies(buffered: Iterable[Request]) -> Iterator[Scheduled]:
    """Yield the requests that a task's own strategy keeps until they are due."""
    now, begins = time(), monotonic()
    for request in buffered:
        wait = request.eta.timestamp() - now if request.eta else 0.0
        if wait > 0 and request.eta is not None:
            yield Scheduled(request, request.eta, begins + wait, None)


def queue_of_request(request: Request) -> str:
    """Return the queue that a request came from."""
    handlers = handlers_of(request.app)
    return handlers.source_queues.queue_of(request) if handlers else ""


def can_return(message: Any, queue: Any) -> bool:
    """Return whether the broker surely keeps a *message* that goes back to its *queue* once more.

    A quorum queue counts how often a message came back, and drops it after its delivery limit. A
    limit that a policy sets cannot be seen from here, so half of the known limit is left unused.
    """
    limit = ((queue.queue_arguments if queue else None) or {}).get("x-delivery-limit", _RETURNS)
    returns = (message.headers or {}).get("x-delivery-count", 0)
    return bool(returns < (limit if limit >= 0 else _RETURNS) // 2)


class ScheduledScan:
    """What a worker reports of its scheduled tasks; kept for a while, since a scan costs time."""

    def __init__(self, imminent: float) -> None:
        """A task that begins within *imminent* seconds counts as begun."""
        self._imminent = imminent
        #: The number of tasks by queue, and bucket of their due times.
        self.due: Mapping[str, Mapping[int, int]] = {}
        #: The same for the tasks that were taken only a short time ago.
        self.recent: Mapping[str, Mapping[int, int]] = {}
        #: How many tasks keep the worker from being stopped: they begin soon, or must not go back.
        self.imminent = 0
        #: The number of the other tasks.
        self.later = 0
        self._first_seen = WeakKeyDictionary[Request, float]()
        self._again = 0.0

    def update(
        self, consumer: Any, ahead: float, cordoned: bool, buffered: Iterable[Scheduled] = ()
    ) -> ScheduledScan:
        """Scan again, unless that costs too much time; *buffered* are tasks that no timer has.

        Due times are in the ledger's time, which is *ahead* of our clock (s). A cordoned worker is
        scanned each time: it may be fired next, and everything must be known.
        """
        began, spent = monotonic(), thread_time()
        if not cordoned and began < self._again:
            return self
        now, imminent, later = time(), 0, 0
        due, recent = (defaultdict[str, Counter[int]](Counter) for _ in range(2))
        for request, eta, begins, _ in chain(scheduled(consumer), buffered):
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
        # Processor time, because the scan costs no more when other processes are busy.
        self._again = began + (thread_time() - spent) / _SCAN_SHARE
        return self
