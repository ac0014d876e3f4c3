"""One pool in the course of an evaluation: what is known of it, and what was decided.

What changes is put into the evaluation's changes of the ledger, and written with them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

from celery_middle_management.core.decision import Decision, View, decide
from celery_middle_management.core.demand import Backlog, besides, corrected, due_by, take_count
from celery_middle_management.core.fleet import ASKS_AGAIN, BOOT_GRACE, Fleet
from celery_middle_management.core.limit_search import Search
from celery_middle_management.core.pool_state import RECOUNT_INTERVAL, Page, Refusal, iso
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence, due_in, held_in, recent_in
from celery_middle_management.evaluation.queues import queues_of
from celery_middle_management.ledger.codec import PageWriter, read_page
from celery_middle_management.ledger.model import LOCK_SECONDS, Changes, Snapshot
from celery_middle_management.platforms.base import PlatformError, Refused
from celery_middle_management.settings.model import Settings

logger = logging.getLogger("celery_middle_management")

#: A platform that has said that it lowered the quantity tells the workers within this time (s).
STOPS_WITHIN = 5.0
#: A change whose answer did not come is carried out within this time (s) after it was given up, and
#: its workers told, or never: Heroku ends a request after 30 s, and what is in between may be slow.
LANDS_WITHIN = 60.0 + STOPS_WITHIN
#: What the platform has refused for a pool is not asked for again before this time (s).
REFUSED_FOR = 60.0
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
        delayed: Callable[[str], bool] = lambda _: False,
    ) -> None:
        presences = snapshot.crew(pool.name)
        self.pool = pool
        self.queues = queues_of(pool, settings, snapshot, declared_queues)
        page = read_page(snapshot, pool, delayed=any(delayed(queue) for queue in self.queues))
        self.decision: Decision | None = None
        self._settings = settings
        self._clock_offset = snapshot.offset
        self._look_at = snapshot.time("look_at")
        self._writer = PageWriter(page, changes)
        self._fresh = False
        self._search: Search | None = None
        self._uncounted = False
        #: What there is to do could not be learned.
        self.count_failed = False
        self.page = self._up_to_date(page, presences)
        self.fleet = Fleet(
            pool.name,
            page.now,
            presences,
            quantity=page.quantity,
            quantity_at=page.quantity_at,
            missed=tuple(page.missed) if page.now - page.missed_at < ASKS_AGAIN else (),
        )

    def _up_to_date(self, page: Page, presences: Collection[Presence]) -> Page:
        published = page.published
        page = self._writer.fall_due(page)
        self._uncounted = page.delayed and page.published > published
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
        if count is None or self._uncounted:
            # The first ever, or Redis lost its data: what was published before is in no counter.
            # Or the broker has handed on what it kept, which may be finished and counted so.
            return True
        if count.restore_at is not None and now >= count.restore_at:
            # What a worker took with it when it died is back, or comes back with the next worker.
            return True
        if self._look_at > count.at:
            # Something was published since to a queue that only the broker knows.
            return True
        # Also at rest: a publisher may have died before it could tell, or have nothing of ours.
        return now - count.at >= self._count_lasts

    @property
    def worth_counting(self) -> bool:
        """Whether a count may let something be fired."""
        wanted = self.decision is not None and self.decision.wants_count
        return wanted and not self.page.fire_denied and not self.count_failed

    @property
    def _count_lasts(self) -> float:
        """Seconds until the next count, sooner where the last one was not as expected.

        A task that ends while it is counted may be in both, running and finished.
        """
        lasts = self._settings.count_interval
        again = self.page.drift or self.page.untold_since
        return min(lasts, RECOUNT_INTERVAL) if again else lasts

    def count(
        self,
        at: float,
        backlogs: Mapping[str, Backlog],
        living: Collection[Presence],
        leaving: Collection[Presence],
    ) -> None:
        """Put together what the broker has and what the *living* workers hold of its queues.

        Others are *leaving*, of whatever pool: one may serve queues of several.
        """
        page = self.page
        mine = [backlogs[q] for q in self.queues]
        consuming = any(p.takes(self.queues, page.now) for p in living)
        # Only where they do not stay: what waits must not be taken for scheduled for ever.
        published = consuming and page.scheduling
        held, giving = (held_in(workers, self.queues) for workers in (living, leaving))
        passing = published or giving.scheduled > 0 or page.stopping is not None
        given_back = max(page.held - held.scheduled, 0)
        count = take_count(
            at,
            mine,
            held,
            {} if page.delayed else page.buckets,
            consuming,
            passing=passing,
            leaving=giving.scheduled,
            parked=page.still_parked + given_back,
        )
        if page.delayed:
            count = besides(count, due_by(page.buckets, page.now))
        page = page.counted(
            count,
            seen=passing or given_back > 0 or not consuming,
            blind=not consuming and not page.delayed,
        )
        # What was given back just now may be on its way into another presence. Where nobody is, a
        # task that was told of before is in a queue, or it is gone.
        nobody = page.quantity == 0 and not living and not leaving and not page.scheduling
        # And what was told of just now may be with a worker that has not reported since.
        reported = all(p.seen > page.scheduled_at for p in living)
        empty = (consuming or nobody) and reported and not giving.scheduled and not page.delayed
        empty = empty and not any(b.ready or b.scheduled or b.orphans for b in mine)
        due, recent = due_in(living, self.queues), recent_in(living, self.queues)
        corrections = corrected(page.buckets, due, recent, at, empty)
        self.page = self._writer.correct_due(page, corrections)
        self._writer.count(self.page)
        self._fresh = True

    # -- the decision

    def decide(self, *, may_call: bool, blocked: bool) -> None:
        """Decide on what is known now; without a known quantity, nothing."""
        page, refusal = self.page, self.page.refusal
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
                blocked=blocked or (refusal is not None and refusal.limit is None),
                unsettled=page.unsettled,
                stopping=page.stopping,
                ceiling=page.ceiling,
                limit=refusal.limit if refusal else None,
                drain_timeout=self._settings.drain_timeout,
            )
        )

    @property
    def change(self) -> int | None:
        """The quantity to set, if any."""
        return self.decision.quantity if self.decision else None

    def write_decision(self) -> None:
        """Write down what is decided, before it is done."""
        self._writer.needed(self.page.needed)
        if self.decision is not None and self.decision.cordon != self.page.cordon:
            self._writer.cordon(self.decision.cordon)

    # -- the change of the quantity

    def lowers_to(self, quantity: int) -> bool:
        """Whether it is a fire to set *quantity*."""
        return quantity < (self.page.quantity or 0)

    def announce(self, quantity: int, at: float) -> None:
        """A successor must know what may still take effect, if we die before the answer.

        Whoever somebody hires by hand above it takes no tasks until then, for it would stop him.

        Every decision keeps the quantity within the limits; it is asserted here, for real money
        hangs on it.
        """
        least, most = self.pool.min_workers, self.pool.max_workers
        if not least <= quantity <= most:
            raise AssertionError(
                f"{quantity} workers for pool {self.pool.name!r}, allowed are {least} to {most}"
            )
        self._sent(quantity, at + LOCK_SECONDS + LANDS_WITHIN)
        cordon = self.decision.cordon if self.decision else self.page.cordon
        if not self.fleet.unordered and (cordon.above is None or cordon.above > quantity):
            names = self.fleet.names(quantity)
            self._writer.cordon(cordon.redrawn(quantity, cordon.names, names, self.page.now))

    def answered(self, quantity: int, outcome: int | PlatformError, at: float) -> int | None:
        """What became of *quantity*, which was announced; returns what to ask for next, if any."""
        if isinstance(outcome, PlatformError) and not outcome.settled:
            self._sent(quantity, at + LANDS_WITHIN)
            return None
        if self.decision is not None:
            self._writer.cordon(self.decision.cordon)
        if not isinstance(outcome, PlatformError):
            self._done(quantity, outcome, at)
            if self._search is not None:
                self._search = replace(self._search, allowed=outcome)
            return self._look_further()
        self._not_done(quantity)
        if isinstance(outcome, Refused):
            self._refused(outcome)
            # Not after a hire of unknown outcome: one to fewer may be done last, and stop workers.
            searches = self.page.ceiling is None and not self.lowers_to(quantity)
            if searches and not outcome.unknown:
                search = self._search or Search(self.page.quantity or 0, quantity, outcome.limit)
                self._search = replace(search, refused=quantity)
        return self._look_further()

    def _look_further(self) -> int | None:
        """What to ask for next where the platform runs fewer than are needed."""
        if self._search is None:
            return None
        if self.page.last_refusal is not None:
            refusal = replace(self.page.last_refusal, limit=self._search.allowed)
            self.page = replace(self.page, last_refusal=refusal)
            self._writer.refused(refusal)
        return self._search.next(self.pool.min_workers)

    def _refused(self, error: Refused) -> None:
        """The platform does nothing for this pool."""
        now = self.page.now
        refusal = Refusal(str(error), now, now + REFUSED_FOR)
        self.page = replace(self.page, last_refusal=refusal)
        self._writer.refused(refusal)

    def _sent(self, quantity: int, until: float) -> None:
        if self.lowers_to(quantity):
            self._writer.firing(quantity, until)
        else:
            self._writer.hiring(quantity, until)

    def _not_done(self, quantity: int) -> None:
        if self.lowers_to(quantity):
            self._writer.fire_settled()
        else:
            self._writer.hire_settled(self.page)

    def _done(self, asked: int, quantity: int, at: float) -> None:
        page, action = self.page, "fire" if self.lowers_to(asked) else "hire"
        if action == "fire":
            self._writer.firing(quantity, at + STOPS_WITHIN, done=True)
        else:
            self._writer.hire_settled(page)
            self._writer.raised(at)
        before, reason = page.quantity or 0, _reason(page)
        wall = iso(at - self._clock_offset)
        self._writer.action(
            {"at": wall, "action": action, "from": before, "to": quantity, "reason": reason}
        )
        logger.info("%s: %s %s -> %s (%s)", self.pool.name, action, before, quantity, reason)
        self._learn_quantity(quantity)

    # -- what the platform says

    def learn(self, answer: int | Refused) -> None:
        """How many workers there are to be, or that there is no such pool."""
        if isinstance(answer, Refused):
            self._refused(answer)
            self.page = replace(self.page, quantity=None)
            self.decision = None
            self._writer.quantity_unknown()
        else:
            self._learn_quantity(answer)

    def _learn_quantity(self, quantity: int) -> None:
        at = self.page.now
        self.page = replace(self.page, quantity=quantity, quantity_at=at)
        self.fleet = replace(self.fleet, quantity=quantity, quantity_at=at)
        self._writer.quantity(quantity, at)

    @property
    def lacks_workers(self) -> bool:
        """Whether somebody should have come up of whom nothing is heard."""
        page = self.page
        heard = {p.name for p in self.fleet.living if not p.silent(page.now)}
        booting = page.raised_at is not None and page.now - page.raised_at < BOOT_GRACE
        return len(heard) < (page.quantity or 0) and not booting

    def learn_running(self, running: Collection[str]) -> Collection[str]:
        """Which workers are starting or up; returns those never heard of, though they should be."""
        page = self.page
        self.fleet = replace(self.fleet, running=running)
        since = {name: page.missed.get(name, page.now) for name in sorted(self.fleet.unheard)}
        self.page = replace(page, missed=since, missed_at=page.now)
        self._writer.missed(since, page.now)
        return [name for name, at in since.items() if page.now - at >= BOOT_GRACE]

    # -- what comes next

    def waits(self, callable_at: float, *, blocked: bool) -> Iterator[float]:
        """Seconds after which this pool wants to be looked at again.

        The platform may be called from *callable_at* on.
        """
        page, decision = self.page, self.decision
        if decision is None or decision.suppressed or (decision.quantity is not None and blocked):
            yield max(callable_at, page.refusal.until if page.refusal else 0.0) - page.now
        if decision is not None and decision.draining:
            yield DRAIN_INTERVAL
        if self.count_failed:
            yield RECOUNT_INTERVAL
        elif page.count is not None:
            yield page.count.at + self._count_lasts - page.now
        if page.wakes_at is not None:
            yield page.wakes_at - page.now


def _reason(page: Page) -> str:
    return (
        f"{page.demand} tasks at {page.pool.jobs_per_worker} per worker need {page.needed}, "
        f"limits {page.pool.min_workers} to {page.pool.max_workers}"
    )
