"""Reads a pool from the ledger's state. See :mod:`celery_middle_management.ledger.pool`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from celery_middle_management.core.backoff import Unheard
from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.deafness import deaf_workers
from celery_middle_management.core.pool_state import (
    BOOT_SECONDS,
    Parked,
    PoolState,
    Refusal,
    Sent,
)
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.codec import (
    filled,
    unpack_cordon,
    unpack_count,
    unpack_pace,
    unpack_pause,
    unpack_request,
    unpack_roster,
    unpack_suspicions,
)
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.ledger.pool_fields import PoolFields


def read_pool(snapshot: Snapshot, pool: Pool, *, delayed: bool = False) -> PoolState:
    """Return *pool*'s state, with the limits in force. *delayed*: see :class:`PoolState`."""
    its = PoolFields(snapshot, pool.name)
    count, missed, unheard = its.document("count"), its.document("missed"), its.document("unheard")
    formation, one_offs = _workers(its)
    return PoolState(
        pool=pool.at(snapshot.now, snapshot.offset),
        now=snapshot.now,
        formation=formation,
        one_offs=one_offs,
        quantity_at=its.time("quantity_at"),
        **_counters(its),
        **_reported(snapshot.presences_of(pool.name), snapshot.now),
        pace=unpack_pace(its.document("pace")),
        count=unpack_count(count),
        drift=count.get("drift", 0),
        buckets=snapshot.due.get(pool.name, {}),
        delayed=delayed,
        scheduled_at=its.time("scheduled_at"),
        parked=filled(Parked, its.document("parked")),
        untold_since=its.time("untold_since") or None,
        cordon=unpack_cordon(its.text("cordon")),
        roster=unpack_roster(its.document("roster")),
        leave=unpack_cordon(its.text("leave")),
        fire=its.filled(Sent, "fire"),
        hire=its.filled(Sent, "hire"),
        raised_at=its.time("raised_at") or None,
        unheard=filled(Unheard, {"since": 0.0, **unheard}) if unheard else None,
        boot=its.seconds("boot", BOOT_SECONDS),
        longest=its.seconds("longest"),
        last_refusal=its.filled(Refusal, "refusal"),
        pause=unpack_pause(snapshot.state.get("pause"), snapshot.now),
        wish=unpack_request(its.text("wish"), snapshot.now),
        missed=missed.get("since", {}),
        missed_at=missed.get("at", 0.0),
        deaf=_deaf(snapshot, pool),
        stuck_since=its.time("stuck_since") or None,
    )


def _counters(its: PoolFields) -> dict[str, Any]:
    """Return the counters of tasks; dead reckoning begins at those with `base`."""
    tasks = ("published", "finished", "base_published", "base_finished", "started", "late")
    return {**{name: its.number(name) for name in tasks}, "runtime": its.seconds("runtime")}


def _reported(presences: Iterable[Presence], now: float) -> dict[str, Any]:
    """Return what the workers of a pool report in all."""
    living = [p for p in presences if not p.silent(now)]
    return {
        "up": len({p.name for p in living if not p.closing}),
        "running": sum([held.running for p in living for held in p.held.values()]),
        "elapsed": sum([p.elapsed for p in living]),
        "slots": max((p.slots for p in living), default=0),
    }


def _workers(its: PoolFields) -> tuple[int | None, int]:
    """Return the quantity of the formation, None if unknown, and the number of one-off workers."""
    quantity = its.text("quantity")
    if quantity is None:
        return None, 0
    formation = int(its.text("formation") or quantity)
    return formation, int(quantity) - formation


def _deaf(snapshot: Snapshot, pool: Pool) -> Mapping[str, float]:
    suspicions = unpack_suspicions(snapshot.state.get("deaf"))
    return deaf_workers(suspicions, snapshot.presences_of(pool.name), snapshot.now)


class Would(NamedTuple):
    """The decision of a dry run: the quantity now, the quantity that it chose, and a cordon."""

    quantity: int
    to: int
    cordon: Cordon
    #: When (Unix, s) a change was last written down.
    at: float


def read_would(snapshot: Snapshot, pool: Pool) -> Would | None:
    """Return what the last evaluation would have done, if it was a dry run."""
    document = snapshot.document(f"{pool.name}/would")
    if not document:
        return None
    cordon = unpack_cordon(document.get("cordon"))
    return Would(document["quantity"], document["to"], cordon, document.get("at", 0.0))
