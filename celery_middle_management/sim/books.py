"""The ledger of a simulation, and the evaluations that are made on it.

A day has far more reports and evaluations than there are changes. So reports are added up until an
evaluation needs them, and an evaluation that would change nothing is not made
(:mod:`celery_middle_management.sim.steady`). With *every_report* nothing is left out. The outcome
is the same, which a test checks.
"""

from __future__ import annotations

from dataclasses import replace

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.demand import Held
from celery_middle_management.core.pool_count import Readings
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence
from celery_middle_management.evaluation.evaluation import Evaluation
from celery_middle_management.evaluation.ports import Ports, Queues
from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.ledger.messages import constants
from celery_middle_management.ledger.model import Changes, Lease, Reply, millis
from celery_middle_management.ledger.pool import PoolWriter
from celery_middle_management.ledger.pool_reading import read_pool
from celery_middle_management.settings.model import Settings
from celery_middle_management.sim.cluster import Cluster
from celery_middle_management.sim.counts import Counts
from celery_middle_management.sim.formation import POOL
from celery_middle_management.sim.ports import SimBroker, SimPlatform
from celery_middle_management.sim.processes import QUEUE, Process, WorkerProcess
from celery_middle_management.sim.steady import Counted, Steady, due_at

#: The ledger's time (s) when a simulation begins: 0 would mean "never" there.
EPOCH = 1_000_000.0


