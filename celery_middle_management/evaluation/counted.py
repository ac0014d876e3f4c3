"""What is known of one pool in the course of an evaluation: its state, its workers, and its tasks.

What changes is put into the evaluation's changes of the ledger, and written with them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from celery_middle_management.core.demand import Backlog, besides, corrected, due_by, take_count
from celery_middle_management.core.fleet import ASKS_AGAIN, Fleet
from celery_middle_management.core.pool_state import RECOUNT_INTERVAL, PoolState
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence, due_in, held_in, recent_in
from celery_middle_management.core.traits import DOTTED, Traits
from celery_middle_management.evaluation.deafness import Deafness
from celery_middle_management.evaluation.one_offs import OneOffs
from celery_middle_management.evaluation.ports import Queues
from celery_middle_management.evaluation.queues import queues_of
from celery_middle_management.ledger.model import Changes, Snapshot
from celery_middle_management.ledger.pool import PoolWriter, read_pool
from celery_middle_management.settings.model import Settings


class CountedPool:
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
        one_offs: bool = False,
    ) -> None:
        everyone = snapshot.presences_of(pool.name)
        presences = tuple(p for p in everyone if not p.hire)
        self.pool = pool
        self.queues = queues_of(pool, settings, snapshot, queues.declared)
        state = read_pool(snapshot, pool, delayed=any(map(queues.delayed, self.queues)))
        self._settings = settings
        self._snapshot = snapshot
        self._clock_offset = snapshot.offset
        self._look_at = snapshot.time("look_at")
        self._writer = PoolWriter(state, changes)
        self._fresh = False
        self._uncounted = False
        #: What there is to do could not be learned.
        self.count_failed = False
        self.state = self._up_to_date(state, everyone)
        #: Workers that are hired one by one, where there may be any.
        self.one_offs: OneOffs | None = None
        if settings.dry_run:
            # Nobody is hired, so the quantity is all that there is.
            self.state = replace(self.state, one_offs=0)
        elif one_offs and (pool.one_off or state.roster.members or len(everyone) > len(presences)):
            hired = tuple(p for p in everyone if p.hire)
            self.one_offs = OneOffs(self.state, hired, self._writer)
        self.fleet = Fleet(
            pool.name,
            state.now,
            presences,
            quantity=state.formation,
            quantity_at=state.quantity_at,
            missed=tuple(state.missed) if state.now - state.missed_at < ASKS_AGAIN else (),
            traits=traits,
        )

    def _up_to_date(self, state: PoolState, presences: Collection[Presence]) -> PoolState:
        published = state.published
        state = self._writer.fall_due(state)
        self._uncounted = state.delayed and state.published > published
        if state.unheard and any(p.since > state.unheard.since for p in presences):
            state = self._writer.heard(state)
        if state.raised_at is not None:
            came_up = [p.since for p in presences if p.since > state.raised_at]
            if came_up:
                state = self._writer.boot_measured(state, min(came_up))
        return state

    @property
    def gone(self) -> list[Presence]:
        """Workers that surely have no process any more."""
        return [*self.fleet.gone, *(self.one_offs.gone if self.one_offs else ())]

    @property
    def leaving(self) -> list[Presence]:
        """Workers that give back what they hold for later, or may have done so since they told."""
        return [*self.fleet.leaving, *(self.one_offs.leaving if self.one_offs else ())]

    def hear_of_deaf(self, deafness: Deafness) -> None:
        """Which workers take nothing, as far as counts tell."""
        deaf = deafness.of(self._snapshot.presences_of(self.pool.name))
        self.state = replace(self.state, deaf=deaf)

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
        told = consuming and _all_told(self.state, living)
        empty = (nobody or told) and not giving.scheduled and not state.delayed
        empty = empty and not any(b.ready or b.scheduled or b.orphans for b in mine)
        due, recent = due_in(living, self.queues), recent_in(living, self.queues)
        corrections = corrected(state.buckets, due, recent, at, empty)
        self.state = self._writer.correct_due(state, corrections)
        self._writer.count(self.state)
        self._fresh = True


def _all_told(before: PoolState, living: Collection[Presence]) -> bool:
    """Whether the *living* workers have told of all that they took, by the state *before* a count.

    What one took since it told was in a queue at the last count, or was published later.
    """
    last = before.count
    if last is None or last.waiting or last.parked or before.untold_since:
        return False
    return all(p.seen > max(before.scheduled_at, last.at) for p in living)
