"""Evaluations that change nothing, which a simulation need not make.

As long as no worker has come up, was asked to stop or ended since the last evaluation, only the
number of tasks and the time have changed. So it is enough to reckon, or to count, and to see
whether the decision would still be the same. What cannot be told at a glance is left to an
evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from celery_middle_management.core.fleet import BOOT_TIME
from celery_middle_management.core.pool_count import Readings, count_pool, nothing_new
from celery_middle_management.core.pool_state import RECOUNT_INTERVAL, PoolState
from celery_middle_management.core.roster import ASKS_AFTER, LONGEST_NOTICE
from celery_middle_management.evaluation.evaluation import READ_INTERVAL
from celery_middle_management.evaluation.pool import DRAIN_INTERVAL
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.settings.model import Settings
from celery_middle_management.sim.counts import Counts, Told

#: Times are rounded to this (s) in the ledger.
_MILLISECOND = 0.001


class Counted(NamedTuple):
    """The state of the pool after a count, and what had been reported by then."""

    state: PoolState
    told: Told
    #: How many tasks had been published: those reported later are in the count already.
    published: int


class Verdict(NamedTuple):
    """What an evaluation would do."""

    #: After how long (s) another one would be due, if this one changed nothing; None: it may.
    wait: float | None = None
    #: It would count before it changes anything.
    counts: bool = False


_CHANGES = Verdict()


@dataclass
class Steady:
    """What is known since the last evaluation. Times are the ledger's (s)."""

    counted: Counted
    settings: Settings
    counts: Counts
    called_at: float
    #: Something must be done then, whatever happens.
    due_at: float
    #: Reads the queues and the workers' reports.
    read: Callable[[], Readings]
    #: Returns how many tasks the worker with this number has left; None if it has not come up.
    left: Callable[[int], int | None]
    evaluated_at: float
    #: The ledger does not know of the last count.
    uncommitted: bool = False
    #: Something has happened to a worker.
    over: bool = False

    def waits(self, now: float) -> float | None:
        """Return how long (s) after *now* the next evaluation is due; None: make this one."""
        state = self.counted.state
        if self.over or now >= self.due_at - _MILLISECOND or state.hire or state.last_refusal:
            return None
        if state.pool.jobs_per_worker is None or state.pool.max_wait is not None:
            return None  # its policy measures more than the number of tasks
        counted = self._count(now) if self._is_stale(now) else None
        verdict = self._verdict(now, counted)
        if verdict.counts and counted is None:
            if nothing_new(replace(state, now=now)):
                rest = ASKS_AFTER if state.pool.one_off else READ_INTERVAL
                verdict = Verdict(DRAIN_INTERVAL if state.cordon or state.leave else rest)
            else:
                counted = self._count(now)
                verdict = self._verdict(now, counted)
        if verdict.wait is None or verdict.counts:
            return None
        if counted is not None:
            self.counted, self.uncommitted = counted, True
        counted_at = self.counted.state.count.at if self.counted.state.count else now
        due_in = min(self.due_at, counted_at + self._lasts) - now
        return max(min(verdict.wait, due_in), DRAIN_INTERVAL)

    # -- tasks

    @property
    def _lasts(self) -> float:
        lasts = self.settings.count_interval
        return min(lasts, RECOUNT_INTERVAL) if self.counted.state.drift else lasts

    def _is_stale(self, now: float) -> bool:
        count = self.counted.state.count
        return count is None or now - count.at >= self._lasts

    def _since(self) -> tuple[int, int]:
        """Return the tasks reported as published and as finished that the last count lacks."""
        told, counted = self.counts.told, self.counted
        published = told.published - max(counted.told.published, counted.published)
        return max(published, 0), told.finished.tasks - counted.told.finished.tasks

    def _count(self, now: float) -> Counted:
        published, finished = self._since()
        state = self.counted.state
        told = self.counts.told
        new = told.published - self.counted.told.published
        state = replace(
            state,
            now=now,
            published=state.published + new,
            base_published=state.base_published + new - published,
            finished=state.finished + finished,
        )
        read = self.read()
        return Counted(count_pool(state, read)[0], told, self.counts.published_by(read.at))

    def _needed(self, counted: Counted | None) -> int:
        state = counted.state if counted else self.counted.state
        published, finished = (0, 0) if counted else self._since()
        reckoned = state.published - state.base_published - state.finished + state.base_finished
        outstanding = state.count.outstanding if state.count else 0
        return state.advised(max(outstanding + reckoned + published - finished, 0)).workers

    # -- workers

    def _verdict(self, now: float, counted: Counted | None) -> Verdict:
        needed = self._needed(counted)
        if self.counted.state.pool.one_off:
            return self._one_off(now, needed)
        return self._formation(now, needed)

    def _suppressed(self, now: float, wait: float) -> Verdict:
        """Return that a change must wait for the call interval, if it must."""
        left = self.called_at + self.settings.call_interval - now
        waits = left > 0 and self.counted.state.quantity
        return Verdict(min(wait, left)) if waits else _CHANGES

    def _formation(self, now: float, needed: int) -> Verdict:
        state = self.counted.state
        quantity = state.quantity or 0
        over = state.fire is not None and now >= state.fire.until
        # The next evaluation notes since when workers that were just hired have been cordoned.
        above = state.cordon.above
        if over or (above is not None and len(state.cordon.since) != max(quantity - above, 0)):
            return _CHANGES
        stopping = state.fire.to if state.fire is not None else None
        bounds = [needed] if needed < quantity else []
        bounds += [stopping] if stopping is not None else []
        if above != min(bounds, default=None) or state.cordon.names:
            return Verdict(counts=needed < quantity)
        wait = DRAIN_INTERVAL if bounds else READ_INTERVAL
        if needed == quantity:
            return Verdict(wait)
        if needed < quantity:
            left = [self.left(number) for number in range(needed + 1, quantity + 1)]
            first = min(state.cordon.since.values(), default=now)
            if None in left and now - first >= BOOT_TIME - _MILLISECOND:
                return _CHANGES
            if left[-1] != 0:
                return Verdict(wait)
        return self._suppressed(now, wait)

    def _one_off(self, now: float, needed: int) -> Verdict:
        state = self.counted.state
        members = state.roster.members.values()
        if any(now - m.at > LONGEST_NOTICE for m in members):
            return _CHANGES
        if state.leave and now - self.evaluated_at >= ASKS_AFTER:
            return _CHANGES
        staying = [m for m in members if not m.left_at]
        leaves = sum(m.name in state.leave.names for m in staying)
        surplus = max(len(staying) - needed, 0)
        if leaves != surplus:
            return Verdict(counts=leaves < surplus)
        wait = DRAIN_INTERVAL if state.leave and staying else ASKS_AFTER
        if needed > len(staying):
            return self._suppressed(now, wait)
        return Verdict(wait)


def due_at(snapshot: Snapshot, state: PoolState) -> float:
    """Return when (ledger's time, s) an evaluation has something to do, whatever happens."""
    due = []
    if state.quantity:
        due.append(snapshot.time("read_at") + READ_INTERVAL)
    asks_at = state.roster.asks_at(snapshot.now)
    if asks_at is not None:
        due.append(asks_at)
    if state.unheard is not None:
        due.append(state.unheard.fails_at(state.boot))
    return min(due, default=float("inf"))
