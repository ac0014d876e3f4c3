"""The ledger in memory does what the one in Redis does, for any reports in any order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from celery import Celery
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from celery_middle_management.core.batch import (
    FINISHED,
    PUBLISHED,
    STARTED,
    UNPLACED,
    Batch,
    Record,
    Started,
)
from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.deafness import Suspicion
from celery_middle_management.core.demand import Count, Held
from celery_middle_management.core.presence import Presence
from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.ledger.clocks import Clocks
from celery_middle_management.ledger.codec import pack_cordon, pack_count, pack_suspicions
from celery_middle_management.ledger.memory import MemoryLedger
from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.ledger.model import Changes, Lease, LeaseLost, Reply, millis
from celery_middle_management.ledger.page import MINUTES
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.settings.reading import read_settings

#: Two pools: one of any queue, one of its own.
POOLS = {"worker": {}, "pdf": {"queues": ["pdf"]}}
QUEUES = ("celery", "other", "pdf")
PROCESSES = 3
#: Times (s) that differ by less are the same: half of the shortest that matters.
SLACK = 0.4
#: This machine stalls as long (s) as this now and then.
STALL = 2.0


class Clock:
    """The ledger's time (Unix, s), as in Redis's last reply."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Both(RuleBasedStateMachine):
    """Each process has a ledger of each kind, and does the same with both."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        app = Celery(broker=self.server.url)
        app.conf.update(
            middle_management_enabled=True,
            middle_management_platform="local",
            middle_management_max_workers=4,
            middle_management_pools=POOLS,
        )
        found = read_settings(app)
        assert found is not None
        self.clock = Clock()
        self.store = Store(self.clock)
        # The last one runs off the platform.
        each = [found] * (PROCESSES - 1) + [replace(found, inactive="elsewhere")]
        self.in_redis = [RedisLedger(its) for its in each]
        self.in_memory = [MemoryLedger(its, self.store) for its in each]
        self.redis = self.in_redis[0].redis
        self.keys = self.in_redis[0].keys
        self.redis.flushall()
        self.unseen: list[int | None] = [0] * PROCESSES
        self.leases: list[tuple[int, Lease, Lease]] = []
        self.tokens: dict[str, str] = {}
        self.settings = found

    def teardown(self) -> None:
        for ledger in self.in_redis:
            ledger.close()

    # -- what happens

    @rule(
        process=st.integers(0, PROCESSES - 1),
        told=st.lists(
            st.tuples(
                st.sampled_from([PUBLISHED, PUBLISHED, STARTED, FINISHED, UNPLACED]),
                st.sampled_from(QUEUES),
                st.sampled_from([0.0, 0.0, 30.0, 5000.0]),
            ),
            max_size=4,
        ),
        more=st.booleans(),
        leaving=st.booleans(),
        gave_up=st.booleans(),
    )
    def publisher_reports(
        self, process: int, told: list[Any], more: bool, leaving: bool, gave_up: bool
    ) -> None:
        how = {"more": more, "leaving": leaving, "gave_up": gave_up}
        self.report(process, told, unseen=self.unseen[process], **how)

    @rule(
        process=st.integers(0, PROCESSES - 1),
        pool=st.sampled_from(["worker", "pdf", None]),
        held=st.dictionaries(
            st.sampled_from(QUEUES), st.builds(Held, st.just(2), st.integers(0, 3)), max_size=2
        ),
    )
    def worker_reports(self, process: int, pool: str | None, held: dict[str, Held]) -> None:
        name = f"{pool or 'stranger'}.{process + 1}"
        presence = Presence(
            *(str(process), name, pool),
            since=1.0,
            seen=0.0,
            inactive=process == PROCESSES - 1,
            queues=("celery",),
            held=held,
        )
        self.report(process, [(FINISHED, "celery", 1.5)], str(process), presence)

    @rule(process=st.integers(0, PROCESSES - 1))
    def worker_leaves(self, process: int) -> None:
        self.report(process, [], str(process), leaving=True)

    @rule(
        quantity=st.sampled_from([None, 0, 1, 4]),
        sent=st.sampled_from([None, "fire", "hire"]),
        settled=st.booleans(),
        cordon=st.booleans(),
        refused=st.booleans(),
        blocked=st.booleans(),
        called=st.booleans(),
        next_in=st.sampled_from([None, 1.0, 20.0]),
    )
    def scaler_commits(self, next_in: float | None, **what: Any) -> None:
        if not self.leases:
            return
        process, one, other = self.leases.pop()
        changes = [self.changes(**what) for _ in range(2)]
        seq = self.store.state.get("seq", "0")
        self.meet_the_lock()
        before = self.now()
        self.clock.now = before
        kept = []
        for ledger, lease, change in (
            (self.in_redis[process], one, changes[0]),
            (self.in_memory[process], other, changes[1]),
        ):
            try:
                kept.append(ledger.commit(lease, change, seq, next_in))
            except LeaseLost:
                kept.append(None)
        assert (kept[0] is None) == (kept[1] is None)
        if self.now() - before > SLACK / 2:
            self.overlook_a_stall()
        if kept[0] and kept[1] and next_in is None:
            self.leases.append((process, kept[0], kept[1]))
        self.compare()

    @rule(
        pause=st.sampled_from(['{"hires":true}', None]),
        read=st.sampled_from([{}, {"pause": None}, {"pause": '{"hires":true}'}]),
        id=st.sampled_from("abc"),
    )
    def person_asks(self, pause: str | None, read: Mapping[str, str | None], id: str) -> None:
        before, written = self.now(), []
        for ledgers in (self.in_redis, self.in_memory):
            self.clock.now = before
            entry = {"action": "pause", "id": f"request-{id}"}
            written.append(ledgers[0].intend(read, {"pause": pause}, entry))
        assert written[0] == written[1]
        if self.now() - before > SLACK / 2:
            self.overlook_a_stall()
        self.compare()

    @rule(seconds=st.sampled_from([0.35, 1.1, 2.6, 4.7, 9.5, 13.1, 60.0, 290.0, 3700.0]))
    def time_passes(self, seconds: float) -> None:
        """Move the ledger's time, and what each process knows of it; the lock has Redis's own."""
        self.redis.hincrby(self.keys["state"], "clock", millis(seconds))
        left = self.redis.pttl(self.keys["lock"])
        if left > 0:
            self.redis.pexpire(self.keys["lock"], max(left - millis(seconds), 1))
        for ledgers in (self.in_redis, self.in_memory):
            reading = next((ledger._reading for ledger in ledgers if ledger._reading), None)
            for ledger in ledgers if self.store.workers else ():
                # A process that has not read the time would take it for a step of the clock.
                ledger._reading = ledger._reading or reading
        for ledger in self.in_redis:
            if ledger._reading is not None:
                ledger._reading = replace(ledger._reading, now=ledger._reading.now + seconds)
            queues = ledger._queues
            queues.reported = {q: at - seconds for q, at in queues.reported.items()}

    @rule()
    def data_is_lost(self) -> None:
        ahead = self.redis.hget(self.keys["state"], "clock")
        self.redis.flushall()
        # Otherwise processes that missed the time that passed would see the clock step.
        self.redis.hset(self.keys["state"], "clock", str(ahead or 0))
        self.store.flush()
        self.leases.clear()

    # -- how it is done to both

    def report(
        self,
        process: int,
        told: list[tuple[int, str, float]],
        identity: str | None = None,
        presence: Presence | None = None,
        **how: Any,
    ) -> None:
        self.meet_the_lock()
        one = self.in_redis[process].report(self.batch(told, Clocks()), identity, presence, **how)
        self.clock.now = one.now + 0.0005
        other = self.in_memory[process].report(
            self.batch(told, self.in_memory[process]._clocks), identity, presence, **how
        )
        assert self.plain(one, 0) == self.plain(other, 1)
        self.unseen[process] = one.unseen
        if one.lease and other.lease:
            self.leases.append((process, one.lease, other.lease))
        self.compare()

    def batch(self, told: list[tuple[int, str, float]], clocks: Clocks) -> Batch:
        batch = Batch(self.settings.pool_name)
        for kind, queue, value in told:
            if kind == STARTED:
                begun = Started(1, value, late=int(value > 60))
                batch.started[self.settings.pool_name(queue) or ""].add(begun)
                continue
            due = clocks.wall() + value if value and kind == PUBLISHED else value
            batch.add(Record(kind, queue, clocks.monotonic() - 0.5, due), clocks.now())
        return batch

    def meet_the_lock(self) -> None:
        """A lock that is about to run out does so now, for both."""
        if self.redis.pttl(self.keys["lock"]) < millis(STALL) / 10:
            self.redis.delete(self.keys["lock"])
            self.store.lock = None

    def overlook_a_stall(self) -> None:
        """The machine stalled between the calls of the two ledgers."""
        told = self.in_redis[0].snapshot().state
        self.store.state |= {n: v for n, v in told.items() if n.endswith(("_at", "_until"))}

    def now(self) -> float:
        return self.in_redis[0].snapshot().now

    def plain(self, reply: Reply, which: int) -> Any:
        held = {pool: round(hold, 1) for pool, hold in reply.held.items()}
        born = self.tokens.setdefault(f"{which} {reply.born}", str(len(self.tokens) // 2))
        return {
            **vars(reply),
            "lease": reply.lease is not None,
            "wait": Near(reply.wait),
            "held": held,
            "born": born,
            "cordon": replace(reply.cordon, at=round(reply.cordon.at)),
        }

    def changes(  # noqa: PLR0917
        self,
        quantity: int | None,
        sent: str | None,
        settled: bool,
        cordon: bool,
        refused: bool,
        blocked: bool,
        called: bool,
    ) -> Changes:
        now, changes = self.store.now() / 1000, Changes()
        if quantity is not None:
            changes.set["worker/quantity"] = str(quantity)
        if sent:
            document = {"to": 1, "until": now + 60, "done": settled}
            changes.set[f"worker/{sent}"] = json.dumps(document)
        elif settled:
            changes.unset["worker/fire"] = None
        if cordon:
            changes.set["worker/cordon"] = pack_cordon(Cordon(above=2, at=now))
        if refused:
            changes.set["worker/refused_until"] = str(millis(now + 60))
        if quantity == 1:
            # Of one of the processes, which are called by their numbers.
            changes.set["deaf"] = pack_suspicions({"1": Suspicion(1000.0, 1061.5)})
        elif quantity is not None:
            changes.unset["deaf"] = None
        if blocked:
            changes.set["blocked_until"] = str(millis(now + 15))
        if called:
            changes.set["called_at"] = str(millis(now))
        changes.set["evaluated_at"] = str(millis(now))
        changes.set["worker/counted_at"] = str(millis(now))
        if settled:
            changes.set["worker/count"] = pack_count(Count(now, 7, 2, 0), 0)
            for counter in ("published", "finished"):
                counted = self.store.state.get(f"worker/{counter}", "0")
                changes.set[f"worker/base_{counter}"] = counted
        changes.add["worker/published"] = 2
        changes.due = dict.fromkeys(list(self.store.due)[:1], -1)
        changes.gone = list(self.store.workers)[:1] if refused else []
        changes.used_queues, changes.idle_queues = ["other"], ["celery"]
        changes.history = ["{}"]
        changes.bill = {"worker/2026-11-21/basic": 60_000, "pdf/2026-11-22/": 1 + called}
        changes.bill_days = [1] * cordon
        return changes

    def compare(self) -> None:
        """All data is the same, but for the time between the calls of the two."""
        one, other = self.in_redis[0].snapshot(), self.in_memory[0].snapshot()
        assert self.comparable(one.state) == self.comparable(other.state)
        assert one.due == other.due
        assert [replace(p, seen=0.0) for p in sorted(one.presences, key=lambda p: p.id)] == [
            replace(p, seen=0.0) for p in sorted(other.presences, key=lambda p: p.id)
        ]
        assert one.queues.keys() == other.queues.keys()
        assert self.in_redis[0].history() == self.in_memory[0].history()
        page, same = self.in_redis[0].page(), self.in_memory[0].page()
        assert page.tens == same.tens
        assert page.minutes == same.minutes == self.in_redis[0].history(MINUTES)
        assert page.actions == same.actions
        assert self.comparable(page.snapshot.state) == self.comparable(one.state)
        assert self.in_redis[0].actions() == self.in_memory[0].actions()
        assert self.in_redis[0].billed()[1] == self.in_memory[0].bill()

    def comparable(self, state: Any) -> dict[str, Any]:
        """The state without the ledgers' names, and with times that need not be quite the same."""
        told = {}
        for name, value in state.items():
            if name in ("born", "clock", "committed"):
                continue
            if name.endswith(("_at", "_until")):
                told[name] = Near(float(value) / 1000)
            elif name.endswith(("/fire", "/hire", "/cordon", "/count")) or name == "sent":
                told[name] = _near(json.loads(value))
            else:
                told[name] = value
        return told


class Near(float):
    """A time (s) that equals another of about the same moment."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and abs(self - other) < SLACK


def _near(document: Any) -> Any:
    if isinstance(document, dict):
        kept = {n: _near(v) for n, v in document.items() if n not in ("since", "names")}
        return {n: Near(v) if n in ("at", "until") else v for n, v in kept.items()}
    return document


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def test_both_ledgers_are_the_same(server: RedisServer) -> None:
    Both.server = server
    run_state_machine_as_test(
        Both,
        settings=settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
