"""What the processes of a simulation have reported of the tasks, and what the ledger knows of it."""

from __future__ import annotations

from math import ceil

from celery_middle_management.core.batch import SLICE, Batch, Finished
from celery_middle_management.settings.model import Settings
from celery_middle_management.sim.cluster import Cluster
from celery_middle_management.sim.formation import POOL


class Counts:
    """Tasks published and finished: those that were reported, and those that the ledger knows."""

    def __init__(self, cluster: Cluster, settings: Settings, epoch: float) -> None:
        self._cluster = cluster
        self._pool_of = settings.pool_name
        self._epoch = epoch
        self.published = 0
        self._finished = Finished()
        self._known_published = 0
        self._counted = 0
        self._known = Finished()

    def note_count(self, at: float) -> None:
        """Note that the tasks published until a time (ledger's, s) have been counted."""
        end = self._cluster.arrived
        self._counted = self._cluster.arrivals_until(at - self._epoch, 0, end)

    @property
    def new_published(self) -> int:
        """The tasks reported as published that no count includes, and the ledger does not know."""
        return max(self.published - max(self._known_published, self._counted), 0)

    @property
    def new_finished(self) -> int:
        """The tasks finished whose report the ledger does not know yet."""
        return self._finished.tasks - self._known.tasks

    @property
    def first_unreported(self) -> float:
        """When (s) the first task that is not reported yet was, or will be, published."""
        return self._cluster.published_at(self.published)

    def publisher_reports(self) -> bool:
        """Report what has been published; return whether there was anything."""
        before, self.published = self.published, self._cluster.arrived
        return self.published > before

    def workers_report(self) -> bool:
        """Report what has been finished; return whether there was anything."""
        cluster, before = self._cluster, self._finished.tasks
        if cluster.finished == before:
            return False
        self._finished = Finished(
            cluster.finished, cluster.runtime, cluster.runtime_squares, cluster.longest
        )
        return True

    def batch(self, counted_at: float) -> Batch:
        """Take out what was reported since the last time. The last count was at *counted_at* (s).

        The ledger distinguishes only tasks published before and after that count.
        """
        batch = Batch(self._pool_of)
        begin, end = self._known_published, self.published
        if end > begin:
            before = self._cluster.arrivals_until(counted_at - self._epoch, begin, end)
            slots = batch.published.setdefault(POOL, {})
            for first, last in ((begin, before), (before, end)):
                if last > first:
                    at = self._epoch + self._cluster.published_at(last - 1)
                    slots[ceil(at / SLICE)] = last - first
            self._known_published = end
        if self.new_finished:
            now, known = self._finished, self._known
            batch.finished[POOL].add(
                Finished(
                    now.tasks - known.tasks,
                    now.runtime - known.runtime,
                    now.runtime_squares - known.runtime_squares,
                    now.longest,
                )
            )
            self._known = now
        return batch
