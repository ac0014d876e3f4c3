"""Tasks in queues that no worker consumes, and that no worker will be hired for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.views.facts import Document, Facts, TroubleEntry
from celery_middle_management.views.words import plural

#: The kind of trouble with queues that no pool serves.
UNSERVED = "unserved"
#: The kind of trouble with queues that the workers of their pool do not consume.
UNCONSUMED = "unconsumed"
#: The most queues that an entry names.
_MOST = 5


def untaken(facts: Facts, pools: Iterable[Document]) -> Iterator[TroubleEntry]:
    """Yield an entry for queues that no pool serves, and for each pool's unconsumed queues."""
    snapshot = facts.snapshot
    consumed = {q for p in snapshot.presences if not p.silent(snapshot.now) for q in p.queues}
    waiting = {q: n for q, n in facts.look.ready.items() if n > 0 and q not in consumed}
    unserved = {q: n for q, n in waiting.items() if facts.settings.pool_for(q) is None}
    if unserved:
        what = (
            f"{_waiting(unserved)}, which no pool serves: no worker is hired for them. Add the "
            "queue to a pool in middle_management_pools, or give one pool no queues: it serves "
            "every queue that no other pool names"
        )
        yield TroubleEntry(None, what, None, UNSERVED)
    for pool in pools:
        left = {q: n for q, n in waiting.items() if q in pool["queues"]}
        if left and _has_lasting_worker(facts, facts.states[pool["name"]]):
            what = (
                f"{_waiting(left)}, which no worker consumes. Move the queue to another pool in "
                "middle_management_pools, or add it to the command of the workers: "
                f"`-Q {','.join(pool['queues'])}`"
            )
            yield TroubleEntry(pool["name"], what, None, UNCONSUMED)


def _has_lasting_worker(facts: Facts, state: PoolState) -> bool:
    """Return True if a worker of the pool is up and stays. Later ones consume the same queues."""
    now = facts.snapshot.now
    going = {*state.leave.names, *state.roster.to_replace(now, state.longest)}
    return any(
        # A worker that names its release reports its queues, and none after cancel_consumer.
        (p.queues or p.release)
        and not (p.closing or p.stopped or p.silent(now))
        and not (p.name in going if p.hire else state.cordon.holds(p.name))
        for p in facts.snapshot.presences_of(state.pool.name)
    )


def _waiting(waiting: dict[str, int]) -> str:
    """``3 tasks wait in 'mail' (2), 'pdf' (1)``."""
    named = [f"{queue!r} ({n})" for queue, n in sorted(waiting.items())]
    if len(named) == 1:
        named = [repr(next(iter(waiting)))]
    more = f" and {len(named) - _MOST} more queues" if len(named) > _MOST else ""
    tasks = plural(sum(waiting.values()), "task waits", "tasks wait")
    return f"{tasks} in {', '.join(named[:_MOST])}{more}"
