"""What the processes of a simulation have reported of the tasks, and what the ledger knows."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from celery_middle_management.core.batch import SLICE, Batch, Finished
from celery_middle_management.settings.model import Settings
from celery_middle_management.sim.cluster import Cluster
from celery_middle_management.sim.formation import POOL


class Told(NamedTuple):
    """The tasks that were reported as published and as finished by some moment."""

    published: int = 0
    finished: Finished = Finished()


class Counts:
    """Keeps the reports of tasks until the ledger is told of them. *epoch* is its time (s) at 0."""

    def __init__(self, cluster: Cluster, settings: Settings, epoch: float) -> None:
        self._cluster = cluster
        self._pool_of = settings.pool_name
        self._epoch = epoch
        #: What processes have reported, ...
        self.told = Told()
        #: ... and what the ledger knows of it.
        self._known = Told()

    @property
    def first_unreported(self) -> float:
        """When (s) the first task that is not reported yet was, or will be, published."""
        return self._cluster.queues.published[self.told.published]

    def publisher_reports(self) -> bool:
        """Report what has been published; return whether there was anything."""
        before, arrived = self.told.published, self._cluster.queues.arrived
        self.told = self.told._replace(published=arrived)
        return arrived > before

    def workers_report(self) -> bool:
        """Report what has been finished; return whether there was anything."""
        cluster = self._cluster
        if cluster.finished == self.told.finished.tasks:
            return False
        finished = Finished(
            cluster.finished, cluster.runtime, cluster.runtime_squares, cluster.longest
        )
        self.told = self.told._replace(finished=finished)
        return True

    def published_by(self, at: float) -> int:
        """Return how many tasks have been published until a time (ledger's, s)."""
        queues = self._cluster.queues
        return queues.published_by(at - self._epoch, 0, queues.arrived)

    def batch(self, told: Told, counted_at: float) -> Batch:
        """Return what the ledger has to be told, up to *told*.

        It distinguishes only tasks published until its last count, at *counted_at* (s), and later.
        """
        batch, known, queues = Batch(self._pool_of), self._known, self._cluster.queues
        begin, end = known.published, told.published
        if end > begin:
            before = queues.published_by(counted_at - self._epoch, begin, end)
            slots = batch.published.setdefault(POOL, {})
            for first, last in ((begin, before), (before, end)):
                if last > first:
                    at = self._epoch + queues.published[last - 1]
                    slots[ceil(at / SLICE)] = last - first
        now, then = told.finished, known.finished
        if now.tasks > then.tasks:
            batch.finished[POOL].add(
                Finished(
                    now.tasks - then.tasks,
                    now.runtime - then.runtime,
                    now.runtime_squares - then.runtime_squares,
                    now.longest,
                )
            )
        self._known = told
        return batch
