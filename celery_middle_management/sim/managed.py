"""Middle Management in a simulation: the real evaluations, with the ledger in memory.

One process publishes, and every worker reports at each full second. What processes report and when
they evaluate follows the same rules as in the real ones (:mod:`celery_middle_management.reporting`
and :mod:`celery_middle_management.working`); the ledger, the evaluation and the policy are the real
ones.

A day has far more reports and evaluations than there are changes. So reports are added up until an
evaluation needs them, and one that would change nothing (:mod:`celery_middle_management.sim.steady`)
is not made. With *every_report* nothing is left out: the outcome is the same, and a test compares.
"""

from __future__ import annotations

from math import floor, inf

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.timing import EVALUATION_GAP, LONGEST_HOLD, STAND_BY
from celery_middle_management.evaluation.evaluation import Evaluation
from celery_middle_management.evaluation.ports import Ports, Queues
from celery_middle_management.ledger.memory_report import held_for, stands_by_for
from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.ledger.messages import constants
from celery_middle_management.ledger.model import Lease, Reply, millis
from celery_middle_management.ledger.pool import read_pool
from celery_middle_management.reporting.publisher import GATHER
from celery_middle_management.reporting.reporter import LOOK
from celery_middle_management.settings.model import Settings
from celery_middle_management.settings.secret import Secret
from celery_middle_management.sim.cluster import Cluster, Worker
from celery_middle_management.sim.counts import Counts
from celery_middle_management.sim.formation import POOL
from celery_middle_management.sim.ports import SimBroker, SimPlatform
from celery_middle_management.sim.processes import QUEUE, Process, WorkerProcess
from celery_middle_management.sim.steady import Steady, steady_after

#: The ledger's time (s) when a simulation begins: 0 would mean "never" there.
EPOCH = 1_000_000.0


