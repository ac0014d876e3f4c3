"""The processes of an app in a simulation: each has its own side of the one ledger."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from celery_middle_management.core.batch import Batch
from celery_middle_management.core.cordon import Cordon, Orders
from celery_middle_management.core.demand import Held
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.roster import let_go
from celery_middle_management.core.traits import DOTTED, ONE_OFF
from celery_middle_management.ledger.memory import MemoryLedger
from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.ledger.model import Reply
from celery_middle_management.settings.model import Settings
from celery_middle_management.sim.cluster import Cluster
from celery_middle_management.sim.formation import POOL
from celery_middle_management.sim.worker import Worker

#: The simulated queue, whatever queues the trace has.
QUEUE = "celery"
#: A worker that has stopped taking tasks reports that so soon (s).
CONFIRMS = 0.2


class Process:
    """A process that reports to the ledger, and may win an evaluation."""

    name = ""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.born = store.clock()
        self.ledger = MemoryLedger(settings, store)
        #: Something that it reported may still wait for an evaluation. See ``Ledger.report``.
        self.unseen: int | None = 0

    def report(
        self,
        batch: Batch,
        identity: str | None = None,
        presence: Presence | None = None,
        *,
        leaving: bool = False,
        more: bool = False,
    ) -> Reply:
        """Report to the ledger; no lease is given while there is *more* to come."""
        reply = self.ledger.report(
            batch, identity, presence, more=more, unseen=self.unseen, leaving=leaving
        )
        self.unseen = reply.unseen
        return reply


class WorkerProcess(Process):
    """A worker's process: it reports what it holds, and obeys its cordon."""

    def __init__(self, settings: Settings, store: Store, cluster: Cluster, worker: Worker) -> None:
        super().__init__(settings, store)
        self.worker = worker
        self.name = worker.name
        self._cluster = cluster
        self._store = store
        self._one_off = bool(worker.hire_id)
        born = -inf if self._one_off else self.born
        self._traits = ONE_OFF if self._one_off else DOTTED
        self._orders = Orders(worker.name, born, self._traits)
        #: Its last report.
        self.presence = Presence(
            id=str(worker.id),
            name=worker.name,
            pool=POOL,
            since=0.0,
            seen=0.0,
            queues=(QUEUE,),
            hire=worker.hire_id,
            slots=cluster.model.concurrency,
        )
        #: When (ledger's time, s) the ledger first replied; 0 if it has not.
        self.heard_at = 0.0
        #: When (s) it reports besides at each full second.
        self.again_at = inf

    def look(self) -> Presence:
        """Return what it reports now."""
        worker, now = self.worker, self._store.clock()
        cordon = self._orders.cordon(now)
        self.presence = replace(
            self.presence,
            since=self.heard_at,
            seen=self._store.now() / 1000,
            full=not self.heard_at,
            stopped=cordon.at if cordon and not worker.consuming else 0.0,
            closing=worker.stopping,
            busy=worker.held,
            held=_held(worker.held, worker.slots),
            elapsed=_elapsed(worker.held, worker.begun, worker.slots, self._cluster.now),
        )
        worker.tell(self._cluster.second)
        return self.presence

    def obey(self, cordon: Cordon) -> None:
        """Do what the *cordon* in the reply to its last report says."""
        worker, cluster, now = self.worker, self._cluster, self._store.clock()
        presence, self.again_at = self.presence, inf
        self._orders.receive(cordon, now, lost=False)
        if not self.heard_at:
            self.heard_at = self._store.now() / 1000
        if worker.stopping:
            return
        if self._one_off and let_go(presence, cordon):
            cluster.stop(worker)
            return
        consumes = not self._orders.cordon(now)
        stops = worker.consuming and not consumes
        if consumes != worker.consuming:
            cluster.consume(worker, consumes)
        soon = self._one_off and cordon.holds(self.name, self._traits)
        if stops or (soon and presence.stopped != cordon.at):
            self.again_at = cluster.now + CONFIRMS

    def settled(self, cordon: Cordon) -> bool:
        """Return whether its reports say the same until it begins or ends a task."""
        worker = self.worker
        if worker.stopping or not self.presence.since or self.again_at < inf:
            return False
        if not cordon.holds(self.name, self._traits):
            return worker.consuming and not self.presence.stopped
        return not self._one_off and self.presence.stopped == cordon.at

    @property
    def reported(self) -> int:
        """The number of tasks that it held when it last reported."""
        worker = self.worker
        return worker.told if worker.second == self._cluster.second else worker.held

    def catch_up(self, second: float) -> Presence:
        """Return its last report, if all it has said since is what tasks it held.

        *second* (ledger's time, s) is when it last reported, unless it reported since.
        """
        worker, presence, now = self.worker, self.presence, self._cluster.second
        if worker.second == now:
            held, begun = worker.told, worker.told_begun
        else:
            held, begun = worker.held, worker.begun
        if presence.seen < second or presence.busy != held:
            seen, elapsed = max(presence.seen, second), _elapsed(held, begun, worker.slots, now)
            self.presence = presence = _told(presence, seen, held, elapsed)
        return presence


def _told(presence: Presence, seen: float, held: int, elapsed: float) -> Presence:
    """Do what ``dataclasses.replace`` does, in a third of the time: a day has millions of these."""
    told = object.__new__(Presence)
    told.__dict__.update(
        presence.__dict__, seen=seen, busy=held, held=_held(held, presence.slots), elapsed=elapsed
    )
    return told


def _held(held: int, slots: int) -> dict[str, Held]:
    running = min(held, slots)
    return {QUEUE: Held(held - running, running, 0, held)} if held else {}


def _elapsed(held: int, begun: float, slots: int, now: float) -> float:
    """Return for how long (s) the tasks that run, whose begin times add up to *begun*, have run."""
    return max(min(held, slots) * now - begun, 0.0) if held else 0.0
