"""What `celery mm status` tells: a snapshot of the ledger, turned into a JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.fleet import Fleet
from celery_middle_management.core.pool_state import PoolState, iso
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence, due_in, held_in
from celery_middle_management.core.traits import dotted_number
from celery_middle_management.evaluation.queues import leaves_out, queues_of
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.ledger.pool import read_pool
from celery_middle_management.settings.model import Settings

Document = dict[str, Any]


def status_of(settings: Settings, snapshot: Snapshot, app_queues: Iterable[str] = ()) -> Document:
    """The status of every pool at the time of *snapshot*.

    *app_queues* are those that the app declares; queues that are published to or consumed from
    are in the snapshot. What is not known, the quantity before it was ever read, is None.
    """
    declared = tuple(app_queues)
    return {
        "paused": False,
        "pools": [_pool(settings, snapshot, pool, declared) for pool in settings.pools],
    }


def _pool(settings: Settings, snapshot: Snapshot, pool: Pool, declared: Iterable[str]) -> Document:
    state = read_pool(snapshot, pool)
    presences = snapshot.crew(pool.name)
    living = Fleet(pool.name, snapshot.now, presences, state.quantity).living
    queues = queues_of(pool, settings, snapshot, declared)
    draining = _draining(state, living)
    return {
        "name": pool.name,
        "platform": settings.platform,
        "queues": list(queues),
        # More were published to lately than are counted.
        "queues_left_out": leaves_out(pool, snapshot),
        "workers": {
            "current": state.quantity,
            "needed": state.needed,
            "min": pool.min_workers,
            "max": pool.max_workers,
            "draining": draining,
            "live": _sorted(p.name for p in living if not p.silent(snapshot.now)),
            "drains": [_drain(name, state.cordon, living, snapshot) for name in draining],
            "unheard": _unheard(state, living, snapshot),
        },
        # Whichever worker holds them: one may serve queues of several pools.
        "tasks": _tasks(state, snapshot, queues),
        "drift": state.drift,
        "refused": _refused(state, snapshot),
        "last_action": snapshot.document(f"{pool.name}/last_action") or None,
        "next_call_at": _next_call_at(settings, snapshot),
    }


def _draining(state: PoolState, living: Iterable[Presence]) -> list[str]:
    """Cordoned workers: those heard of, and those that a number alone stands for."""
    hired = (f"{state.pool.name}.{n}" for n in range(1, (state.quantity or 0) + 1))
    living = tuple(living)
    ordered = all(dotted_number(p.name) is not None for p in living)
    names = {*(p.name for p in living), *(hired if ordered else ())}
    return _sorted(name for name in names if state.cordon.holds(name))


def _drain(name: str, cordon: Cordon, living: Iterable[Presence], snapshot: Snapshot) -> Document:
    bearers = [p for p in living if p.name == name]
    held = [h for p in bearers for h in p.held.values()]
    return {
        "name": name,
        "since": _iso(cordon.since.get(name), snapshot),
        "running": sum(h.running for h in held),
        "waiting": sum(h.waiting for h in held),
        # Scheduled tasks that must be back in the broker before it may be stopped.
        "returning": sum(p.returning for p in bearers),
    }


def _unheard(state: PoolState, living: Iterable[Presence], snapshot: Snapshot) -> list[Document]:
    """Workers that are up for the platform, and of which nothing has been heard."""
    heard = {p.name for p in living}
    missed = {name: at for name, at in state.missed.items() if state.quantity and name not in heard}
    return [{"name": name, "since": _iso(missed[name], snapshot)} for name in _sorted(missed)]


def _refused(state: PoolState, snapshot: Snapshot) -> Document | None:
    """What the platform will not do for the pool, while it is not asked again."""
    refusal = state.refusal
    if refusal is None:
        return None
    return {
        "why": refusal.why,
        "at": _iso(refusal.at, snapshot),
        "until": _iso(refusal.until, snapshot),
        "limit": refusal.limit,
    }


def _tasks(state: PoolState, snapshot: Snapshot, queues: tuple[str, ...]) -> Document:
    live = tuple(p for p in snapshot.presences if not p.silent(state.now))
    work = held_in(live, queues)
    running = work.running
    waiting = max(state.outstanding - running, 0)
    scheduled, held = (
        sum(n for due, n in buckets.items() if due > state.now)
        for buckets in (state.buckets, due_in(live, queues))
    )
    return {
        # What workers say they run is sure, even where dead reckoning has drifted below it.
        "outstanding": waiting + running,
        "waiting": waiting,
        "running": running,
        # Of those that wait: only the workers that hold them can begin them.
        "reserved": work.waiting,
        "scheduled": max(scheduled, held),
        "counted_at": _iso(state.count.at if state.count else None, snapshot),
    }


def _next_call_at(settings: Settings, snapshot: Snapshot) -> str | None:
    """When the platform may be called again; None if it may be now."""
    called = snapshot.time("called_at")
    free = called + settings.call_interval if called else 0.0
    at = max(free, snapshot.time("blocked_until"))
    return _iso(at, snapshot) if at > snapshot.now else None


def asleep(document: Mapping[str, Any]) -> bool:
    """Whether scheduled tasks wait for workers while no worker lives that would hire them."""
    pools = document["pools"]
    watched = any(pool["workers"]["live"] for pool in pools)
    waiting = any(pool["tasks"]["scheduled"] and not pool["workers"]["min"] for pool in pools)
    return waiting and not watched


def _sorted(names: Iterable[str]) -> list[str]:
    """Each name once, `worker.2` before `worker.10`."""
    return sorted(set(names), key=lambda name: (dotted_number(name) or 0, name))


def _iso(at: float | None, snapshot: Snapshot) -> str | None:
    """By the clock of Redis as it is now."""
    return None if at is None else iso(at - snapshot.offset)
