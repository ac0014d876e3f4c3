"""What the processes of a simulation have reported of the tasks, and what the ledger knows."""

from __future__ import annotations

from typing import NamedTuple

from celery_middle_management.core.batch import SLICE, Batch, Finished, Started
from celery_middle_management.settings.model import Settings
from celery_middle_management.sim.cluster import Cluster
from celery_middle_management.sim.formation import POOL

_EXACT = 1024
#: By so many slices, tasks are told to have been published before or after a count.
_APART = 10


class Told(NamedTuple):
    """The tasks that were reported as published, started and finished by some moment.

    Times are whole multiples of one by :data:`_EXACT` (s): then it makes no difference in how many
    parts they are added to the ledger, not even to the last bit.
    """

    published: int = 0
    started: Started = Started()
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
        """Report what has been started and finished; return whether anything was finished."""
        cluster, told = self._cluster, self.told
        started, finished = told.started, told.finished
        begun = cluster.running + cluster.finished + cluster.killed
        if begun != started.tasks:
            started = Started(begun, _exact(cluster.waits), cluster.late)
        if cluster.finished != finished.tasks:
            sums = _exact(cluster.runtime), _exact(cluster.runtime_squares)
            finished = Finished(cluster.finished, *sums, cluster.longest)
        if started is not told.started or finished is not told.finished:
            self.told = Told(told.published, started, finished)
        return finished is not told.finished

    def published_by(self, at: float) -> int:
        """Return how many tasks are published until a time (ledger's, s), which may be to come."""
        queues = self._cluster.queues
        return queues.published_by(at - self._epoch, 0, queues.tasks)

    def batch(self, told: Told, counted_at: float) -> Batch:
        """Return what the ledger has to be told, up to *told*.

        It distinguishes only tasks published until its last count, at *counted_at* (s), and later.
        """
        batch, known, queues = Batch(self._pool_of), self._known, self._cluster.queues
        begin, end = known.published, told.published
        if end > begin:
            before = queues.published_by(counted_at - self._epoch, begin, end)
            # Far enough from the count that no rounding puts them on its other side.
            its = round(counted_at / SLICE)
            slots = {its - _APART: before - begin, its + _APART: end - before}
            batch.published[POOL] = {slot: tasks for slot, tasks in slots.items() if tasks}
        if told.started.tasks > known.started.tasks:
            batch.started[POOL] = _started_since(known.started, told.started)
        if told.finished.tasks > known.finished.tasks:
            batch.finished[POOL] = _finished_since(known.finished, told.finished)
        self._known = told
        return batch


def _started_since(then: Started, now: Started) -> Started:
    return Started(now.tasks - then.tasks, now.waits - then.waits, now.late - then.late)


def _finished_since(then: Finished, now: Finished) -> Finished:
    return Finished(
        now.tasks - then.tasks,
        now.runtime - then.runtime,
        now.runtime_squares - then.runtime_squares,
        now.longest,
    )


def _exact(seconds: float) -> float:
    return int(seconds * _EXACT) / _EXACT
