"""One evaluation: read the ledger, decide for every pool, call the platform, write it down.

Only the holder of the lock evaluates. Whatever is about to be done is written before it is done,
in one step that fails if the lock has run out, so that a successor knows of it if we die.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import monotonic

import redis
from celery import Celery

from .broker import Broker, CountFailed
from .decision import Decision, View, decide
from .demand import Backlog, corrected, take_count
from .fleet import Fleet, Presence, due_in, held_in, recent_in
from .ledger import Changes, Lease, LeaseLost, Ledger, millis
from .page import RECOUNT_INTERVAL, Page, PageWriter, iso, queues_of, read_page
from .platforms.base import Platform, PlatformError
from .settings import Pool, Settings
from .trouble import TroubleLog

logger = logging.getLogger("celery_middle_management")

#: The quantity is read again after this time (s), for somebody may have scaled by hand.
READ_INTERVAL = 60.0
#: A change whose answer did not come can take effect for this long (s): Heroku ends a request
#: after 30 s.
SETTLES_WITHIN = 35.0
#: A platform that has said that it lowered the quantity tells the workers within this time (s).
STOPS_WITHIN = 5.0
#: While workers drain, look again after this time (s); never sooner.
DRAIN_INTERVAL = 1.0
#: Evaluations further apart (s) than this may have missed a presence that came and went.
WATCH_GAP = 5.0
#: A worker without a pool of ours is forgotten when it has been silent for this long (s).
FORGET_STRANGERS = 600.0
#: A queue that nobody has published to for this long (s) is forgotten once it is empty.
FORGET_QUEUES = 86400.0

_EMPTY = Backlog()


@dataclass
class Case:
    """One pool in the course of an evaluation."""

    pool: Pool
    page: Page
    fleet: Fleet
    writer: PageWriter
    queues: tuple[str, ...]
    fresh: bool = False
    decision: Decision | None = None

    @property
    def change(self) -> int | None:
        """The quantity to set, if any."""
        return self.decision.quantity if self.decision else None

    @property
    def fires(self) -> bool:
        """Whether the change is a lowering."""
        return self.change is not None and self.change < (self.page.quantity or 0)


class Scaler:
    """Evaluates an app's pools. Never raises: what goes wrong is logged and tried again."""

    def __init__(
        self,
        app: Celery,
        settings: Settings,
        ledger: Ledger,
        broker: Broker,
        platform: Platform,
    ) -> None:
        self.app = app
        self.settings = settings
        self.ledger = ledger
        self.broker = broker
        self.platform = platform
        self.trouble = TroubleLog(logger)

    def evaluate(self, lease: Lease) -> None:
        """Make one evaluation under *lease*."""
        try:
            Evaluation(self, lease).run()
        except LeaseLost:
            self.trouble.warn("lease", "an evaluation took too long; another one takes over")
        except redis.RedisError as error:
            self.trouble.warn("redis", "Redis failed during an evaluation: %s", error)
        except Exception:
            logger.exception("an evaluation failed")


