"""The tasks that one worker takes from its broker, over all the connections that it makes.

A cordoned worker takes nothing. Any other takes as much as Celery would, or, while tasks are long,
one task for each slot; see :mod:`celery_middle_management.core.prefetch`.

The reporter's thread says what is wanted, and looks at the tasks that run; the thread of the
worker's loop does the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Set
from time import monotonic, time
from typing import Any

from celery import Task
from celery.bootsteps import RUN  # type: ignore[attr-defined]
from celery.worker import state as worker_state
from celery.worker.request import Request
from kombu.transport.virtual import Channel as VirtualChannel

from celery_middle_management.celery_internals import (
    busy_children,
    prefetch_is_reduced,
    slots,
)
from celery_middle_management.core.prefetch import Pace, Prefetch
from celery_middle_management.working.pool_jobs import PoolJobs, PreforkJobs
from celery_middle_management.working.sources import Pulled, Pushed
from celery_middle_management.working.waker import Waker


class Intake:
    """Of one worker. Made before Celery makes its strategies, which keep what the pool offers."""

    def __init__(
        self, consumer: Any, *, limits: bool = True, at_work: Set[int] = frozenset()
    ) -> None:
        """*limits*: whether the worker may be kept from taking as much as Celery would.

        *at_work* are the processes of a prefork pool that said that they run something.
        """
        self._consumer = consumer
        self._limits = limits
        self._waker = Waker(consumer)
        pool = consumer.pool
        self._prefork = bool(pool.uses_semaphore)
        self._jobs: PreforkJobs | PoolJobs = (
            PreforkJobs(pool, at_work) if self._prefork else PoolJobs(pool, self._waker.ended)
        )
        self._pace = Pace()
        self._source: Pulled | Pushed | None = None
        self._limited = False
        self._since = monotonic()
        consumer.create_task_handler = self._noting(consumer.create_task_handler)
        self._lock = threading.Lock()  # of these two
        self._wanted = True
        self._stopped = False

    # -- the reporter's thread

    def want(self, consuming: bool) -> bool:
        """Have the worker consume, or not; returns whether it surely takes nothing any more."""
        with self._lock:
            self._wanted = consuming
            if consuming:
                self._stopped = False
            return self._stopped

    @property
    def stopped(self) -> bool:
        """Whether it is not to consume, and nothing can come any more."""
        return self._stopped

    @property
    def settled(self) -> bool:
        """Whether the worker does what is wanted."""
        if self._wanted:
            return self._source is not None and self._source.consumes
        return self._stopped

    @property
    def full(self) -> bool:
        """Whether it takes nothing now, since no slot is free."""
        return self._source is not None and not self.free and not self._has_room

    @property
    def jobs(self) -> int:
        """What the pool runs or is about to, whatever gave it to the pool."""
        return len(self._jobs)

    def idle(self, unacknowledged: int) -> float:
        """For how long (s) there has been room, beside so many messages, and none has come.

        0 where there is none, or where it may be that another worker alone gets what there is.
        """
        now = monotonic()
        if not self._open(unacknowledged):
            self._since = now
        return now - self._since

    def running(self, active: Collection[Request]) -> set[Request]:
        """Those of the *active* requests that may run: Celery keeps some for ever."""
        return set(active) - self._jobs.over(active)

    def watch(self, active: Collection[Request]) -> bool:
        """Look at the tasks that run now: is one of them long, or have all been short lately?

        Returns whether the loop has to settle that.
        """
        now = time()
        # Those that prefork before Celery 5.7 forgot with a lost connection may stay active too.
        running = [r for r in self.running(active) if r in worker_state.reserved_requests]
        longest = max((now - (request.time_start or now) for request in running), default=0.0)
        before = self._pace.prefetch
        self._pace = self._pace.after(longest, worker_state.all_total_count[0] - len(running))
        return self._pace.prefetch is not before and self._limited

    def wake(self) -> None:
        """Have the loop turn once more."""
        self._waker.wake()

    # -- the loop's thread

    def start(self) -> None:
        """The consumer has a new connection, and is about to consume."""
        consumer = self._consumer
        source = _source_of(consumer)(consumer, self)
        self._limited = self._limits and source.limitable and not _is_celerys(consumer)
        self._source = source
        self._waker.start(consumer.connection, source.look)
        self._set_prefetch()
        # A count that is sent now holds from the first message on.
        consumer.qos.update()

    def stop(self) -> None:
        """The connection is lost, or the worker shuts down."""
        self._waker.stop()

    def settle(self) -> None:
        """Do what is wanted.

        Raises:
            one of the consumer's connection or channel errors.
        """
        source = self._source
        if source is None or self._consumer.task_consumer is None:
            return
        if self._consumer.blueprint.state != RUN:
            return
        self._set_prefetch()
        if self._wanted and not source.consumes:
            source.go_on()
        elif not self._wanted and source.stop():
            self._nothing_comes()

    def _set_prefetch(self) -> None:
        if self._source is not None and not prefetch_is_reduced(self._consumer):
            self._source.set_prefetch(self._pace.prefetch if self._limited else Prefetch.CELERYS)

    # -- what a source asks

    @property
    def wanted(self) -> bool:
        """Whether the worker is to consume."""
        return self._wanted

    @property
    def free(self) -> bool:
        """Whether nothing but Celery's own rule counts."""
        return self._wanted and not (self._limited and self._pace.prefetch is Prefetch.ONE_PER_SLOT)

    def may_take(self) -> bool:
        """Whether there is room for a message, where none is on its way."""
        return not self._nothing_comes() and (self.free or self._has_room)

    def held_back(self, held: bool) -> None:
        """Whether the broker is asked for nothing, so that a free slot has to wake the loop."""
        self._waker.waiting = held

    def _open(self, unacknowledged: int) -> bool:
        source, consumer = self._source, self._consumer
        if source is None or not self._has_room or not source.room(unacknowledged):
            return False
        if _for_one_alone(consumer):
            return False
        return isinstance(source, Pulled) or not _gathers(consumer)

    def _noting(self, celerys: Callable[..., Any]) -> Callable[..., Any]:
        """*celerys* function that makes the handler of messages, with a note of when they come."""

        def create_task_handler(*args: Any, **options: Any) -> Callable[..., Any]:
            handle = celerys(*args, **options)

            def on_message(message: Any) -> Any:
                self._since = monotonic()
                return handle(message)

            return on_message

        return create_task_handler

    def _nothing_comes(self) -> bool:
        """Nothing is on its way: the worker has stopped, if that is wanted."""
        with self._lock:
            self._stopped = not self._wanted
            return self._stopped

    @property
    def _has_room(self) -> bool:
        return self._taken < _slots(self._consumer)

    @property
    def _taken(self) -> int:
        """The tasks that run or wait for a slot."""
        if not self._prefork:
            return len(self._jobs)
        reserved = len(worker_state.reserved_requests)
        if self._consumer.restart_count <= 0:
            return reserved
        # With a lost connection prefork forgets what it runs, until another job begins or ends.
        return max(reserved, busy_children(self._consumer.pool))


