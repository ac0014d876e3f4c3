"""A look at the broker itself: what an evaluation that counted now would find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from celery_middle_management.brokers.base import Broker, CountFailed
from celery_middle_management.core.demand import Backlog
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.presence import Crew, unacknowledged_in
from celery_middle_management.evaluation.counted import CountedPool
from celery_middle_management.evaluation.ports import Queues
from celery_middle_management.ledger.model import Changes, Snapshot
from celery_middle_management.settings.model import Settings


class Seen(NamedTuple):
    """One pool by a count of now."""

    state: PoolState
    #: Messages that wait for a worker and that no worker holds.
    in_broker: int


@dataclass(frozen=True)
class Look:
    """What the broker has told."""

    #: Each pool whose queues could be counted.
    pools: Mapping[str, Seen] = field(default_factory=dict)
    #: What could not be counted, by the kind of trouble that an evaluation makes of it.
    failed: Mapping[str, CountFailed] = field(default_factory=dict)


def look_at(broker: Broker, settings: Settings, snapshot: Snapshot, queues: Queues) -> Look:
    """Count what waits beside *snapshot*; waits for the broker as briefly as an evaluation does."""
    # What changes in that is written nowhere.
    pools = [
        CountedPool(pool, settings, snapshot, Changes(), queues, one_offs=True)
        for pool in settings.pools
    ]
    gone = {p.id for each in pools for p in each.gone}
    living = [p for p in snapshot.presences if p.id not in gone]
    leaving = [p for each in pools for p in each.leaving]
    asked = [queue for each in pools for queue in each.queues]
    try:
        told = broker.backlogs(asked, unacknowledged_in(living))
    except CountFailed as error:
        return Look(failed={"count": error})
    backlogs = {queue: b for queue, b in told.items() if isinstance(b, Backlog)}
    crew = Crew(living)
    counted = [each for each in pools if backlogs.keys() >= {*each.queues}]
    for each in counted:
        each.count(snapshot.now, backlogs, crew.of(each.queues), leaving)
    return Look(
        {each.pool.name: _seen(each, backlogs) for each in counted},
        {f"count queue {q}": b for q, b in told.items() if isinstance(b, CountFailed)},
    )


def _seen(pool: CountedPool, backlogs: Mapping[str, Backlog]) -> Seen:
    mine, state = [backlogs[queue] for queue in pool.queues], pool.state
    later = (state.count.parked if state.count else 0) + state.aside
    returning = sum(b.orphans for b in mine if b.restore_in <= 0)
    return Seen(state, max(sum(b.ready for b in mine) - later, 0) + returning)
