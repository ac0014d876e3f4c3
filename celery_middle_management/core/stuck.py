"""Pools that are stuck: tasks wait because the pool needs more workers than its maximum."""

from __future__ import annotations

from celery_middle_management.core.pool_state import PoolState, unlimited
from celery_middle_management.core.trouble import Trouble

#: Tasks that have waited for this long (s) because of a pool's maximum are worth telling.
STUCK_AFTER = 300.0


def stuck_since(state: PoolState) -> float | None:
    """Return since when (Redis' time, s) the pool has been stuck; None if it is not."""
    return (state.stuck_since or state.now) if _is_stuck(state) else None


def told_of(state: PoolState) -> Trouble | None:
    """Return what to tell of a pool that has long been stuck, in the form of a trouble."""
    since = state.stuck_since
    if since is None or state.now - since < STUCK_AFTER:
        return None
    why = unlimited(state, state.demand).why
    waiting = _waiting(state)
    tasks = "1 task waited" if waiting == 1 else f"{waiting} tasks waited"
    what = f"{why}, and max_workers is {state.pool.max_workers}: {tasks} at the last count"
    return Trouble(what, since, state.pool.name)


def _is_stuck(state: PoolState) -> bool:
    most = state.pool.max_workers
    has_most = state.quantity is not None and state.quantity >= most
    return has_most and _waiting(state) > 0 and unlimited(state, state.demand).workers > most


def _waiting(state: PoolState) -> int:
    return state.count.waiting if state.count else 0
