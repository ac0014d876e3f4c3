"""What ``celery mm status`` tells: the ledger and a look at the broker, as a JSON document.

docs/status.md names every field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celery_middle_management.core.history import Sample, Totals, activity
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import due_in, held_in
from celery_middle_management.evaluation.queues import leaves_out, queues_of
from celery_middle_management.ledger.codec import unpack_pause
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.ledger.pool import read_pool
from celery_middle_management.settings.model import Settings
from celery_middle_management.views.facts import Facts
from celery_middle_management.views.look import Look
from celery_middle_management.views.troubles import UNATTENDED, troubles_of
from celery_middle_management.views.workers import workers_of

Document = dict[str, Any]

#: Minutes of the past that are told.
MINUTES = 60


def status_of(
    settings: Settings,
    snapshot: Snapshot,
    app_queues: Iterable[str] = (),
    samples: Iterable[Sample] = (),
    *,
    look: Look | None = None,
    full: str = "",
    celery: str = "celery -A proj",
) -> Document:
    """The status of every pool at the time of *snapshot*.

    *app_queues* are those that the app declares; queues that are published to or consumed from
    are in the snapshot. *samples* are the ledger's history of the last hour at least, *look* is
    what the broker has told, if it was asked, *full* what the ledger has no more of, *celery* the
    app's command. What is not known, the quantity before it was ever read, is None.
    """
    declared, samples, look = tuple(app_queues), tuple(samples), look or Look()
    now = Sample(snapshot.now, {p.name: _totals(p, snapshot) for p in settings.pools})
    states = {pool.name: read_pool(snapshot, pool) for pool in settings.pools}
    pools = [
        {
            **_pool(settings, snapshot, states[pool.name], declared, look),
            "last_hour": _last_hour(pool.name, snapshot.now, (*samples, now)),
        }
        for pool in settings.pools
    ]
    facts = Facts(settings, snapshot, states, look, samples, full, celery)
    pause = _pause(snapshot)
    return {
        "at": snapshot.iso(snapshot.now),
        "paused": pause is not None,
        "pause": pause,
        "dry_run": settings.dry_run,
        # Of the process that asks alone: why it evaluates nothing.
        "inactive": settings.inactive or None,
        "trouble": [trouble._asdict() for trouble in troubles_of(facts, pools)],
        "next_evaluation_at": _next_evaluation_at(snapshot),
        "pools": pools,
    }


def of_pools(document: Document, names: Iterable[str]) -> Document:
    """The document with the pools of these *names* alone; with no names, as it is."""
    wanted = {*names}
    chosen = [pool for pool in document["pools"] if not wanted or pool["name"] in wanted]
    return {**document, "pools": chosen}


def asleep(document: Mapping[str, Any]) -> bool:
    """Whether scheduled tasks wait for workers while no worker lives that would hire them.

    Those that have just fallen due do, too, until they are seen to or that is told as trouble.
    """
    pools = document["pools"]
    watched = any(pool["workers"]["live"] for pool in pools)
    told = any(trouble["kind"] == UNATTENDED for trouble in document["trouble"])
    next_at = document["next_evaluation_at"]
    overdue = next_at is not None and next_at < document["at"] and not told
    return not watched and any(
        pool["tasks"]["scheduled"]
        or (overdue and pool["tasks"]["waiting"] and not pool["workers"]["current"])
        for pool in pools
        if not pool["workers"]["min"]
    )


def idle(document: Mapping[str, Any]) -> bool:
    """Whether no task waits or runs, by the ledger and by the broker, and no worker is hired beyond
    the minimum. Not so while the broker does not tell.
    """
    return all(
        pool["tasks"]["outstanding"] == pool["tasks"]["reckoned"] == 0
        and pool["tasks"]["in_broker"] == 0
        and (pool["workers"]["current"] or 0) == pool["workers"]["min"]
        and len(pool["workers"]["live"]) <= pool["workers"]["min"]
        for pool in document["pools"]
    )


def _pause(snapshot: Snapshot) -> Document | None:
    pause = unpack_pause(snapshot.state.get("pause"), snapshot.now)
    if pause is None:
        return None
    return {
        "hires": pause.hires,
        "fires": pause.fires,
        "since": snapshot.iso(pause.since),
        "until": snapshot.iso(pause.until),
        "by": pause.who,
    }


def _totals(pool: Pool, snapshot: Snapshot) -> Totals:
    return Totals(*(snapshot.number(f"{pool.name}/{name}") for name in Totals._fields))


def _last_hour(pool: str, now: float, samples: Iterable[Sample]) -> Document:
    """What the pool did in each of the last minutes, the current one last."""
    minutes = activity(samples, pool, now, MINUTES)
    return {
        "arrivals": [minute.arrivals for minute in minutes],
        "finishes": [minute.finishes for minute in minutes],
        "workers": [minute.workers for minute in minutes],
        "mean_wait": _mean(sum(m.waits for m in minutes), sum(m.starts for m in minutes)),
        "mean_runtime": _mean(sum(m.runtime for m in minutes), sum(m.finishes for m in minutes)),
    }


def _mean(seconds: float, tasks: int) -> float | None:
    return round(seconds / tasks, 3) if tasks else None


def _next_evaluation_at(snapshot: Snapshot) -> str | None:
    """When the pools are looked at again, if nothing happens before."""
    return snapshot.iso(snapshot.time("next_at") or None)


def _pool(
    settings: Settings, snapshot: Snapshot, state: PoolState, declared: Iterable[str], look: Look
) -> Document:
    pool = state.pool
    queues = queues_of(pool, settings, snapshot, declared)
    return {
        "name": pool.name,
        "platform": settings.platform,
        "dynos": "one-off" if pool.one_off else "formation",
        "queues": list(queues),
        # More were published to lately than are counted.
        "queues_left_out": leaves_out(pool, snapshot),
        "workers": workers_of(state, snapshot),
        # Whichever worker holds them: one may serve queues of several pools.
        "tasks": _tasks(state, snapshot, queues, look),
        "policy": {
            "name": "jobs_per_worker",
            "jobs_per_worker": pool.jobs_per_worker,
            "why": state.advice.why,
            "boot": round(state.boot, 1),
        },
        # What a person asked for.
        "wish": state.wish
        and {
            "least": state.wish.least,
            "most": state.wish.most,
            "until": snapshot.iso(state.wish.until),
            "by": state.wish.who,
        },
        # The quantity was last changed by another: a person, or another tool.
        "by_hand": snapshot.document(f"{pool.name}/by_hand") or None,
        "drift": state.drift,
        "refused": _refused(state, snapshot),
        "last_action": snapshot.document(f"{pool.name}/last_action") or None,
        "next_call_at": _next_call_at(settings, state, snapshot),
    }


def _refused(state: PoolState, snapshot: Snapshot) -> Document | None:
    """What the platform will not do for the pool, while it is not asked again."""
    refusal = state.denied
    if refusal is None:
        return None
    return {
        "why": refusal.why,
        "at": snapshot.iso(refusal.at),
        "until": snapshot.iso(refusal.until),
        "limit": refusal.limit,
    }


def _tasks(state: PoolState, snapshot: Snapshot, queues: tuple[str, ...], look: Look) -> Document:
    seen = look.pools.get(state.pool.name)
    live = tuple(p for p in snapshot.presences if not p.silent(state.now))
    work = held_in(live, queues)
    reserved = work.waiting + (seen.unheard if seen else 0)
    reckoned = max(state.outstanding, work.running)
    waiting = seen.in_broker + reserved if seen else reckoned - work.running
    held = due_in(live, queues)
    scheduled, in_hands = (
        sum(n for due, n in buckets.items() if due > state.now) for buckets in (state.buckets, held)
    )
    # Reckoned as due from their bucket's begin on, but a count leaves them out until they are.
    imminent = sum(n for due, n in held.items() if due <= state.now) if seen else 0
    return {
        # What workers say they run is sure, even where dead reckoning has drifted below it.
        "outstanding": waiting + work.running,
        "waiting": waiting,
        "running": work.running,
        # Of those that wait: only the workers that hold them can begin them, or have.
        "reserved": reserved,
        # Of those that wait: in its queues, by the broker itself.
        "in_broker": seen.in_broker if seen else None,
        # By the ledger alone: what is decided on until the next count.
        "reckoned": reckoned,
        "scheduled": max(scheduled, in_hands) + imminent,
        "counted_at": snapshot.iso(state.count.at if state.count else None),
    }


def _next_call_at(settings: Settings, state: PoolState, snapshot: Snapshot) -> str | None:
    """When the pool may be changed again; None if it may be now, as from zero it always may."""
    called = snapshot.time("called_at")
    free = called + settings.call_interval if called and state.quantity != 0 else 0.0
    at = max(free, snapshot.time("blocked_until"))
    return snapshot.iso(at) if at > snapshot.now else None
