"""One pool in the course of an evaluation: what is known of it, and what was decided.

What changes is put into the evaluation's changes of the ledger, and written with them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from .decision import Decision, View, decide
from .demand import Backlog, corrected, take_count
from .fleet import Fleet
from .ledger import Changes, Snapshot
from .page import RECOUNT_INTERVAL, Page, PageWriter, iso, queues_of, read_page
from .presence import Presence, due_in, held_in, recent_in
from .settings import Pool, Settings

logger = logging.getLogger("celery_middle_management")

#: A change whose answer did not come can take effect for this long (s): Heroku ends a request
#: after 30 s.
SETTLES_WITHIN = 35.0
#: A platform that has said that it lowered the quantity tells the workers within this time (s).
STOPS_WITHIN = 5.0
#: While workers drain, look again after this time (s); never sooner.
DRAIN_INTERVAL = 1.0


class Case:
    """The page and the fleet of one pool, brought up to date as the evaluation learns of them."""

    def __init__(
        self,
        pool: Pool,
        settings: Settings,
        snapshot: Snapshot,
        changes: Changes,
        *,
        declared_queues: Collection[str],
        watched_since: float,
    ) -> None:
        page = read_page(snapshot, pool)
        presences = tuple(p for p in snapshot.presences if p.pool == pool.name)
        self.pool = pool
        self.queues = queues_of(pool, settings, snapshot, declared_queues)
        self.decision: Decision | None = None
        self._settings = settings
        self._writer = PageWriter(page, changes)
        self._fresh = False
        self.page = self._up_to_date(page, presences)
        self.fleet = Fleet(
            pool.name,
            page.now,
            presences,
            quantity=page.quantity,
            quantity_at=page.quantity_at,
            watched_since=watched_since,
        )

    def _up_to_date(self, page: Page, presences: Collection[Presence]) -> Page:
        page = self._writer.fall_due(page)
        if page.raised_at is not None:
            came_up = [p.since for p in presences if p.since > page.raised_at]
            if came_up:
                page = self._writer.boot_measured(page, min(came_up))
        return page

    def settle(self) -> bool:
        """Forget what was sent and can take effect no more.

        Returns whether nobody heard what became of it: then the quantity is not known.
        """
        page = self.page
        if page.hire is not None and page.ceiling is None:
            self._writer.hire_settled(page)
        if page.fire is None or page.unsettled is not None or page.stopping is not None:
            return False
        self._writer.fire_settled()
        return not page.fire.done

    # -- the count

    @property
    def stale(self) -> bool:
        """Whether a count is due although nothing is to be fired."""
        count, now = self.page.count, self.page.now
        if count is None:
            # The first ever, or Redis lost its data: what was published before is in no counter.
            return True
        if count.restore_at is not None and now >= count.restore_at:
            # What a worker took with it when it died is back, or comes back with the next worker.
            return True
        # Also at rest: a publisher may have died before it could tell, or have nothing of ours.
        return now - count.at >= self._count_lasts

    @property
    def worth_counting(self) -> bool:
        """Whether a count may let something be fired."""
        wanted = self.decision is not None and self.decision.wants_count
        return wanted and not self.page.fire_denied

    @property
    def _count_lasts(self) -> float:
        """Seconds until the next count, sooner where the last one was not as expected.

        A task that ends while it is counted may be in both, running and finished.
        """
        lasts = self._settings.count_interval
        return min(lasts, RECOUNT_INTERVAL) if self.page.drift else lasts

    def count(
        self,
        at: float,
        backlogs: Mapping[str, Backlog],
        living: Collection[Presence],
        leaving: Collection[Presence],
    ) -> None:
        """Put together what the broker has and what the *living* workers hold.

        Some of them are *leaving*, of whatever pool: one may serve queues of several.
        """
        page = self.page
        mine = [backlogs[q] for q in self.queues]
        consuming = any(p.takes(self.queues, page.now) for p in living)
        # Only where they do not stay: what waits must not be taken for scheduled for ever.
        published = consuming and page.scheduling
        count = take_count(
            at,
            mine,
            held_in(living, self.queues),
            page.buckets,
            consuming,
            passing=published or bool(leaving) or page.stopping is not None,
            leaving=held_in(leaving, self.queues).scheduled,
        )
        page = page.counted(count, page.published, page.finished)
        empty = consuming and not any(b.ready or b.scheduled or b.orphans for b in mine)
        due, recent = due_in(living, self.queues), recent_in(living, self.queues)
        corrections = corrected(page.buckets, due, recent, at, empty)
        self.page = self._writer.correct_due(page, corrections)
        self._writer.count(self.page)
        self._fresh = True

    # -- the decision

    def decide(self, *, may_call: bool, blocked: bool) -> None:
        """Decide on what is known now; without a known quantity, nothing."""
        page = self.page
        if page.quantity is None:
            return
        self.decision = decide(
            View(
                minimum=self.pool.min_workers,
                maximum=self.pool.max_workers,
                quantity=page.quantity,
                needed=page.needed,
                fleet=self.fleet,
                cordon=page.cordon,
                fresh=self._fresh,
                may_call=may_call,
                blocked=blocked,
                unsettled=page.unsettled,
                stopping=page.stopping,
                ceiling=page.ceiling,
                drain_timeout=self._settings.drain_timeout,
            )
        )

    @property
    def change(self) -> int | None:
        """The quantity to set, if any.

        Every decision keeps it within the limits; it is asserted here, for real money hangs on it.
        """
        quantity = self.decision.quantity if self.decision else None
        least, most = self.pool.min_workers, self.pool.max_workers
        if quantity is not None and not least <= quantity <= most:
            raise AssertionError(
                f"{quantity} workers for pool {self.pool.name!r}, allowed are {least} to {most}"
            )
        return quantity

    def write_decision(self) -> None:
        """Write down what is decided, before it is done."""
        self._writer.needed(self.page.needed)
        if self.decision is not None and self.decision.cordon != self.page.cordon:
            self._writer.cordon(self.decision.cordon)

    # -- the change of the quantity

    @property
    def _fires(self) -> bool:
        return self.change is not None and self.change < (self.page.quantity or 0)

    def announce(self, at: float) -> None:
        """A successor must know what may still take effect, if we die before the answer."""
        announce = self._writer.firing if self._fires else self._writer.hiring
        announce(self.change or 0, at + SETTLES_WITHIN)

    def refused(self) -> None:
        """What was announced was surely not done, and will not be."""
        if self._fires:
            self._writer.fire_settled()
        else:
            self._writer.hire_settled(self.page)

    def done(self, quantity: int, at: float) -> None:
        """What was announced was done, and led to *quantity*."""
        page, action = self.page, "fire" if self._fires else "hire"
        if self._fires:
            self._writer.firing(quantity, at + STOPS_WITHIN, done=True)
        else:
            self._writer.hire_settled(page)
            self._writer.raised(at)
        before, reason = page.quantity or 0, _reason(page)
        self._writer.action(
            {"at": iso(at), "action": action, "from": before, "to": quantity, "reason": reason}
        )
        logger.info("%s: %s %s -> %s (%s)", self.pool.name, action, before, quantity, reason)
        self.learn(quantity)

    def learn(self, quantity: int) -> None:
        """The platform said how many workers there are to be."""
        at = self.page.now
        self.page = replace(self.page, quantity=quantity, quantity_at=at)
        self.fleet = replace(self.fleet, quantity=quantity, quantity_at=at)
        self._writer.quantity(quantity, at)

    def learn_running(self, running: frozenset[str]) -> None:
        """The platform said which workers are starting or up."""
        self.fleet = replace(self.fleet, running=running)

    # -- what comes next

    def waits(self, callable_at: float, *, blocked: bool, count_failed: bool) -> Iterator[float]:
        """Seconds after which this pool wants to be looked at again.

        The platform may be called from *callable_at* on.
        """
        page, decision = self.page, self.decision
        if decision is None or decision.suppressed or (decision.quantity is not None and blocked):
            yield callable_at - page.now
        if decision is not None and decision.draining:
            yield DRAIN_INTERVAL
        if page.count is not None and not count_failed:
            yield page.count.at + self._count_lasts - page.now
        if page.wakes_at is not None:
            yield page.wakes_at - page.now


def _reason(page: Page) -> str:
    return (
        f"{page.demand} tasks at {page.pool.jobs_per_worker} per worker need {page.needed}, "
        f"limits {page.pool.min_workers} to {page.pool.max_workers}"
    )
