"""When another evaluation would change nothing, so that a simulation need not make it.

Everything here follows from the state that the last evaluation left: as long as no worker has come
up, left or ended since, only the number of tasks and the time have changed. What cannot be told at a
glance is left to an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from celery_middle_management.core.fleet import BOOT_TIME
from celery_middle_management.core.pool_state import RECOUNT_INTERVAL, PoolState
from celery_middle_management.core.roster import ASKS_AFTER, LONGEST_NOTICE
from celery_middle_management.evaluation.evaluation import READ_INTERVAL
from celery_middle_management.evaluation.pool import DRAIN_INTERVAL
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.settings.model import Settings

#: Times are rounded to this (s) in the ledger.
_MILLISECOND = 0.001


@dataclass(frozen=True)
class Steady:
    """The state after an evaluation. Times are the ledger's (s)."""

    state: PoolState
    settings: Settings
    called_at: float
    #: An evaluation has something to do then, whatever happens.
    due_at: float
    #: Returns how many tasks the worker with this number has left; None if it has not come up.
    left: Callable[[int], int | None]

    def waits(self, now: float, published: int, finished: int) -> float | None:
        """Return how long (s) after *now* the next evaluation is due; None: make this one.

        *published* and *finished* are the tasks reported since the last evaluation.
        """
        state = self.state
        if now >= self.due_at - _MILLISECOND or state.hire or state.last_refusal:
            return None
        reckoned = state.published - state.base_published - state.finished + state.base_finished
        counted = state.count.outstanding if state.count else 0
        needed = state.advised(max(counted + reckoned + published - finished, 0)).workers
        one_off = state.pool.one_off
        wait = (self._one_off if one_off else self._formation)(now, needed)
        return wait and max(min(wait, self.due_at - now), DRAIN_INTERVAL)

    def _suppressed(self, now: float) -> float | None:
        """Return how long a change must wait for the call interval; None if it need not."""
        wait = self.called_at + self.settings.call_interval - now
        return wait if wait > 0 and self.state.quantity else None

    def _formation(self, now: float, needed: int) -> float | None:
        state, quantity = self.state, self.state.quantity or 0
        if state.fire is not None and now >= state.fire.until:
            return None
        bounds = [needed] if needed < quantity else []
        bounds += [state.stopping] if state.stopping is not None else []
        if state.cordon.above != min(bounds, default=None) or state.cordon.names:
            return None
        wait = DRAIN_INTERVAL if bounds else READ_INTERVAL
        if needed == quantity:
            return wait
        if needed < quantity:
            left = [self.left(number) for number in range(needed + 1, quantity + 1)]
            if None in left and now - state.cordon.at >= BOOT_TIME - _MILLISECOND:
                return None
            if left[-1] != 0:
                return wait
        suppressed = self._suppressed(now)
        return suppressed and min(wait, suppressed)

    def _one_off(self, now: float, needed: int) -> float | None:
        state = self.state
        members = state.roster.members.values()
        if any(now - m.at > LONGEST_NOTICE for m in members):
            return None
        staying = [m for m in members if not m.left_at]
        leaves = sum(m.name in state.leave.names for m in staying)
        if leaves != max(len(staying) - needed, 0):
            return None
        if state.leave and now - state.now >= ASKS_AFTER:
            return None
        wait = DRAIN_INTERVAL if state.leave and staying else ASKS_AFTER
        if needed > len(staying):
            suppressed = self._suppressed(now)
            return suppressed and min(wait, suppressed)
        return wait


def steady_after(
    snapshot: Snapshot,
    state: PoolState,
    settings: Settings,
    left: Callable[[int], int | None],
) -> Steady:
    """Return the state after an evaluation, and until when it may hold."""
    assert state.count is not None
    lasts = min(settings.count_interval, RECOUNT_INTERVAL) if state.drift else settings.count_interval
    due = [state.count.at + lasts]
    if state.quantity:
        due.append(snapshot.time("read_at") + READ_INTERVAL)
    asks_at = state.roster.asks_at(snapshot.now)
    if asks_at is not None:
        due.append(asks_at)
    if state.unheard is not None:
        due.append(state.unheard.fails_at(state.boot))
    return Steady(state, settings, snapshot.time("called_at"), min(due), left)