def _source_of(consumer: Any) -> type[Pulled | Pushed]:
    tasks = consumer.task_consumer
    # kombu reads what is published to all (fanout) by the same rule as it asks for tasks.
    fanout = any(queue.exchange and queue.exchange.type == "fanout" for queue in tasks.queues)
    return Pulled if isinstance(tasks.channel, VirtualChannel) and not fanout else Pushed


def _is_celerys(consumer: Any) -> bool:
    """Whether Celery's prefetch must stay as it is.

    It is unlimited; or a task gathers messages by a strategy of its own; or no other worker could
    take what this one does not.
    """
    return consumer.prefetch_multiplier == 0 or _gathers(consumer) or _for_one_alone(consumer)


def _gathers(consumer: Any) -> bool:
    """Whether a task gathers messages by a strategy of its own."""
    return any(task.Strategy != Task.Strategy for task in list(consumer.app.tasks.values()))


def _for_one_alone(consumer: Any) -> bool:
    """Whether a queue is handed to one of its consumers only, though others have room."""
    tasks = consumer.task_consumer
    return tasks is not None and any(
        queue.exclusive or "x-single-active-consumer" in (queue.queue_arguments or {})
        for queue in tasks.queues
    )


def _slots(consumer: Any) -> int:
    """The tasks that the worker runs at once."""
    autoscaler = getattr(consumer.controller, "autoscaler", None)
    return int(autoscaler.max_concurrency) if autoscaler else slots(consumer.pool)
