"""One pool in the course of an evaluation: what is known of it, and what was decided.

What changes is put into the evaluation's changes of the ledger, and written with them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from celery_middle_management.core.decision import Decision, Situation, decide
from celery_middle_management.core.demand import Backlog, besides, corrected, due_by, take_count
from celery_middle_management.core.fleet import ASKS_AGAIN, BOOT_GRACE, Fleet
from celery_middle_management.core.limit_search import Search
from celery_middle_management.core.pool_state import RECOUNT_INTERVAL, PoolState, Refusal, iso
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence, due_in, held_in, recent_in
from celery_middle_management.core.timing import LANDS_WITHIN, LOCK_SECONDS, STOPS_WITHIN
from celery_middle_management.core.traits import DOTTED, Traits
from celery_middle_management.evaluation.ports import Queues
from celery_middle_management.evaluation.queues import queues_of
from celery_middle_management.ledger.model import Changes, Snapshot
from celery_middle_management.ledger.pool import PoolWriter, read_pool
from celery_middle_management.platforms.base import PlatformError, Refused
from celery_middle_management.settings.model import Settings

logger = logging.getLogger("celery_middle_management")

#: What the platform has refused for a pool is not asked for again before this time (s).
REFUSED_FOR = 60.0
#: While workers drain, look again after this time (s); never sooner.
DRAIN_INTERVAL = 1.0


class PoolEvaluation:
    """The state and the fleet of one pool, brought up to date as the evaluation learns of them."""

    def __init__(
        self,
        pool: Pool,
        settings: Settings,
        snapshot: Snapshot,
        changes: Changes,
        queues: Queues,
        *,
        traits: Traits = DOTTED,
    ) -> None:
        presences = snapshot.crew(pool.name)
        self.pool = pool
        self.queues = queues_of(pool, settings, snapshot, queues.declared)
        state = read_pool(snapshot, pool, delayed=any(map(queues.delayed, self.queues)))
        self.decision: Decision | None = None
        self._settings = settings
        self._clock_offset = snapshot.offset
        self._look_at = snapshot.time("look_at")
        self._writer = PoolWriter(state, changes)
        self._fresh = False
        self._search: Search | None = None
        self._uncounted = False
        #: What there is to do could not be learned.
        self.count_failed = False
        self.state = self._up_to_date(state, presences)
        self.fleet = Fleet(
            pool.name,
            state.now,
            presences,
            quantity=state.quantity,
            quantity_at=state.quantity_at,
            missed=tuple(state.missed) if state.now - state.missed_at < ASKS_AGAIN else (),
            traits=traits,
        )

    def _up_to_date(self, state: PoolState, presences: Collection[Presence]) -> PoolState:
        published = state.published
        state = self._writer.fall_due(state)
        self._uncounted = state.delayed and state.published > published
        if state.raised_at is not None:
            came_up = [p.since for p in presences if p.since > state.raised_at]
            if came_up:
                state = self._writer.boot_measured(state, min(came_up))
        return state

    def settle(self) -> bool:
        """Forget what was sent and can take effect no more.

        Returns whether nobody heard what became of it: then the quantity is not known.
        """
        state = self.state
        if state.hire is not None and state.ceiling is None:
            self._writer.hire_settled(state)
        if state.fire is None or state.unsettled is not None or state.stopping is not None:
            return False
        self._writer.fire_settled()
        return not state.fire.done

    # -- the count

    @property
    def stale(self) -> bool:
        """Whether a count is due although nothing is to be fired."""
        count, now = self.state.count, self.state.now
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
        return wanted and not self.state.fire_denied and not self.count_failed

    @property
    def _count_lasts(self) -> float:
        """Seconds until the next count, sooner where the last one was not as expected.

        A task that ends while it is counted may be in both, running and finished.
        """
        lasts = self._settings.count_interval
        again = self.state.drift or self.state.untold_since
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
        state = self.state
        mine = [backlogs[q] for q in self.queues]
        consuming = any(p.takes(self.queues, state.now) for p in living)
        # Only where they do not stay: what waits must not be taken for scheduled for ever.
        published = consuming and state.scheduling
        held, giving = (held_in(workers, self.queues) for workers in (living, leaving))
        passing = published or giving.scheduled > 0 or state.stopping is not None
        given_back = max(state.held - held.scheduled, 0)
        count = take_count(
            at,
            mine,
            held,
            {} if state.delayed else state.buckets,
            consuming,
            passing=passing,
            leaving=giving.scheduled,
            parked=state.still_parked + given_back,
        )
        if state.delayed:
            count = besides(count, due_by(state.buckets, state.now))
        state = state.counted(
            count,
            seen=passing or given_back > 0 or not consuming,
            blind=not consuming and not state.delayed,
        )
        # What was given back just now may be on its way into another presence. Where nobody is, a
        # task that was told of before is in a queue, or it is gone.
        nobody = state.quantity == 0 and not living and not leaving and not state.scheduling
        # And what was told of just now may be with a worker that has not reported since.
        reported = all(p.seen > state.scheduled_at for p in living)
        empty = (consuming or nobody) and reported and not giving.scheduled and not state.delayed
        empty = empty and not any(b.ready or b.scheduled or b.orphans for b in mine)
        due, recent = due_in(living, self.queues), recent_in(living, self.queues)
        corrections = corrected(state.buckets, due, recent, at, empty)
        self.state = self._writer.correct_due(state, corrections)
        self._writer.count(self.state)
        self._fresh = True

    # -- the decision

    def decide(self, *, may_call: bool, blocked: bool) -> None:
        """Decide on what is known now; without a known quantity, nothing."""
        state, refusal = self.state, self.state.refusal
        if state.quantity is None:
            return
        self.decision = decide(
            Situation(
                minimum=self.pool.min_workers,
                maximum=self.pool.max_workers,
                quantity=state.quantity,
                needed=state.needed,
                fleet=self.fleet,
                cordon=state.cordon,
                fresh=self._fresh,
                may_call=may_call,
                blocked=blocked or (refusal is not None and refusal.limit is None),
                unsettled=state.unsettled,
                stopping=state.stopping,
                ceiling=state.ceiling,
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
        if self.decision is not None and self.decision.cordon != self.state.cordon:
            self._writer.cordon(self.decision.cordon)

    # -- the change of the quantity

    def lowers_to(self, quantity: int) -> bool:
        """Whether it is a fire to set *quantity*."""
        return quantity < (self.state.quantity or 0)

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
        cordon = self.decision.cordon if self.decision else self.state.cordon
        if not self.fleet.unordered and (cordon.above is None or cordon.above > quantity):
            fleet = self.fleet
            crew = fleet.names(quantity)
            drawn = cordon.redrawn(quantity, cordon.names, crew, fleet.now, fleet.traits)
            self._writer.cordon(drawn)

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
            searches = self.state.ceiling is None and not self.lowers_to(quantity)
            if searches and not outcome.unknown:
                search = self._search or Search(self.state.quantity or 0, quantity, outcome.limit)
                self._search = replace(search, refused=quantity)
        return self._look_further()

    def _look_further(self) -> int | None:
        """What to ask for next where the platform runs fewer than are needed."""
        if self._search is None:
            return None
        if self.state.last_refusal is not None:
            refusal = replace(self.state.last_refusal, limit=self._search.allowed)
            self.state = replace(self.state, last_refusal=refusal)
            self._writer.refused(refusal)
        return self._search.next(self.pool.min_workers)

    def _refused(self, error: Refused) -> None:
        """The platform does nothing for this pool."""
        now = self.state.now
        refusal = Refusal(str(error), now, now + REFUSED_FOR)
        self.state = replace(self.state, last_refusal=refusal)
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
            self._writer.hire_settled(self.state)

    def _done(self, asked: int, quantity: int, at: float) -> None:
        state, action = self.state, "fire" if self.lowers_to(asked) else "hire"
        if action == "fire":
            self._writer.firing(quantity, at + STOPS_WITHIN, done=True)
        else:
            self._writer.hire_settled(state)
            self._writer.raised(at)
        before, reason = state.quantity or 0, state.advice.why
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
            self.state = replace(self.state, quantity=None)
            self.decision = None
            self._writer.quantity_unknown()
        else:
            self._learn_quantity(answer)

    def _learn_quantity(self, quantity: int) -> None:
        at = self.state.now
        self.state = replace(self.state, quantity=quantity, quantity_at=at)
        self.fleet = replace(self.fleet, quantity=quantity, quantity_at=at)
        self._writer.quantity(quantity, at)

    @property
    def lacks_workers(self) -> bool:
        """Whether somebody should have come up of whom nothing is heard."""
        state = self.state
        heard = {p.name for p in self.fleet.living if not p.silent(state.now)}
        booting = state.raised_at is not None and state.now - state.raised_at < BOOT_GRACE
        return len(heard) < (state.quantity or 0) and not booting

    def learn_running(self, running: Collection[str]) -> Collection[str]:
        """Which workers are starting or up; returns those never heard of, though they should be."""
        state = self.state
        self.fleet = replace(self.fleet, running=running)
        since = {name: state.missed.get(name, state.now) for name in sorted(self.fleet.unheard)}
        self.state = replace(state, missed=since, missed_at=state.now)
        self._writer.missed(since, state.now)
        return [name for name, at in since.items() if state.now - at >= BOOT_GRACE]

    # -- what comes next

    def waits(self, callable_at: float, *, blocked: bool) -> Iterator[float]:
        """Seconds after which this pool wants to be looked at again.

        The platform may be called from *callable_at* on.
        """
        state, decision = self.state, self.decision
        if decision is None or decision.suppressed or (decision.quantity is not None and blocked):
            yield max(callable_at, state.refusal.until if state.refusal else 0.0) - state.now
        if decision is not None and decision.draining:
            yield DRAIN_INTERVAL
        if self.count_failed:
            yield RECOUNT_INTERVAL
        elif state.count is not None:
            yield state.count.at + self._count_lasts - state.now
        if state.wakes_at is not None:
            yield state.wakes_at - state.now
