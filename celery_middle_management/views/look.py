"""Counts what the broker itself holds, as an evaluation would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from celery_middle_management.brokers.base import Broker, CountFailed
from celery_middle_management.core.demand import Backlog
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.presence import (
    LivePresences,
    Presence,
    held_in,
    unacknowledged_in,
)
from celery_middle_management.evaluation.counted import CountedPool
from celery_middle_management.evaluation.ports import Queues
from celery_middle_management.evaluation.queues import unserved
from celery_middle_management.ledger.model import Changes, Snapshot
from celery_middle_management.settings.model import Settings


class Seen(NamedTuple):
    """One pool, by a fresh count."""

    state: PoolState
    #: Waiting messages that no worker has reserved.
    in_broker: int
    #: Tasks held by workers that have stopped reporting: it is not known whether they run.
    silent: int


@dataclass(frozen=True)
class Look:
    """The answers of the broker."""

    #: Each pool whose queues could all be counted.
    pools: Mapping[str, Seen] = field(default_factory=dict)
    #: Messages in each queue, of a pool or not, that no worker has reserved.
    ready: Mapping[str, int] = field(default_factory=dict)
    #: The counts that failed, by the kind of trouble that an evaluation would record.
    failed: Mapping[str, CountFailed] = field(default_factory=dict)


def look_at(broker: Broker, settings: Settings, snapshot: Snapshot, queues: Queues) -> Look:
    """Count what waits in the broker, with the workers of *snapshot*.

    Waits for the broker no longer than an evaluation does.
    """
    pools = _pools(settings, snapshot, queues)
    living, silent = _living(pools, snapshot)
    leaving = [p for each in pools for p in each.leaving]
    asked = [queue for each in pools for queue in each.queues]
    asked += unserved(settings, (*queues.declared, *snapshot.queues))
    try:
        counts = broker.backlogs(asked, unacknowledged_in(living))
    except CountFailed as error:
        return Look(failed={"count": error})
    backlogs = {queue: b for queue, b in counts.items() if isinstance(b, Backlog)}
    live = LivePresences(living)
    counted = [each for each in pools if backlogs.keys() >= {*each.queues}]
    for each in counted:
        each.count(snapshot.now, backlogs, live.of(each.queues), leaving)
    return Look(
        {each.pool.name: _seen(each, living, silent) for each in counted},
        {queue: b.ready - b.untold for queue, b in backlogs.items()},
        {f"count queue {q}": b for q, b in counts.items() if isinstance(b, CountFailed)},
    )


def carried_on(look: Look, settings: Settings, snapshot: Snapshot, queues: Queues) -> Look:
    """Return an earlier *look* with what has been reported since, until *snapshot*.

    Its counts take the place of older ones in the ledger.
    """
    pools = _pools(settings, snapshot, queues)
    living, silent = _living(pools, snapshot)
    known = [each for each in pools if each.pool.name in look.pools]
    for each in known:
        each.state = _counted(each.state, look.pools[each.pool.name].state)
    return replace(look, pools={each.pool.name: _seen(each, living, silent) for each in known})


def _counted(state: PoolState, then: PoolState) -> PoolState:
    """Return *state* with the count of *then*, unless its own is newer or the data was lost."""
    own, count = state.count, then.count
    lost = state.published < then.published or state.finished < then.finished
    if lost or count is None or (own is not None and own.at >= count.at):
        return state
    # What it found beyond the reckoning had been published, and was reported only afterwards.
    ahead = min(max(-then.drift, 0), state.published - then.published)
    return replace(
        state,
        count=count,
        base_published=then.base_published + ahead,
        base_finished=then.base_finished,
    )


def _pools(settings: Settings, snapshot: Snapshot, queues: Queues) -> list[CountedPool]:
    # The changes that these pools record are thrown away.
    return [
        CountedPool(pool, settings, snapshot, Changes(), queues, one_offs=True)
        for pool in settings.pools
    ]


def _living(
    pools: Iterable[CountedPool], snapshot: Snapshot
) -> tuple[list[Presence], list[Presence]]:
    """Return the workers that are not surely gone, and those of them that are silent."""
    gone = {p.id for each in pools for p in each.gone}
    living = [p for p in snapshot.presences if p.id not in gone]
    return living, [p for p in living if p.silent(snapshot.now)]


def _seen(pool: CountedPool, living: Sequence[Presence], silent: Sequence[Presence]) -> Seen:
    held, in_silence = (held_in(workers, pool.queues) for workers in (living, silent))
    in_broker = max(pool.state.outstanding - held.waiting - held.running, 0)
    return Seen(pool.state, in_broker, in_silence.waiting + in_silence.running)
