"""A pool as an evaluation knows it: its state, its workers, and its tasks.

Every change is added to the evaluation's changes to the ledger, and written with them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import inf

from celery_middle_management.core.demand import Backlog
from celery_middle_management.core.fleet import ASKS_AGAIN, BOOT_GRACE, Fleet
from celery_middle_management.core.measuring import measured
from celery_middle_management.core.pool_count import Readings, confirmed, count_pool
from celery_middle_management.core.pool_state import RECOUNT_INTERVAL, PoolState, Refusal
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.traits import DOTTED, Traits
from celery_middle_management.evaluation.deafness import Deafness
from celery_middle_management.evaluation.one_offs import OneOffs
from celery_middle_management.evaluation.pool_log import PoolLog
from celery_middle_management.evaluation.ports import Inform, Queues
from celery_middle_management.evaluation.queues import queues_of
from celery_middle_management.ledger.model import Changes, Snapshot
from celery_middle_management.ledger.pool import PoolWriter
from celery_middle_management.ledger.pool_reading import read_pool
from celery_middle_management.platforms.base import Refused
from celery_middle_management.settings.model import Settings

#: How long (s) the platform is not asked again for what it refused to a pool.
REFUSED_FOR = 60.0


class CountedPool:
    """The state and the workers of one pool, kept up to date as the evaluation learns of them."""

    def __init__(
        self,
        pool: Pool,
        settings: Settings,
        snapshot: Snapshot,
        changes: Changes,
        queues: Queues,
        *,
        inform: Inform = lambda *_: None,
        traits: Traits = DOTTED,
        one_offs: bool = False,
        able_for: float = inf,
    ) -> None:
        #: With the limits that are in force.
        self.pool = pool = pool.at(snapshot.now, snapshot.offset)
        self.queues = queues_of(pool, settings, snapshot, queues.declared)
        self._settings = settings
        self._snapshot = snapshot
        self._presences = snapshot.presences_of(pool.name)
        state = read_pool(snapshot, pool, delayed=any(map(queues.delayed, self.queues)))
        self.writer = PoolWriter(state, changes)
        self.log = PoolLog(pool.name, self.writer, snapshot.offset, inform)
        #: True if the demand was counted in this evaluation, and surely no task was missed.
        self.fresh = False
        #: True if the last attempt to count the demand failed.
        self.count_failed = False
        self.state = _update(replace(state, able_for=able_for), self._presences, self.writer)
        #: True if tasks that the broker kept have just fallen due: some may already be finished.
        self._uncounted = state.delayed and self.state.published > state.published
        formation = tuple(p for p in self._presences if not p.hire)
        hired = tuple(p for p in self._presences if p.hire)
        self._fleet = _fleet(self.state, formation, traits)
        #: The one-off workers, if there may be any.
        self.one_offs: OneOffs | None = None
        if settings.dry_run:
            # A dry run hires none, so the formation is the whole quantity.
            self.state = replace(self.state, one_offs=0)
        elif one_offs and (pool.one_off or state.roster.members or hired):
            self.one_offs = OneOffs(self.state, hired, self.writer, self.log)

    # -- the workers

    @property
    def fleet(self) -> Fleet:
        """The workers of the formation, with the quantity taken from the state."""
        state, fleet = self.state, self._fleet
        if (fleet.quantity, fleet.quantity_at) != (state.formation, state.quantity_at):
            self._fleet = replace(fleet, quantity=state.formation, quantity_at=state.quantity_at)
        return self._fleet

    @property
    def gone(self) -> list[Presence]:
        """Presences of workers whose process certainly no longer exists."""
        return [*self.fleet.gone, *(self.one_offs.gone if self.one_offs else ())]

    @property
    def leaving(self) -> list[Presence]:
        """Workers that are returning scheduled tasks, or may have since they reported."""
        return [*self.fleet.leaving, *(self.one_offs.leaving if self.one_offs else ())]

    @property
    def lacks_workers(self) -> bool:
        """True if a worker that should have come up has not reported."""
        state = self.state
        heard = {p.name for p in self.fleet.living if not p.silent(state.now)}
        booting = state.raised_at is not None and state.now - state.raised_at < BOOT_GRACE
        return len(heard) < (state.formation or 0) and not booting

    def mark_deaf(self, deafness: Deafness) -> None:
        """Note in the state which workers take no tasks, according to the counts."""
        self.state = replace(self.state, deaf=deafness.of(self._presences))

    # -- the platform's answers

    def record_running(self, running: Collection[str]) -> Collection[str]:
        """Record which workers are starting or up; return those whose report is overdue."""
        state = self.state
        self._fleet = replace(self.fleet, running=running)
        since = {name: state.missed.get(name, state.now) for name in sorted(self.fleet.unheard)}
        self.state = replace(state, missed=since, missed_at=state.now)
        self.writer.missed(since, state.now)
        return [name for name, at in since.items() if state.now - at >= BOOT_GRACE]

    def record_quantity(self, answer: int | Refused) -> None:
        """Record the quantity that the platform reports, or that it does not know the pool."""
        if isinstance(answer, Refused):
            self.record_refusal(answer)
            self.state = replace(self.state, formation=None)
            self.writer.quantity_unknown()
            return
        ours = self.state.hire or self.state.fire
        if not ours and self.state.formation not in (None, answer):
            self.log.scaled_by_hand(self.state, answer)
        self.set_formation(answer)

    def set_formation(self, quantity: int) -> None:
        """Set the quantity of the formation, as of now."""
        self.state = replace(self.state, formation=quantity, quantity_at=self.state.now)
        self.writer.quantity(self.state)

    def record_refusal(self, error: Refused, limit: int | None = None) -> None:
        """Record that the platform refuses to change this pool, or to go beyond a *limit*."""
        now = self.state.now
        self.set_refusal(Refusal(str(error), now, now + REFUSED_FOR, limit))

    def set_refusal(self, refusal: Refusal) -> None:
        """Set what the platform must not be asked for now."""
        self.state = replace(self.state, last_refusal=refusal)
        self.writer.refused(refusal)

    # -- the count

    @property
    def stale(self) -> bool:
        """True if a count is due even if no worker is to be fired."""
        count, now = self.state.count, self.state.now
        if count is None or self._uncounted:
            # Before the first count, or after Redis lost its data, no counter includes earlier
            # tasks. If the broker passed on tasks that it kept, some may already be counted as
            # finished.
            return True
        if count.restore_at is not None and now >= count.restore_at:
            # What a dead worker held is back in its queue, or goes back once another worker runs.
            return True
        if self._snapshot.time("look_at") > count.at:
            # Since the last count, a task was published whose pool only a count can find out.
            return True
        # Count even if nothing is reported: a publisher may have died before it could report, or
        # may lack this package.
        return now - count.at >= self.count_lasts

    @property
    def count_lasts(self) -> float:
        """Seconds from the last count to the next; fewer if the last was not as expected.

        A task that ends during a count may be counted twice, as running and as finished.
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
        """Count what the broker has and what the *living* workers hold of the pool's queues.

        The *leaving* workers are those of all pools, as a worker may serve queues of several pools.
        """
        read = Readings(at, self.queues, backlogs, living, leaving)
        state, corrections = count_pool(self.state, read)
        self.fresh = confirmed(self.state, state, read)
        self.state = self.writer.correct_due(state, corrections)
        self.writer.count(self.state)


def _update(state: PoolState, presences: Collection[Presence], writer: PoolWriter) -> PoolState:
    """Write which tasks have fallen due and whether workers have come up; return the new state."""
    state = measured(writer.fall_due(state))
    writer.pace(state)
    if state.unheard and any(p.since > state.unheard.since for p in presences):
        state = writer.heard(state)
    if state.raised_at is not None:
        came_up = [p.since for p in presences if p.since > state.raised_at]
        if came_up:
            state = writer.boot_measured(state, min(came_up))
    return state


def _fleet(state: PoolState, presences: tuple[Presence, ...], traits: Traits) -> Fleet:
    recent = state.now - state.missed_at < ASKS_AGAIN
    return Fleet(
        state.pool.name,
        state.now,
        presences,
        quantity=state.formation,
        quantity_at=state.quantity_at,
        missed=tuple(state.missed) if recent else (),
        traits=traits,
    )
