"""Tasks in queues that no worker takes from, and that none will be hired for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.views.facts import Document, Facts, Told
from celery_middle_management.views.words import counted

#: The kind of tasks in queues that no pool serves ...
UNSERVED = "unserved"
#: ... and in those that the workers of their pool do not consume.
UNCONSUMED = "unconsumed"
#: Queues that are named, so many at most.
_MOST = 5


def untaken(facts: Facts, pools: Iterable[Document]) -> Iterator[Told]:
    """Of each pool, and of queues without one."""
    snapshot = facts.snapshot
    consumed = {q for p in snapshot.presences if not p.silent(snapshot.now) for q in p.queues}
    lying = {q: n for q, n in facts.look.lying.items() if n > 0 and q not in consumed}
    stray = {q: n for q, n in lying.items() if facts.settings.pool_for(q) is None}
    if stray:
        what = (
            f"{_waiting(stray)}, which no pool serves: no worker is hired for what waits there. "
            "Name the queue in middle_management_pools, or have a pool there without queues, which "
            "serves all that no other names"
        )
        yield Told(None, what, None, UNSERVED)
    for pool in pools:
        left = {q: n for q, n in lying.items() if q in pool["queues"]}
        if left and _settled(facts, facts.states[pool["name"]]):
            what = (
                f"{_waiting(left)}, and no worker takes from there. Give the queue to another pool "
                "in middle_management_pools, or start the workers with "
                f"`{facts.celery} worker -Q {','.join(pool['queues'])}`"
            )
            yield Told(pool["name"], what, None, UNCONSUMED)


def _settled(facts: Facts, state: PoolState) -> bool:
    """Whether a worker of the pool is at work, and stays: others will consume what it does."""
    now = facts.snapshot.now
    going = {*state.leave.names, *state.roster.to_replace(now, state.longest)}
    return any(
        p.queues
        and not (p.closing or p.stopped or p.silent(now))
        and not (p.name in going if p.hire else state.cordon.holds(p.name))
        for p in facts.snapshot.presences_of(state.pool.name)
    )


def _waiting(lying: dict[str, int]) -> str:
    """``3 tasks wait in 'mail' (2) and 'pdf' (1)``."""
    named = [f"{queue!r} ({n})" for queue, n in sorted(lying.items())]
    if len(named) == 1:
        named = [repr(next(iter(lying)))]
    more = f" and {len(named) - _MOST} more queues" if len(named) > _MOST else ""
    tasks = counted(sum(lying.values()), "task waits", "tasks wait")
    return f"{tasks} in {', '.join(named[:_MOST])}{more}"
