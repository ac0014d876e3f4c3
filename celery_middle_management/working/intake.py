"""The tasks that one worker takes from its broker, over all the connections that it makes.

A cordoned worker takes nothing. Any other takes as much as Celery would, or, while tasks are long,
one task for each slot; see :mod:`celery_middle_management.core.prefetch`.

The reporter's thread sets whether to consume, and observes the tasks that run. The thread of the
worker's loop makes every change to the consumer.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Set
from time import time
from typing import Any

from celery.bootsteps import RUN  # type: ignore[attr-defined]
from celery.worker import state as worker_state
from celery.worker.request import Request

from celery_middle_management.celery_internals import prefetch_is_reduced
from celery_middle_management.core.prefetch import AdaptivePrefetch, PrefetchLimit
from celery_middle_management.working.delivery import (
    PolledDelivery,
    PushedDelivery,
    delivery_for,
    gathers_messages,
    has_queue_for_one_consumer,
)
from celery_middle_management.working.idle import IdleTime
from celery_middle_management.working.slots import Slots
from celery_middle_management.working.waker import Waker


class Intake:
    """The intake of one worker. Made before Celery makes its strategies; see :class:`Slots`."""

    def __init__(
        self, consumer: Any, *, limits: bool = True, at_work: Set[int] = frozenset()
    ) -> None:
        """*limits*: whether the worker may be limited to taking less than Celery would.

        *at_work* are the processes of a prefork pool that last reported being busy.
        """
        self._consumer = consumer
        self._limits = limits
        self.waker = Waker(consumer)
        self.slots = Slots(consumer, at_work, self.waker.job_ended)
        self._idle_time = IdleTime(consumer)
        self._prefetch = AdaptivePrefetch()
        self._delivery: PolledDelivery | PushedDelivery | None = None
        self._limited = False
        self._lock = threading.Lock()  # guards the next two
        #: Whether the worker should consume; False while it is cordoned.
        self.should_consume = True
        self._stopped = False

    # -- the reporter's thread

    def set_consuming(self, consume: bool) -> bool:
        """Have the worker consume, or not; return whether it is sure to take nothing more."""
        with self._lock:
            self.should_consume = consume
            if consume:
                self._stopped = False
            return self._stopped

    @property
    def stopped(self) -> bool:
        """Whether the worker was told not to consume, and no message can arrive any more."""
        return self._stopped

    @property
    def applied(self) -> bool:
        """Whether the worker does what was set by :meth:`set_consuming`."""
        if self.should_consume:
            return self._delivery is not None and self._delivery.consuming
        return self._stopped

    @property
    def full(self) -> bool:
        """Whether the worker takes nothing now because no slot is free."""
        return self._delivery is not None and not self.unrestricted and not self.slots.any_free

    def idle(self, unacknowledged: int) -> float:
        """Return for how long (s) no message has come though *unacknowledged* ones leave room.

        0 if there is no room, or if another worker may be the only one to get messages.
        """
        return self._idle_time.update(idle=self._is_open(unacknowledged))

    def observe(self, active: Collection[Request]) -> bool:
        """Learn from the tasks that run now how much to prefetch.

        Returns whether that has changed, so that the loop must :meth:`apply` it.
        """
        now = time()
        # Before Celery 5.7, tasks that prefork forgot with a lost connection may stay active too.
        running = [r for r in self.slots.running(active) if r in worker_state.reserved_requests]
        longest = max((now - (request.time_start or now) for request in running), default=0.0)
        before = self._prefetch.limit
        self._prefetch = self._prefetch.after(
            longest, worker_state.all_total_count[0] - len(running)
        )
        return self._prefetch.limit is not before and self._limited

    # -- the loop's thread

    def start(self) -> None:
        """Prepare the consumer's new connection, before it consumes."""
        consumer = self._consumer
        delivery = delivery_for(consumer)(consumer, self, self.waker)
        self._limited = self._limits and delivery.can_limit and not _needs_celerys_count(consumer)
        self._delivery = delivery
        self.waker.start(consumer.connection, delivery.can_consume)
        self._set_prefetch()
        # A count that is sent now applies from the first message on.
        consumer.qos.update()

    def stop(self) -> None:
        """Stop when the connection is lost or the worker shuts down."""
        self.waker.stop()

    def apply(self) -> None:
        """Carry out what the reporter's thread has requested.

        Raises:
            one of the consumer's connection or channel errors.
        """
        delivery = self._delivery
        if delivery is None or self._consumer.task_consumer is None:
            return
        if self._consumer.blueprint.state != RUN:
            return
        self._set_prefetch()
        if self.should_consume and not delivery.consuming:
            delivery.resume_consuming()
        elif not self.should_consume and delivery.stop_consuming():
            self._nothing_on_its_way()

    def _set_prefetch(self) -> None:
        if self._delivery is not None and not prefetch_is_reduced(self._consumer):
            limit = self._prefetch.limit if self._limited else PrefetchLimit.CONFIGURED
            self._delivery.set_limit(limit)

    # -- what a delivery asks, besides should_consume: see IntakeRule

    @property
    def unrestricted(self) -> bool:
        one_per_slot = self._limited and self._prefetch.limit is PrefetchLimit.ONE_PER_SLOT
        return self.should_consume and not one_per_slot

    def may_take(self) -> bool:
        return not self._nothing_on_its_way() and (self.unrestricted or self.slots.any_free)

    def _nothing_on_its_way(self) -> bool:
        """Note that no message is on its way; return whether that means the worker has stopped."""
        with self._lock:
            self._stopped = not self.should_consume
            return self._stopped

    def _is_open(self, unacknowledged: int) -> bool:
        delivery, consumer = self._delivery, self._consumer
        if delivery is None or not self.slots.any_free:
            return False
        if not delivery.prefetch_has_room(unacknowledged) or has_queue_for_one_consumer(consumer):
            return False
        return isinstance(delivery, PolledDelivery) or not gathers_messages(consumer)


def _needs_celerys_count(consumer: Any) -> bool:
    """Return whether Celery's prefetch count must stay as it is.

    It must if it is unlimited, if a task gathers messages by a strategy of its own, or if no other
    worker could take what this one leaves.
    """
    return (
        consumer.prefetch_multiplier == 0
        or gathers_messages(consumer)
        or has_queue_for_one_consumer(consumer)
    )
