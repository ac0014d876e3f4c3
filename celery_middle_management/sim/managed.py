"""Middle Management in a simulation: the real evaluations, with the ledger in memory.

One process publishes, and every worker reports at each full second. What processes report and when
they evaluate follows the same rules as in the real ones (:mod:`celery_middle_management.reporting`
and :mod:`celery_middle_management.working`). The ledger, the evaluation and the policy are the real
ones; :mod:`celery_middle_management.sim.books` says which of them may be left out.
"""

from __future__ import annotations

from math import floor, inf

from celery_middle_management.core.pools import Pool
from celery_middle_management.core.timing import (
    EVALUATION_GAP,
    GATHER,
    LONGEST_HOLD,
    LOOK,
    STAND_BY,
)
from celery_middle_management.ledger.memory_report import held_for, stands_by_for
from celery_middle_management.ledger.messages import constants
from celery_middle_management.ledger.model import Lease
from celery_middle_management.settings.model import Settings
from celery_middle_management.settings.secret import Secret
from celery_middle_management.sim.books import Books
from celery_middle_management.sim.cluster import Cluster
from celery_middle_management.sim.formation import POOL
from celery_middle_management.sim.processes import QUEUE, Process, WorkerProcess
from celery_middle_management.sim.worker import Worker


class Managed:
    """Middle Management's processes, which scale the pool of a cluster."""

    def __init__(
        self,
        cluster: Cluster,
        jobs_per_worker: int | None = None,
        *,
        max_wait: float | None = None,
        every_report: bool = False,
    ) -> None:
        """*jobs_per_worker* and *max_wait* are those of the :class:`Pool`."""
        model = cluster.model
        self.least = model.minimum
        pool = Pool(
            *(POOL, (QUEUE,), model.minimum, model.maximum),
            jobs_per_worker,
            one_off=model.one_off,
            max_wait=max_wait,
        )
        settings = _settings(pool, model.call_interval)
        cluster.max_wait = inf if max_wait is None else max_wait
        self._cluster = cluster
        self._books = Books(cluster, settings, every_report=every_report)
        self._constants = constants(settings)
        self._publisher = Process(settings, self._books.store)
        #: The processes of workers that have ended, until their last report has been evaluated.
        self._leaving: list[WorkerProcess] = []
        #: The workers whose reports cannot be added up.
        self._followed: list[WorkerProcess] = []
        self._tick_at = inf
        self._ask_at = GATHER
        self._held_until = 0.0
        if not model.one_off:
            self._books.platform.formation.begin(model.minimum)

    @property
    def calls(self) -> int:
        """The requests to the platform so far that changed something."""
        return self._books.platform.calls

    @property
    def next_at(self) -> float:
        if self._cluster.news:
            return self._cluster.now
        again = [process.again_at for process in (*self._followed, *self._leaving)]
        return min(self._tick_at, self._publisher_at, *again)

    @property
    def _publisher_at(self) -> float:
        """When the publisher reports next."""
        urgent = max(self._held_until, self._books.counts.first_unreported) + GATHER
        return min(urgent, self._ask_at)

    def act(self) -> None:
        cluster = self._cluster
        while cluster.news:
            self._take_note(cluster.news.pop(0))
        now = cluster.now
        if now >= self._publisher_at:
            self._publisher_reports()
        for process in [p for p in self._leaving if now >= p.again_at]:
            self._leave(process)
        for process in [p for p in self._followed if now >= p.again_at and now < self._tick_at]:
            self._worker_reports(process)
        if now >= self._tick_at:
            self._tick()

    def _take_note(self, worker: Worker) -> None:
        """Note that a worker has come up, was asked to stop, or has ended."""
        books = self._books
        books.note_change()
        process = books.workers.get(worker.id)
        if not worker.gone and process is None:
            self._cluster.second = floor(self._cluster.now)
            self._tick_at = self._cluster.second + 1
            process = WorkerProcess(books.settings, books.store, self._cluster, worker)
            books.workers[worker.id] = process
            self._worker_reports(process)
        elif worker.gone and process is not None:
            del books.workers[worker.id]
            if not books.workers:
                self._tick_at = inf
            books.counts.workers_report()
            self._leaving.append(process)
            self._leave(process, process.presence.id)
        self._follow()

    def _publisher_reports(self) -> None:
        now, books = self._cluster.now, self._books
        quantity = books.store.number(f"{POOL}/quantity")
        if books.every_report or not quantity:
            books.counts.publisher_reports()
            reply = books.report(self._publisher)
            self._held_until = now + reply.held.get(POOL, 0.0)
            self._ask_at = now + (EVALUATION_GAP if reply.lease else reply.wait)
            books.evaluate(self._publisher, reply.lease)
            self._follow()
            return
        at = books.note_report()
        self._held_until = now
        if books.counts.publisher_reports():
            most, called = books.pool.max_workers, books.store.number("called_at")
            held = held_for(quantity, most, called, at, self._constants)
            self._held_until = now + min(held / 1000, LONGEST_HOLD)
            books.note_work(at)
        if books.elect(self._publisher):
            self._ask_at = now + EVALUATION_GAP
        elif books.workers:
            self._ask_at = now + STAND_BY
        else:
            books.store.set("ticked_at", books.ticked_at)
            due_in = max(books.next_at - at, 0)
            self._ask_at = now + stands_by_for(books.store, due_in, at, self._constants) / 1000
        self._follow()

    def _tick(self) -> None:
        """Have every worker report."""
        self._cluster.second = int(self._tick_at)
        self._tick_at += 1
        books = self._books
        finished = books.counts.workers_report()
        if books.every_report:
            leases = [(p, self._report(p)) for p in [*books.workers.values()]]
            for process, lease in leases:
                books.evaluate(process, lease)
        else:
            books.ticked_at = at = books.note_report()
            if finished:
                books.note_work(at)
            for process in self._followed:
                self._report(process)
            books.elect(next(iter(books.workers.values())))
        self._follow()

    def _worker_reports(self, process: WorkerProcess) -> None:
        """Have a worker report by itself, and evaluate if that is due."""
        first = not process.heard_at
        lease = self._report(process)
        if first or self._books.every_report:
            self._books.evaluate(process, lease)
        else:
            self._books.elect(process)
        self._follow()

    def _report(self, process: WorkerProcess) -> Lease | None:
        """Have a worker report, and do what the reply says; return the lease, if it got one."""
        books, first = self._books, not process.heard_at
        presence = process.look()
        if books.every_report or first:
            reply = books.report(process, presence.id, presence)
            process.obey(reply.cordon)
            return reply.lease
        books.store.workers[presence.id] = books.store.now(), presence
        books.ticked_at = books.note_report()
        process.obey(books.cordon)
        if process.worker.stopping:
            books.note_change()
        return None

    def _leave(self, process: WorkerProcess, identity: str | None = None) -> None:
        """Have the process of a worker that has ended report until that has been evaluated."""
        reply = self._books.report(process, identity, leaving=True)
        process.again_at = self._cluster.now + LOOK
        if reply.lease or reply.watched or process.unseen is None:
            self._leaving.remove(process)
        self._books.evaluate(process, reply.lease)

    def _follow(self) -> None:
        """Note which workers' reports cannot be added up."""
        processes = [*self._books.workers.values()]
        if not self._books.every_report:
            processes = [p for p in processes if not p.settled(self._books.cordon)]
        self._followed = processes


def _settings(pool: Pool, call_interval: float) -> Settings:
    return Settings(
        platform="simulated",
        pools=(pool,),
        redis_url=Secret(""),
        redis_options={},
        call_interval=call_interval,
        count_interval=60.0,
        drain_timeout=None,
        heroku=None,
    )
