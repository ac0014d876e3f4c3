"""The tasks of a pool: counts, and dead reckoning between them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

#: Due times are kept in buckets (s): fine ones for the next hour, coarse ones beyond.
FINE_BUCKET = 10
COARSE_BUCKET = 60
FINE_HORIZON = 3600

Buckets = Mapping[int, int]


class Held(NamedTuple):
    """Tasks of one queue that a worker holds."""

    waiting: int = 0
    running: int = 0
    scheduled: int = 0
    #: Delivered but not acknowledged: the broker keeps them in case the worker dies.
    unacknowledged: int = 0


@dataclass(frozen=True)
class Backlog:
    """The messages of one queue in the broker."""

    #: Messages that no worker holds, scheduled ones among them.
    ready: int = 0
    #: Messages that a worker has just taken and not reported yet, and that are surely scheduled.
    scheduled: int = 0
    #: Messages that a worker held when it died; the broker gives them back in *restore_in* seconds.
    orphans: int = 0
    restore_in: float = 0.0
    #: Messages of any queue that workers held at their last report, and have since returned or
    #: acknowledged. None if the broker does not say: then they may be everything that was held.
    returned: int | None = None
    #: How many of the ready messages a worker has just taken and not reported yet.
    untold: int = 0


@dataclass(frozen=True)
class Count:
    """The tasks of one pool as counted. *at* is Redis' time, Unix (s)."""

    at: float
    waiting: int
    running: int
    scheduled: int
    restore_at: float | None = None
    #: The scheduled tasks that lie in the queues.
    parked: int = 0

    @property
    def outstanding(self) -> int:
        """Tasks that need a worker now."""
        return self.waiting + self.running


def take_count(
    now: float,
    backlogs: Iterable[Backlog],
    held: Held,
    buckets: Buckets,
    consuming: bool,
    *,
    passing: bool = False,
    leaving: int = 0,
    parked: int = 0,
) -> Count:
    """Combine the broker's queues, the tasks that workers hold and the known due times.

    A scheduled message looks like any other in its queue, so the number of them is inferred from
    the known due times that no worker reports. Where a worker consumes, no scheduled message stays
    in the queue, but one may be *passing*: just published, or returned by stopping workers,
    which held *leaving* scheduled messages. Or it is *parked*: seen in a queue, at a place that no
    worker has reached since. Where no worker consumes, due times are ignored if they promise more
    messages than there are.
    """
    backlogs = tuple(backlogs)
    ready, orphans = sum(b.ready for b in backlogs), sum(b.orphans for b in backlogs)
    taken = sum(b.scheduled for b in backlogs)
    returned = min((b.returned for b in backlogs if b.returned is not None), default=leaving)
    staying = held.scheduled + taken - min(leaving, returned)
    known = max(sum(n for due, n in buckets.items() if due > now) - staying - orphans, 0)
    believed = passing or (not consuming and known <= ready)
    scheduled = min(known, ready) if believed else min(known, ready, parked)
    lost = [b for b in backlogs if b.orphans]
    returning = sum(b.orphans for b in lost if b.restore_in <= 0)
    later = [now + b.restore_in for b in lost if b.restore_in > 0]
    return Count(
        at=now,
        waiting=ready - scheduled + held.waiting + returning,
        running=held.running,
        scheduled=max(scheduled + staying, held.scheduled + taken),
        restore_at=min(later, default=None),
        parked=scheduled,
    )


def besides(count: Count, due: int) -> Count:
    """Return a count without the tasks that are *due*, which it may or may not include yet.

    They are reckoned until a count surely includes them.
    """
    waiting = max(count.waiting - due, 0)
    running = max(count.outstanding - due, 0) - waiting
    return replace(count, waiting=waiting, running=running)


def reckon(count: Count | None, published: int, finished: int, due: int) -> int:
    """Return the outstanding tasks by dead reckoning: the last count, and reports since.

    The other arguments are the tasks published, finished and fallen due since the count.
    """
    counted = count.outstanding if count is not None else 0
    return max(counted + published - finished + due, 0)


def due_by(buckets: Buckets, when: float) -> int:
    """Return how many scheduled tasks are due by *when* (Unix time, s)."""
    return sum([n for due, n in buckets.items() if due <= when])


def corrected(
    buckets: Buckets, held: Buckets, recent: Buckets, now: float, empty: bool
) -> dict[int, int]:
    """Return what to add to each future bucket so that it agrees with what the workers hold.

    The tasks that they hold surely exist, but publishers may have yet to report the *recent* ones.
    Other tasks are gone (revoked, purged) only if the queues are *empty*; otherwise they may lie in
    a queue and must not be forgotten.
    """
    unmatched = {due: n for due, n in buckets.items() if due > now}
    order = sorted(unmatched)
    changes = {}
    for due in sorted(held):
        missing = held[due]
        # Publisher and worker may use neighbouring buckets for a task, or a coarse and a fine one.
        begin = bisect_left(order, due - COARSE_BUCKET)
        for known in order[begin : bisect_right(order, due + FINE_BUCKET)]:
            matched = min(missing, unmatched[known])
            unmatched[known] -= matched
            missing -= matched
        missing -= min(missing, recent.get(due, 0))
        if missing and due > now:
            changes[due] = missing
    if empty:
        for due, gone in unmatched.items():
            if gone:
                changes[due] = changes.get(due, 0) - gone
    return {due: n for due, n in changes.items() if n}


def end_of(bucket: int) -> int:
    """Return when (Unix time, s) everything in a bucket is surely due."""
    return bucket + (1 + COARSE_BUCKET if bucket % FINE_BUCKET else FINE_BUCKET)


def bucket_of(due: float, now: float) -> int:
    """Return the bucket of a due time: the Unix time (s) when the bucket begins.

    A coarse bucket is named after the second before it begins: a fine one begins with it.
    """
    if due - now <= FINE_HORIZON:
        return int(due // FINE_BUCKET) * FINE_BUCKET
    return int(due // COARSE_BUCKET) * COARSE_BUCKET - 1