class Books:
    """The ledger, brought up to date when it is needed. Its times are in whole milliseconds."""

    def __init__(self, cluster: Cluster, settings: Settings, *, every_report: bool) -> None:
        self.every_report = every_report
        self.settings = settings
        # The ledger rounds down to milliseconds.
        self.store = Store(lambda: EPOCH + cluster.now + 0.0005)
        self.platform = SimPlatform(cluster)
        self.counts = Counts(cluster, settings, EPOCH)
        #: The processes of the workers that are up, in the order in which they came up.
        self.workers: dict[int, WorkerProcess] = {}
        #: The cordon that workers hear of.
        self.cordon = Cordon()
        #: What is known since the last evaluation; None if a worker has come up or gone since.
        self.steady: Steady | None = None
        #: When a process last reported, a worker last did, an evaluation was last made and is next
        #: due, be they left out or not.
        self.told_at = self.ticked_at = self.evaluated_at = self.next_at = 0
        self._cluster = cluster
        self._broker = SimBroker(cluster)
        self._gap = constants(settings)["gap"]

    @property
    def pool(self) -> Pool:
        """The pool that is simulated."""
        return self.settings.pools[0]

    # -- reports

    def report(
        self,
        process: Process,
        identity: str | None = None,
        presence: Presence | None = None,
        *,
        leaving: bool = False,
    ) -> Reply:
        """Report to the ledger, and bring it up to date with all that was left out before."""
        if not self.every_report:
            self._write(process)
        batch = self.counts.batch(self.counts.told, self.store.number(f"{POOL}/counted_at") / 1000)
        reply = process.report(batch, identity, presence, leaving=leaving)
        self._read()
        return reply

    def note_report(self) -> int:
        """Note that a process reports now, and return when that is."""
        self.told_at = self.store.now()
        return self.told_at

    def note_work(self, at: int) -> None:
        """Note that work was reported: an evaluation is due."""
        self.next_at = min(self.next_at, max(at, self.evaluated_at + self._gap))

    def note_change(self) -> None:
        """Note that something has happened to a worker: the next evaluation is not left out."""
        if self.steady is not None:
            self.steady.over = True

    def _write(self, process: Process) -> None:
        """Write into the ledger what the reports and evaluations left out would have written."""
        store = self.store
        if not self.told_at:
            return
        second = EPOCH + self._cluster.second
        for worker in self.workers.values():
            if worker.presence.since:
                presence = worker.catch_up(second)
                store.workers[presence.id] = millis(presence.seen), presence
        store.set("told_at", self.told_at)
        store.set("ticked_at", self.ticked_at)
        if self.evaluated_at:
            store.set("evaluated_at", self.evaluated_at)
        store.set("next_at", self.next_at)
        if self.steady is not None and self.steady.uncommitted:
            self._write_count(process, self.steady.counted)
            self.steady.uncommitted = False

    def _write_count(self, process: Process, counted: Counted) -> None:
        store, changes = self.store, Changes()
        batch = self.counts.batch(counted.told, store.number(f"{POOL}/counted_at") / 1000)
        process.report(batch, more=True)
        PoolWriter(counted.state, changes).count(counted.state)
        for name in changes.unset:
            store.state.pop(name, None)
        store.state |= changes.set

    def _read(self) -> None:
        store = self.store
        self.told_at, self.ticked_at, self.evaluated_at, self.next_at = (
            int(store.number(name)) for name in ("told_at", "ticked_at", "evaluated_at", "next_at")
        )

    # -- evaluations

    def elect(self, process: Process) -> bool:
        """Have a process that reports now evaluate, if that is due; return whether it is."""
        now = self.store.now()
        if self.next_at > now or self.evaluated_at >= now:
            return False
        wait = self.steady.waits(now / 1000) if self.steady is not None else None
        if wait is not None:
            self.evaluated_at, self.next_at = now, now + millis(wait)
            return True
        if isinstance(process, WorkerProcess):
            presence = process.catch_up(EPOCH + self._cluster.second)
            reply = self.report(process, presence.id, presence)
        else:
            reply = self.report(process)
        self.evaluate(process, reply.lease)
        return True

    def evaluate(self, process: Process, lease: Lease | None) -> None:
        """Make an evaluation, if a process has a *lease* for it."""
        if lease is None:
            return
        platform, clock = self.platform, self.store.clock
        platform.spent = 0.0
        ports = Ports(
            *(process.ledger, self._broker, platform),
            Queues((QUEUE,)),
            clock=lambda: clock() + platform.spent,
            born=process.born,
            warn=lambda *_: None,
            inform=lambda *_: None,
            worker=process.name,
        )
        Evaluation(lease, self.settings, ports).run()
        self._read()
        self._learn(process)

    def _learn(self, process: Process) -> None:
        """Note what the evaluation has decided, and until when it holds."""
        snapshot = process.ledger.snapshot()
        state = read_pool(snapshot, self.pool)
        self.cordon = state.leave if self.pool.one_off else state.cordon
        self.steady = None
        if state.count is None or not all(presence.since for presence in snapshot.presences):
            return
        counts = self.counts
        self.steady = Steady(
            Counted(state, counts.told, counts.published_by(state.count.at)),
            *(self.settings, counts),
            called_at=snapshot.time("called_at"),
            due_at=due_at(snapshot, state),
            read=self._readings,
            left=self._left,
            evaluated_at=snapshot.now,
        )

    # -- what an evaluation would see

    def _readings(self) -> Readings:
        """Return what a count finds now, with all workers taken for one."""
        slots = self._cluster.model.concurrency
        processes = [*self.workers.values()]
        held = [process.reported for process in processes]
        total, running = sum(held), sum(min(tasks, slots) for tasks in held)
        its = {QUEUE: Held(total - running, running, 0, total)}
        living = [replace(process.presence, held=its) for process in processes[:1]]
        clock = self.store.clock()
        # As an evaluation reckons its time, down to the last bit.
        now = self.store.now() / 1000 + clock - clock
        return Readings(now, (QUEUE,), self._broker.read({QUEUE: total}), living, ())

    def _left(self, number: int) -> int | None:
        """Return how many tasks a worker has left by its last report; None if it has not come up.

        A worker that has not said yet that it takes no more has tasks left, too.
        """
        for process in self.workers.values():
            if process.worker.number == number:
                stopped = process.presence.stopped == self.cordon.at or process.presence.closing
                return process.reported if stopped else 1
        return None