class Evaluation:
    """The course of one evaluation."""

    def __init__(self, scaler: Scaler, lease: Lease) -> None:
        self._scaler = scaler
        self._settings = scaler.settings
        self._lease = lease
        self._changes = Changes()
        self._snapshot = scaler.ledger.snapshot()
        self._read = monotonic()
        self._now = self._snapshot.now
        self._called_at = self._snapshot.time("called_at")
        self._blocked_until = self._snapshot.time("blocked_until")
        self._read_at = self._snapshot.time("read_at")
        self._count_failed = False
        self._gone: set[str] = set()
        self._quantities_fresh = False
        self._cases = [self._open(pool) for pool in self._settings.pools]

    def run(self) -> None:
        """Evaluate."""
        self._forget()
        if self._reading_due():
            self._read_quantities()
        if any(self._stale(case) for case in self._cases):
            self._count()
        self._decide()
        if any(self._worth_counting(case) for case in self._cases):
            self._count()
            self._decide()
        if any(c.decision.wants_running for c in self._cases if c.decision):
            self._ask_running()
        if any(c.change is not None for c in self._cases) and not self._quantities_fresh:
            # Somebody may have scaled by hand: what looks like a hire could stop his workers.
            self._read_quantities()
            self._decide()
        self._act()
        self._close()

    # -- what is known

    def _open(self, pool: Pool) -> Case:
        page = read_page(self._snapshot, pool)
        writer = PageWriter(page, self._changes)
        presences = tuple(p for p in self._snapshot.presences if p.pool == pool.name)
        page = writer.fall_due(page)
        if page.raised_at is not None:
            came_up = [p.since for p in presences if p.since > page.raised_at]
            if came_up:
                page = writer.boot_measured(page, min(came_up))
        if page.fire is not None and page.unsettled is None and page.stopping is None:
            writer.fire_settled()
            if not page.fire.done:
                # Nobody heard whether it was done: until it is read, the quantity is not known.
                self._read_at = 0.0
                self._changes.set["read_at"] = "0"
        if page.hire is not None and page.ceiling is None:
            writer.hire_settled(page)
        watched = self._snapshot.time("evaluated_at") > self._now - WATCH_GAP
        fleet = Fleet(
            pool=pool.name,
            now=self._now,
            presences=presences,
            quantity=page.quantity,
            watched_since=self._snapshot.time("watched_since") if watched else self._now,
        )
        if not watched:
            self._changes.set["watched_since"] = str(millis(self._now))
        queues = queues_of(pool, self._settings, self._snapshot, self._scaler.app.amqp.queues)
        return Case(pool, page, fleet, writer, queues)

    def _forget(self) -> None:
        """Drop the presences of those surely gone."""
        gone = [p.id for c in self._cases for p in c.fleet.presences if c.fleet.gone(p)]
        ours = {case.pool.name for case in self._cases}
        gone += [
            p.id
            for p in self._snapshot.presences
            if p.pool not in ours and self._now - p.seen > FORGET_STRANGERS
        ]
        self._gone.update(gone)
        self._changes.gone += gone

    def _living(self) -> list[Presence]:
        return [p for p in self._snapshot.presences if p.id not in self._gone]

    def _stale(self, case: Case) -> bool:
        """Whether a count is due although nothing is to be fired."""
        count = case.page.count
        if count is None:
            # The first ever, or Redis lost its data: what was published before is in no counter.
            return True
        if count.restore_at is not None and self._now >= count.restore_at:
            # What a worker took with it when it died is back, or comes back with the next worker.
            return True
        # Also at rest: a publisher may have died before it could tell, or have nothing of ours.
        return self._now - count.at >= self._count_lasts(case)

    def _worth_counting(self, case: Case) -> bool:
        """Whether a count may let something be fired."""
        wanted = case.decision is not None and case.decision.wants_count
        return wanted and not self._count_failed and not case.page.fire_denied

    def _count_lasts(self, case: Case) -> float:
        """Seconds until the next count, sooner where the last one was not as expected.

        A task that ends while it is counted may be in both, running and finished.
        """
        lasts = self._settings.count_interval
        return min(lasts, RECOUNT_INTERVAL) if case.page.drift else lasts

    def _count(self) -> None:
        """Count every pool. What cannot be counted is unknown, and nothing is fired on it."""
        living = self._living()
        leaving = [p for c in self._cases for p in c.fleet.leaving]
        held = {c.pool.name: held_in(living, c.queues) for c in self._cases}
        unacknowledged: dict[str, int] = {}
        for presence in living:
            for queue, tasks in presence.held.items():
                unacknowledged[queue] = unacknowledged.get(queue, 0) + tasks.unacknowledged
        queues = [q for c in self._cases for q in c.queues]
        at = self._time()
        try:
            backlogs = self._scaler.broker.backlogs(queues, unacknowledged)
        except CountFailed as error:
            self._count_failed = True
            self._scaler.trouble.warn("count", "%s; nothing is fired until it can be", error)
            return
        for case in self._cases:
            mine = [backlogs[q] for q in case.queues]
            consuming = any(p.takes(case.queues, self._now) for p in living)
            gives_back = None
            if leaving or case.page.stopping is not None:
                gives_back = held_in(leaving, case.queues).scheduled
            count = take_count(
                at,
                mine,
                held[case.pool.name],
                case.page.buckets,
                consuming,
                leaving=gives_back,
            )
            page = case.page.counted(count, case.page.published, case.page.finished)
            empty = consuming and not any(b.ready or b.scheduled or b.orphans for b in mine)
            due = due_in(living, case.queues)
            recent = recent_in(living, case.queues)
            corrections = corrected(page.buckets, due, recent, at, empty)
            case.page = case.writer.correct_due(page, corrections)
            case.writer.count(case.page)
            case.fresh = True
        self._changes.idle_queues += [
            q
            for q, published in self._snapshot.queues.items()
            if self._now - published > FORGET_QUEUES and not backlogs.get(q, _EMPTY).ready
        ]

    def _decide(self) -> None:
        for case in self._cases:
            page = case.page
            if page.quantity is None:
                continue
            case.decision = decide(
                View(
                    minimum=case.pool.min_workers,
                    maximum=case.pool.max_workers,
                    quantity=page.quantity,
                    needed=page.needed,
                    fleet=case.fleet,
                    cordon=page.cordon,
                    fresh=case.fresh,
                    may_call=self._may_call(),
                    blocked=self._blocked(),
                    unsettled=page.unsettled,
                    stopping=page.stopping,
                    ceiling=page.ceiling,
                    drain_timeout=self._settings.drain_timeout,
                )
            )

    # -- calls of the platform

    def _may_call(self) -> bool:
        """Whether this evaluation may call the platform for anything but a hire from zero."""
        if self._snapshot.time("called_at") == 0:
            # The first ever, or Redis lost its data and the last call may have been just now.
            return self._called_at == 0
        return self._now - self._snapshot.time("called_at") >= self._settings.call_interval

    def _blocked(self) -> bool:
        return self._now < self._blocked_until

    def _reading_due(self) -> bool:
        """Whether the quantities are not known or may be out of date."""
        if self._blocked():
            return False
        if any(c.page.quantity is None for c in self._cases):
            return True
        old = self._now - self._read_at >= READ_INTERVAL
        return self._may_call() and (old or any(c.fleet.more_than_known() for c in self._cases))

    def _read_quantities(self) -> None:
        self._will_call()
        try:
            quantities = self._scaler.platform.quantities(
                [c.pool.name for c in self._cases], self._lease.deadline
            )
        except PlatformError as error:
            self._failed(error)
            return
        self._quantities_fresh = True
        self._read_at = self._now
        self._changes.set["read_at"] = str(millis(self._now))
        for case in self._cases:
            self._learn(case, quantities[case.pool.name])

    def _learn(self, case: Case, quantity: int) -> None:
        case.page = replace(case.page, quantity=quantity)
        case.fleet = replace(case.fleet, quantity=quantity)
        case.writer.quantity(quantity)

    def _ask_running(self) -> None:
        """Learn from the platform which workers are up, for those that are not heard of."""
        if self._blocked() or not self._may_call():
            return
        self._will_call()
        try:
            running = self._scaler.platform.running(
                [c.pool.name for c in self._cases], self._lease.deadline
            )
        except PlatformError as error:
            self._failed(error)
            return
        for case in self._cases:
            case.fleet = replace(case.fleet, running=running)
        self._forget()
        self._decide()

    def _act(self) -> None:
        """Write the decisions down, then carry out what they change, in one call."""
        for case in self._cases:
            self._write_decision(case)
        changing = [c for c in self._cases if c.change is not None]
        if not changing:
            return
        for case in changing:
            # A successor must know what may still take effect, if we die before the answer.
            announce = case.writer.firing if case.fires else case.writer.hiring
            announce(case.change or 0, self._time() + SETTLES_WITHIN)
        self._will_call()
        wanted = {c.pool.name: within_limits(c.pool, c.change or 0) for c in changing}
        try:
            quantities = self._scaler.platform.scale(wanted, self._lease.deadline)
        except PlatformError as error:
            self._failed(error)
            if error.settled:
                for case in changing:
                    self._settle(case)
            else:
                self._changes.set["read_at"] = "0"
            return
        # Redis and the platform may have taken their time since it was written down.
        self._called_at = self._time()
        self._changes.set["called_at"] = str(millis(self._called_at))
        for case in changing:
            self._record(case, quantities.get(case.pool.name, wanted[case.pool.name]))

    def _settle(self, case: Case) -> None:
        if case.fires:
            case.writer.fire_settled()
        else:
            case.writer.hire_settled(case.page)

    def _write_decision(self, case: Case) -> None:
        case.writer.needed(case.page.needed)
        if case.decision is not None and case.decision.cordon != case.page.cordon:
            case.writer.cordon(case.decision.cordon)

    def _will_call(self) -> None:
        """Write down, and renew the lock, before the platform is called."""
        self._called_at = self._time()
        self._changes.set["called_at"] = str(millis(self._called_at))
        self._commit()

    def _failed(self, error: PlatformError) -> None:
        self._scaler.trouble.warn("platform", "%s", error)
        wait = max(error.retry_after or 0.0, self._settings.call_interval)
        self._blocked_until = self._time() + wait
        self._changes.set["blocked_until"] = str(millis(self._blocked_until))

    def _record(self, case: Case, quantity: int) -> None:
        before, page = case.page.quantity or 0, case.page
        hired = not case.fires
        self._settle(case)
        if hired:
            case.writer.raised(self._time())
        else:
            case.writer.firing(quantity, self._time() + STOPS_WITHIN, done=True)
        self._learn(case, quantity)
        reason = _reason(page)
        case.writer.action(
            {
                "at": iso(self._time()),
                "action": "hire" if hired else "fire",
                "from": before,
                "to": quantity,
                "reason": reason,
            }
        )
        logger.info(
            "%s: %s %s -> %s (%s)",
            case.pool.name,
            "hire" if hired else "fire",
            before,
            quantity,
            reason,
        )

    # -- the end

    def _commit(self, next_in: float | None = None, release: bool = False) -> None:
        self._lease = self._scaler.ledger.commit(
            self._lease, self._changes, self._snapshot.state.get("seq", "0"), next_in, release
        )
        self._changes.clear()

    def _close(self) -> None:
        self._changes.set["evaluated_at"] = str(millis(self._now))
        waits = [w for c in self._cases for w in self._waits(c)]
        if self._count_failed:
            waits.append(RECOUNT_INTERVAL)
        next_in = max(min(waits), DRAIN_INTERVAL) if waits else None
        self._commit(next_in=next_in, release=True)

    def _waits(self, case: Case) -> Iterator[float]:
        """Seconds after which this pool wants to be looked at again."""
        page, decision = case.page, case.decision
        callable_at = max(self._called_at + self._settings.call_interval, self._blocked_until)
        if (
            decision is None
            or decision.suppressed
            or (decision.quantity is not None and self._blocked())
        ):
            yield callable_at - self._now
        if decision is not None and decision.draining:
            yield DRAIN_INTERVAL
        if page.count is not None and not self._count_failed:
            yield page.count.at + self._count_lasts(case) - self._now
        if page.quantity:
            yield max(self._read_at + READ_INTERVAL - self._now, DRAIN_INTERVAL)
        if page.wakes_at is not None:
            yield page.wakes_at - self._now

    def _time(self) -> float:
        """Redis' time now, from its last reading."""
        return self._now + monotonic() - self._read


def within_limits(pool: Pool, quantity: int) -> int:
    """*quantity*, which every decision keeps within the limits: real money hangs on it."""
    if not pool.min_workers <= quantity <= pool.max_workers:
        raise AssertionError(
            f"{quantity} workers for pool {pool.name!r}, "
            f"allowed are {pool.min_workers} to {pool.max_workers}"
        )
    return quantity


def _reason(page: Page) -> str:
    return (
        f"{page.demand} tasks at {page.pool.jobs_per_worker} per worker need {page.needed}, "
        f"limits {page.pool.min_workers} to {page.pool.max_workers}"
    )
