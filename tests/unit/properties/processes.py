"""The processes of an app: each has its own side of the one ledger, and may win an evaluation."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from celery_middle_management.core.batch import (
    FINISHED,
    PUBLISHED,
    SLICE,
    UNPLACED,
    Batch,
    Moment,
    Record,
)
from celery_middle_management.core.cordon import Orders
from celery_middle_management.core.demand import Held, bucket_of
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.roster import let_go
from celery_middle_management.core.timing import EVALUATION_GAP
from celery_middle_management.core.traits import DOTTED, ONE_OFF, Traits
from celery_middle_management.ledger.memory import MemoryLedger
from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.ledger.model import Lease, Reply
from celery_middle_management.settings.model import Settings

POOL = "worker"
QUEUE = "celery"


class Died(Exception):
    """The process that evaluates was killed just here."""


class MortalLedger(MemoryLedger):
    """Its process may die instead of writing something down."""

    #: It dies instead of writing so many steps and one; None: it lives.
    dies_after: int | None = None

    def commit(self, *args: Any, **kwargs: Any) -> Lease:
        if self.dies_after == 0:
            raise Died
        if self.dies_after is not None:
            self.dies_after -= 1
        return super().commit(*args, **kwargs)

    @property
    def remembered(self) -> Any:
        """What it would tell a ledger that has lost its data."""
        return self._in_flight.calls

    def moment(self) -> Moment:
        return self._clocks.now()


class Process:
    """What it has to tell waits in its *batch* for its next report."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._pool_of = settings.pool_name
        self.started = store.clock()
        self.ledger = MortalLedger(settings, store)
        self.batch = Batch(self._pool_of)
        self._unseen: int | None = 0

    def tell(
        self,
        identity: str | None = None,
        presence: Presence | None = None,
        *,
        leaving: bool = False,
    ) -> Reply:
        """Report all that there is, and learn what the ledger answers."""
        batch = self.batch
        if batch:
            self.batch = Batch(self._pool_of)
        reply = self.ledger.report(batch, identity, presence, unseen=self._unseen, leaving=leaving)
        self._unseen = reply.unseen
        return reply


class Publisher(Process):
    """One that publishes, and stands by; it asks again *ask_at* (s)."""

    ask_at = 0.0

    def published(self, tasks: int, now: float, due: float = 0.0) -> None:
        """To the queue, for now or for when they are *due*; after a count of this very moment."""
        for _ in range(tasks):
            self.batch.add(Record(PUBLISHED, QUEUE, now + SLICE, due), self.ledger.moment())

    def finished(self, tasks: int, now: float) -> None:
        """Another worker's word for it."""
        for _ in range(tasks):
            self.batch.add(Record(FINISHED, QUEUE, now, 1.0), self.ledger.moment())

    def unplaced(self, now: float) -> None:
        """Something was published that only a count can find."""
        self.batch.add(Record(UNPLACED, QUEUE, now, 0.0), self.ledger.moment())

    def look(self, now: float) -> Reply:
        """Report, and learn when to ask again."""
        reply = self.tell()
        self.ask_at = now + (EVALUATION_GAP if reply.lease else reply.wait)
        return reply


class Worker(Process):
    """A worker process as it really is."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        id: str,
        name: str,
        traits: Traits = DOTTED,
    ) -> None:
        super().__init__(settings, store)
        self.id = id
        self.name = name
        self.up = False
        self.ended = False
        self.since = 0.0
        #: Its main thread has done once what it was told.
        self.begun = False
        self.consuming = False
        self.running = 0
        #: Due times of the scheduled tasks that it holds.
        self.scheduled: list[float] = []
        #: The ledger does not hear of it.
        self.mute = False
        #: The name of the ledger that it heard last.
        self._born: str | None = None
        #: When (s) it was asked to stop.
        self.stopped_at: float | None = None
        self.orders = Orders(name, self.started, traits)

    @property
    def alive(self) -> bool:
        """Whether it has come up, and has not ended."""
        return self.up and not self.ended

    def finished(self, now: float) -> None:
        """A task; its next report tells."""
        self.batch.add(Record(FINISHED, QUEUE, now, 1.0), self.ledger.moment())

    def report(self, now: float) -> Reply:
        """Tell of itself, and hear of its cordon."""
        self.told = self._presence(now)
        reply = self.tell(self.id, self.told)
        lost = self._born not in (None, reply.born)
        self._born = reply.born
        self.orders.receive(reply.cordon, now, lost=lost)
        return reply

    def _presence(self, now: float) -> Presence:
        cordon = self.orders.cordon(now)
        confirms = cordon and not self.consuming
        scheduled = len(self.scheduled)
        return Presence(
            id=self.id,
            name=self.name,
            pool=POOL,
            since=self.since,
            seen=now,
            stopped=cordon.at if confirms else 0.0,
            closing=self.stopped_at is not None,
            full=not self.begun,
            busy=self.running + sum(due - now < DOTTED.imminent for due in self.scheduled),
            queues=(QUEUE,),
            held={QUEUE: Held(0, self.running, scheduled, self.running + scheduled)},
            due={QUEUE: Counter(bucket_of(due, now) for due in self.scheduled)}
            if scheduled
            else {},
        )


class OneOffWorker(Worker):
    """One that was hired alone."""

    def __init__(
        self, settings: Settings, store: Store, name: str, hire: str, release: int
    ) -> None:
        super().__init__(settings, store, name, name, ONE_OFF)
        self.hire = hire
        self.release = release
        self.leaves = False
        self.orders = Orders(name, float("-inf"), ONE_OFF)

    def report(self, now: float) -> Reply:
        reply = super().report(now)
        self.leaves = self.leaves or let_go(self.told, reply.cordon)
        return reply

    def _presence(self, now: float) -> Presence:
        return replace(super()._presence(now), hire=self.hire, closing=self.leaves)
