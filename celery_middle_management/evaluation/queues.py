"""The queues that a pool counts: those that it names, or those in use."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from celery_middle_management.core.demand import Backlog
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.model import TELL_QUEUES, Snapshot
from celery_middle_management.settings.model import Settings

#: A queue that has not been published to for this long (s) is forgotten once it is empty. A process
#: that publishes to it again also reports it again.
FORGET_QUEUES = 300.0

_EMPTY = Backlog()


def queues_of(
    pool: Pool, settings: Settings, snapshot: Snapshot, declared: Iterable[str]
) -> tuple[str, ...]:
    """Return every known queue of *pool*; *declared* are those that the app declares."""
    if pool.queues is not None:
        return pool.queues
    known = {*declared, *snapshot.queues, *(q for p in snapshot.presences for q in p.queues)}
    return tuple(sorted(q for q in known if settings.pool_name(q) == pool.name))


def unserved(settings: Settings, known: Iterable[str]) -> tuple[str, ...]:
    """Return the *known* queues that no pool serves."""
    return tuple(sorted({queue for queue in known if settings.pool_for(queue) is None}))


def leaves_out(pool: Pool, snapshot: Snapshot) -> bool:
    """Return whether *pool* counts only some of its queues, because too many are in use."""
    dropped = snapshot.time("queues_dropped_at")
    return pool.queues is None and dropped > 0 and snapshot.now - dropped < FORGET_QUEUES


def used_and_idle(
    snapshot: Snapshot,
    backlogs: Mapping[str, Backlog],
    unread: Collection[str],
    living: Collection[Presence],
) -> tuple[list[str], list[str]]:
    """Return which of the queues published to are still in use, and which to forget.

    An *unread* queue is neither. Messages that a worker holds still belong to their queue: if the
    worker dies, the broker gives them back.
    """
    held = {q for p in living for q, tasks in p.held.items() if q in snapshot.queues and any(tasks)}
    used, idle = [], []
    for queue, told in snapshot.queues.items():
        if queue in unread:
            continue
        backlog, ago = backlogs.get(queue, _EMPTY), snapshot.now - told
        if queue in held or backlog.ready or backlog.scheduled or backlog.orphans:
            if ago > TELL_QUEUES:
                used.append(queue)
        elif ago > FORGET_QUEUES:
            idle.append(queue)
    return used, idle
