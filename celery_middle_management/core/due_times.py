"""When a pool's scheduled tasks fall due, and when to evaluate the pool again because of them."""

from __future__ import annotations

from celery_middle_management.core.demand import end_of
from celery_middle_management.core.pool_state import PoolState

#: A broker that keeps a task until it is due passes it on at most this long (s) afterwards.
HANDED_ON_WITHIN = 2.0


def falls_due_at(state: PoolState, bucket: int) -> float:
    """Return when (Unix, s) a bucket's tasks begin to count, as if published at that time.

    That is when the bucket begins: by then they are in a queue or held by workers. Where the broker
    itself keeps them until they are due, a count does not see them before the bucket ends.
    """
    return end_of(bucket) + HANDED_ON_WITHIN if state.delayed else bucket


def fallen_due(state: PoolState) -> dict[int, int]:
    """Return the scheduled tasks that count as published by now, by bucket."""
    past = {when: n for when, n in state.buckets.items() if when <= state.now}
    return {w: n for w, n in past.items() if falls_due_at(state, w) <= state.now} if past else past


def wakes_at(state: PoolState) -> float | None:
    """Return when (Unix, s) to evaluate again: when tasks become outstanding, or something ends.

    What can end is a request by hand, or the time of the limits in force.
    """
    now, by_now = state.now, state.now + state.boot
    # Wake one boot time before tasks are due, or when they are due if a boot takes longer.
    future = [when for when in state.buckets if when > now]
    far = [when for when in future if when > by_now]
    ahead: list[float] = [min(future)] if future else []
    ahead += [min(far) - state.boot] if far else []
    if state.delayed:
        ahead += [at for at in (falls_due_at(state, w) for w in state.buckets) if at > now]
    if state.count is not None and state.count.restore_at is not None:
        ahead.append(state.count.restore_at)
    ends = (state.pause.until if state.pause else None, state.wish.until if state.wish else None)
    ahead += [at for at in (*ends, state.pool.limits_until) if at is not None]
    return min(ahead, default=None)
