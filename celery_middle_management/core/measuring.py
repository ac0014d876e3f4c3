"""Brings what is measured of a pool up to date: its pace, and how strict its policy must be."""

from __future__ import annotations

from dataclasses import replace

from celery_middle_management.core.pace import Seen
from celery_middle_management.core.policies.steering import faded, steered
from celery_middle_management.core.pool_state import PoolState


def measured(state: PoolState) -> PoolState:
    """Return the state with the pace as of now."""
    before = state.pace
    seen = Seen(
        now=state.now,
        published=state.published,
        started=state.started,
        late=state.late,
        finished=state.finished,
        runtime=state.runtime,
        running=state.running,
        elapsed=state.elapsed,
    )
    pace = replace(before.after(seen, state.slots), waiting_since=_waiting_since(state))
    if state.pool.max_wait is not None and before.seen is not None:
        pace = replace(pace, factor=_factor(state, before.seen, seen, state.pool.max_wait))
    return replace(state, pace=pace)


def _waiting_since(state: PoolState) -> float:
    if state.quantity or not state.outstanding:
        return 0.0
    return state.pace.waiting_since or state.now


def _factor(state: PoolState, before: Seen, seen: Seen, wait: float) -> float:
    time = max(seen.now - before.now, 0.0)
    factor = faded(state.pace.factor, time)
    started, late = seen.started - before.started, seen.late - before.late
    # What the limits or the platform forbid teaches nothing.
    limited = (state.quantity or 0) >= state.pool.max_workers or state.denied is not None
    if started <= 0 or late < 0 or limited:
        return factor
    return steered(factor, started, late, time / max(wait, state.boot))