class Managed:
    """Middle Management's processes, which scale the pool of a cluster."""

    def __init__(
        self, cluster: Cluster, jobs_per_worker: int, *, every_report: bool = False
    ) -> None:
        model = cluster.model
        self.least = model.minimum
        limits = model.minimum, model.maximum
        pool = Pool(POOL, (QUEUE,), *limits, jobs_per_worker, one_off=model.one_off)
        self._cluster = cluster
        self._every_report = every_report
        self._settings = _settings(pool, model.call_interval)
        self._constants = constants(self._settings)
        self._pool = pool
        # The ledger rounds down to milliseconds.
        self._store = Store(lambda: EPOCH + cluster.now + 0.0005)
        self._platform = SimPlatform(cluster)
        self._broker = SimBroker(cluster)
        self._publisher = Process(self._settings, self._store)
        #: The processes of the workers that are up, in the order in which they came up.
        self._workers: dict[int, WorkerProcess] = {}
        #: Those that have ended, and wait until their last report has been evaluated.
        self._leaving: list[WorkerProcess] = []
        #: Those whose reports cannot be added up.
        self._followed: list[WorkerProcess] = []
        self._cordon = Cordon()
        self._steady: Steady | None = None
        self._counts = Counts(cluster, self._settings, EPOCH)
        #: When (ledger's time, ms) a process last reported, a worker last did, an evaluation was
        #: last made and is next due, be they left out or not.
        self._told_at = self._ticked_at = self._evaluated_at = self._next_at = 0
        self._tick_at = inf
        self._ask_at = 0.0
        self._held_until = 0.0
        if not model.one_off:
            self._platform.formation.begin(model.minimum)

    # -- what a simulation asks

    @property
    def calls(self) -> int:
        return self._platform.calls

    @property
    def next_at(self) -> float:
        again = min((p.again_at for p in self._followed), default=inf)
        leave = min((p.again_at for p in self._leaving), default=inf)
        return min(self._tick_at, self._publisher_at, again, leave)

    @property
    def _publisher_at(self) -> float:
        """When the publisher reports next."""
        urgent = max(self._held_until, self._counts.first_unreported) + GATHER
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

    # -- what processes do

    def _take_note(self, worker: Worker) -> None:
        """Note that a worker has come up, was asked to stop, or has ended."""
        self._steady = None
        if worker.id in self._workers and not worker.gone:
            self._follow()
        elif not worker.gone:
            self._cluster.second = floor(self._cluster.now)
            self._tick_at = self._cluster.second + 1
            process = WorkerProcess(self._settings, self._store, self._cluster, worker)
            self._workers[worker.id] = process
            self._followed.append(process)
            self._worker_reports(process)
        elif worker.id in self._workers:
            process = self._workers.pop(worker.id)
            self._follow()
            if not self._workers:
                self._tick_at = inf
            self._counts.workers_report()
            self._leaving.append(process)
            self._leave(process, process.presence.id)

    def _publisher_reports(self) -> None:
        now, store = self._cluster.now, self._store
        quantity = store.number(f"{POOL}/quantity")
        if self._every_report or not quantity:
            self._counts.publisher_reports()
            reply = self._report(self._publisher)
            self._held_until = now + reply.held.get(POOL, 0.0)
            self._ask_at = now + (EVALUATION_GAP if reply.lease else reply.wait)
            self._evaluate(self._publisher, reply.lease)
            return
        at = self._note_report()
        self._held_until = now
        if self._counts.publisher_reports():
            called = store.number("called_at")
            held = held_for(quantity, self._pool.max_workers, called, at, self._constants)
            self._held_until = now + min(held / 1000, LONGEST_HOLD)
            self._work_reported(at)
        wait = millis(EVALUATION_GAP)
        if not self._elect(self._publisher):
            store.set("ticked_at", self._ticked_at)
            due_in = max(self._next_at - at, 0)
            wait = stands_by_for(store, due_in, at, self._constants)
        self._ask_at = now + wait / 1000

    def _tick(self) -> None:
        """Have every worker report."""
        self._cluster.second = int(self._tick_at)
        self._tick_at += 1
        finished = self._counts.workers_report()
        leases: list[tuple[WorkerProcess, Lease]] = []
        if self._every_report:
            for process in [*self._workers.values()]:
                if lease := self._worker_reports(process, evaluate=False):
                    leases.append((process, lease))
        else:
            self._ticked_at = at = self._note_report()
            if finished:
                self._work_reported(at)
            for process in self._followed:
                self._worker_reports(process, evaluate=False)
        for process, lease in leases:
            self._evaluate(process, lease)
        if not self._every_report:
            self._elect(next(iter(self._workers.values())))
        self._follow()

    def _worker_reports(self, process: WorkerProcess, *, evaluate: bool = True) -> Lease | None:
        """Have a worker report, and do what the reply says; return the lease, if it got one."""
        first = not process.presence.since
        presence = process.look()
        if self._every_report or first:
            reply = self._report(process, process.presence.id, presence)
            process.obey(reply.cordon)
            if evaluate:
                self._evaluate(process, reply.lease)
            return reply.lease
        self._store.workers[presence.id] = self._store.now(), presence
        self._ticked_at = self._note_report()
        process.obey(self._cordon)
        if process.worker.stopping:
            self._steady = None
        if evaluate:
            self._elect(process)
        return None

    def _leave(self, process: WorkerProcess, identity: str | None = None) -> None:
        """Have the process of a worker that has ended report until that has been evaluated."""
        reply = self._report(process, identity, leaving=True)
        process.again_at = self._cluster.now + LOOK
        if reply.lease or reply.watched or process.unseen is None:
            self._leaving.remove(process)
        self._evaluate(process, reply.lease)

    # -- the ledger

    def _report(
        self,
        process: Process,
        identity: str | None = None,
        presence: Presence | None = None,
        *,
        leaving: bool = False,
    ) -> Reply:
        """Report to the ledger, and bring it up to date with all that was left out before."""
        store = self._store
        if not self._every_report:
            self._write()
        batch = self._counts.batch(store.number(f"{POOL}/counted_at") / 1000)
        reply = process.report(batch, identity, presence, leaving=leaving)
        self._read()
        return reply

    def _write(self) -> None:
        """Write into the ledger what the reports and evaluations left out would have written."""
        store = self._store
        if not self._told_at:
            return
        second = EPOCH + self._cluster.second
        for process in self._workers.values():
            if process.presence.since:
                presence = process.catch_up(second)
                store.workers[presence.id] = millis(presence.seen), presence
        store.set("told_at", self._told_at)
        store.set("ticked_at", self._ticked_at)
        if self._evaluated_at:
            store.set("evaluated_at", self._evaluated_at)
        store.set("next_at", self._next_at)

    def _read(self) -> None:
        store = self._store
        self._told_at = int(store.number("told_at"))
        self._ticked_at = int(store.number("ticked_at"))
        self._evaluated_at = int(store.number("evaluated_at"))
        self._next_at = int(store.number("next_at"))

    def _note_report(self) -> int:
        """Note that a process reports now, and return when that is (ledger's time, ms)."""
        self._told_at = self._store.now()
        return self._told_at

    def _work_reported(self, at: int) -> None:
        """Note that work was reported: an evaluation is due."""
        gap = self._constants["gap"]
        self._next_at = min(self._next_at, max(at, self._evaluated_at + gap))

    # -- evaluations

    def _elect(self, process: Process) -> bool:
        """Have a process that reports now evaluate, if that is due; return whether it is."""
        now = self._store.now()
        if self._next_at > now or self._evaluated_at >= now:
            return False
        counts = self._counts
        wait = self._steady and self._steady.waits(
            now / 1000, counts.new_published, counts.new_finished
        )
        if wait:
            self._evaluated_at, self._next_at = now, now + millis(wait)
            return True
        presence = None
        if isinstance(process, WorkerProcess):
            presence = process.catch_up(EPOCH + self._cluster.second)
        reply = self._report(process, presence and presence.id, presence)
        assert reply.lease is not None
        self._evaluate(process, reply.lease)
        return True

    def _evaluate(self, process: Process, lease: Lease | None) -> None:
        """Make an evaluation, if a process has a *lease* for it."""
        if lease is None:
            return
        ports = Ports(
            *(process.ledger, self._broker, self._platform),
            Queues((QUEUE,)),
            clock=self._store.clock,
            born=process.born,
            warn=lambda *_: None,
            worker=process.name,
        )
        Evaluation(lease, self._settings, ports).run()
        self._read()
        self._learn(process)

    def _learn(self, process: Process) -> None:
        """Note what the evaluation has decided, and until when it holds."""
        snapshot = process.ledger.snapshot()
        state = read_pool(snapshot, self._pool)
        self._cordon = state.leave if self._pool.one_off else state.cordon
        self._follow()
        self._steady = None
        if state.count is not None and all(presence.since for presence in snapshot.presences):
            self._counts.note_count(state.count.at)
            self._steady = steady_after(snapshot, state, self._settings, self._left)

    def _follow(self) -> None:
        """Note which workers' reports cannot be added up."""
        processes = [*self._workers.values()]
        if not self._every_report:
            processes = [p for p in processes if not p.settled(self._cordon)]
        self._followed = processes

    def _left(self, number: int) -> int | None:
        """Return how many tasks a worker has left by its last report; None if it has not come up.

        A worker that has not said yet that it takes no more has tasks left, too.
        """
        for process in self._workers.values():
            if process.worker.number == number:
                stopped = process.presence.stopped == self._cordon.at or process.presence.closing
                return process.reported if stopped else 1
        return None


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
