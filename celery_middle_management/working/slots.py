"""The slots of a worker's pool: how many tasks it can run at once, and what takes the slots."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from typing import Any

from celery.worker import state as worker_state
from celery.worker.request import Request

from celery_middle_management.celery_internals import busy_children, slots
from celery_middle_management.working.pool_jobs import PoolJobs, PreforkJobs


class Slots:
    """The slots of one worker. Made before Celery makes its strategies: it wraps the pool."""

    def __init__(self, consumer: Any, at_work: Set[int], on_end: Callable[[], None]) -> None:
        """*at_work* are the processes of a prefork pool that last reported being busy.

        *on_end* is called, by any thread, when a job has ended in any other kind of pool.
        """
        self._consumer = consumer
        self._prefork = bool(consumer.pool.uses_semaphore)
        self._jobs: PreforkJobs | PoolJobs = (
            PreforkJobs(consumer.pool, at_work)
            if self._prefork
            else PoolJobs(consumer.pool, on_end)
        )

    @property
    def jobs(self) -> int:
        """The number of jobs that the pool runs or is about to run, whatever submitted them."""
        return len(self._jobs)

    @property
    def any_free(self) -> bool:
        """Whether there is room for a task that could start at once."""
        return self._taken < self.total

    def running(self, active: Collection[Request]) -> set[Request]:
        """Return the *active* requests that may really be running: Celery keeps some for ever."""
        return set(active) - self._jobs.over(active)

    @property
    def total(self) -> int:
        """The number of tasks that the pool can run at the same time; 0 if it has been shut down.

        With Celery's autoscaler, the number that it can grow to.
        """
        autoscaler = getattr(self._consumer.controller, "autoscaler", None)
        return int(autoscaler.max_concurrency) if autoscaler else slots(self._consumer.pool)

    @property
    def _taken(self) -> int:
        """The number of tasks that run or wait for a slot."""
        if not self._prefork:
            return len(self._jobs)
        reserved = len(worker_state.reserved_requests)
        if self._consumer.restart_count <= 0:
            return reserved
        # After a lost connection, prefork forgets what it runs until another job begins or ends.
        return max(reserved, busy_children(self._consumer.pool))
