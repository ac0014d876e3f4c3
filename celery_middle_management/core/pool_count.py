"""A count of one pool: the broker's queues and the workers' reports put together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from celery_middle_management.core.demand import (
    Backlog,
    Count,
    besides,
    corrected,
    due_by,
    reckon,
    take_count,
)
from celery_middle_management.core.pool_state import RECOUNT_INTERVAL, Parked, PoolState
from celery_middle_management.core.presence import Presence, due_in, held_in, recent_in

#: A consuming worker takes a scheduled task within this time (s) of its publisher's report.
TAKEN_WITHIN = 5.0
#: While scheduled tasks are being published, tasks that no process has reported are set aside, but
#: only for this long (s): their publishers may never report.
UNTOLD_FOR = 30.0
#: A worker reports a task within this time (s) of taking it.
REPORTED_WITHIN = 2.0


@dataclass(frozen=True)
class Readings:
    """The broker's and the workers' reports about a pool's queues at one moment."""

    at: float
    queues: Collection[str]
    backlogs: Mapping[str, Backlog]
    living: Collection[Presence]
    #: The leaving workers of all pools: a worker may serve queues of several.
    leaving: Collection[Presence]


def count_pool(state: PoolState, read: Readings) -> tuple[PoolState, dict[int, int]]:
    """Return the state with a new count, and what to add to its due times to make them agree."""
    consuming = any(p.takes(read.queues, state.now) for p in read.living)
    held, giving = (held_in(workers, read.queues) for workers in (read.living, read.leaving))
    # Only where scheduled tasks do not stay in the queue: elsewhere, waiting tasks could for
    # ever be mistaken for scheduled ones.
    published = consuming and scheduling(state)
    passing = published or giving.scheduled > 0 or state.stopping is not None
    given_back = max(_held_before(state) - held.scheduled, 0)
    count = take_count(
        read.at,
        [read.backlogs[q] for q in read.queues],
        held,
        {} if state.delayed else state.buckets,
        consuming,
        passing=passing,
        leaving=giving.scheduled,
        parked=still_parked(state) + given_back,
    )
    if state.delayed:
        count = besides(count, due_by(state.buckets, state.now))
    counted = with_count(
        state,
        count,
        seen=passing or given_back > 0 or not consuming,
        blind=not consuming and not state.delayed,
    )
    due, recent = due_in(read.living, read.queues), recent_in(read.living, read.queues)
    empty = not giving.scheduled and _surely_empty(state, counted, read, consuming)
    return counted, corrected(state.buckets, due, recent, read.at, empty)


def with_count(state: PoolState, count: Count, *, seen: bool, blind: bool = False) -> PoolState:
    """Return the state with a new count, which has *seen* the parked tasks or only assumes them.

    In a *blind* count, where no worker consumes, tasks that no process has reported may be
    scheduled for later. While scheduled tasks are being published, unreported ones are set aside,
    because a count is always ahead of reports.
    """
    reckoned = state.outstanding
    untold = min(max(count.outstanding - reckoned, 0), count.waiting) if blind else 0
    since = (state.untold_since or count.at) if untold and scheduling(state) else None
    aside = untold if since is not None and count.at - since < UNTOLD_FOR else 0
    if aside:
        count = replace(count, waiting=count.waiting - aside)
    until = state.finished + count.outstanding if seen else state.parked.until
    return replace(
        state,
        count=count,
        base_published=state.published,
        base_finished=state.finished,
        drift=reckoned - reckon(count, 0, 0, due_by(state.buckets, state.now)),
        parked=Parked(count.parked, until),
        untold_since=since,
        aside=aside,
    )


def scheduling(state: PoolState) -> bool:
    """Return whether scheduled tasks were reported so recently that they may be on their way.

    Tasks reported since the last count may also be parked: no count has looked for them yet.
    """
    counted_at = state.count.at if state.count else state.now
    return state.scheduled_at > min(counted_at, state.now - TAKEN_WITHIN)


def still_parked(state: PoolState) -> int:
    """Return how many scheduled tasks no worker can have reached since they were seen parked."""
    return state.parked.tasks if state.finished <= state.parked.until else 0


def nothing_new(state: PoolState) -> bool:
    """Return whether another count would find nothing new yet.

    If the last one found more than was reckoned, publishers hold back reports: until they report,
    another count finds the same, which matters only while a worker is cordoned. If it found fewer,
    workers may have taken tasks that they have yet to report.
    """
    if state.count is None or not state.drift:
        return False
    age = state.now - state.count.at
    if state.drift < 0:
        return age < RECOUNT_INTERVAL and not state.cordon
    return age < REPORTED_WITHIN


def confirmed(before: PoolState, counted: PoolState, read: Readings) -> bool:
    """Return whether the count in *counted*, taken in the state *before*, surely missed no task.

    Unless the broker tells how many messages workers hold, a task is nowhere to be found between
    the moment that a worker takes it and the worker's next report. So if a count found fewer tasks
    than were reckoned, only a second one confirms that.
    """
    if counted.drift <= 0 or all(read.backlogs[q].returned is not None for q in read.queues):
        return True
    last = before.count
    return last is not None and before.drift > 0 and read.at - last.at >= REPORTED_WITHIN


def _held_before(state: PoolState) -> int:
    """Return the scheduled tasks that workers held at the last count."""
    return state.count.scheduled - state.parked.tasks if state.count else 0


def _surely_empty(before: PoolState, now: PoolState, read: Readings, consuming: bool) -> bool:
    """Return whether every scheduled task that workers do not hold is gone from the queues.

    A task that was given back just now may be about to appear in another worker's report. Where no
    worker is up, a task that was reported earlier is in a queue, or it is gone.
    """
    if before.delayed:
        return False
    deserted = not read.living and not read.leaving and before.quantity == 0
    deserted = deserted and not scheduling(now)
    if not deserted and not (consuming and _all_reported(before, read.living)):
        return False
    backlogs = [read.backlogs[q] for q in read.queues]
    return not any(b.ready or b.scheduled or b.orphans for b in backlogs)


def _all_reported(before: PoolState, living: Collection[Presence]) -> bool:
    """Return whether the *living* workers have reported everything that they took.

    *before* is the state before the count. What a worker took since its report was in a queue at
    the last count, or was published later.
    """
    last = before.count
    if last is None or last.waiting or last.parked or before.untold_since:
        return False
    return all(p.seen > max(before.scheduled_at, last.at) for p in living)
