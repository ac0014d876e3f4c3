"""What ``celery mm status`` tells: a snapshot of the ledger, turned into a JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celery_middle_management.core.fleet import BOOT_GRACE, Fleet
from celery_middle_management.core.history import Sample, Totals, activity
from celery_middle_management.core.intents import Pause
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence, due_in, held_in
from celery_middle_management.core.timing import LOCK_SECONDS, STAND_BY
from celery_middle_management.core.traits import dotted_number
from celery_middle_management.evaluation.deafness import DEAF
from celery_middle_management.evaluation.queues import leaves_out, queues_of
from celery_middle_management.evaluation.troubles import UNHEARD
from celery_middle_management.ledger.codec import unpack_pause, unpack_troubles
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.ledger.pool import read_pool
from celery_middle_management.settings.model import Settings

Document = dict[str, Any]

#: Minutes of the past that are told.
MINUTES = 60
#: An evaluation that is late by this time (s) will not come by itself: whoever died in one has been
#: replaced by then, and whoever stands by has looked in.
_OVERDUE = LOCK_SECONDS + 2 * STAND_BY


def status_of(
    settings: Settings,
    snapshot: Snapshot,
    app_queues: Iterable[str] = (),
    samples: Iterable[Sample] = (),
    *,
    full: str = "",
) -> Document:
    """The status of every pool at the time of *snapshot*.

    *app_queues* are those that the app declares; queues that are published to or consumed from
    are in the snapshot. *samples* are the ledger's history of the last hour at least, *full* what
    the ledger has no more of. What is not known, the quantity before it was ever read, is None.
    """
    declared = tuple(app_queues)
    pause = unpack_pause(snapshot.state.get("pause"), snapshot.now)
    now = Sample(snapshot.now, {p.name: _totals(p, snapshot) for p in settings.pools})
    past = (*samples, now)
    pools = [_pool(settings, snapshot, pool, declared) for pool in settings.pools]
    for pool in pools:
        pool["last_hour"] = _last_hour(pool["name"], snapshot.now, past)
    return {
        "at": snapshot.iso(snapshot.now),
        "paused": pause is not None,
        "pause": pause
        and {
            "hires": pause.hires,
            "fires": pause.fires,
            "since": snapshot.iso(pause.since),
            "until": snapshot.iso(pause.until),
            "by": pause.who,
        },
        "dry_run": settings.dry_run,
        # Of the process that asks alone: why it evaluates nothing.
        "inactive": settings.inactive or None,
        "trouble": list(_trouble(snapshot, pools, pause, full)),
        "next_evaluation_at": _next_evaluation_at(snapshot),
        "pools": pools,
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


def _trouble(
    snapshot: Snapshot, pools: Iterable[Document], pause: Pause | None, full: str
) -> Iterator[Document]:
    """What is wrong, by the pool if it is one's alone, and since when, if that is known."""

    def told(what: str, since: str | None, pool: str | None = None) -> Document:
        return {"pool": pool, "what": what, "since": since}

    if full:
        yield told(full, None)
    refused = {pool["name"]: pool["refused"] for pool in pools}
    for kind, trouble in unpack_troubles(snapshot.state.get("trouble")).items():
        # Written when it was met last; what is needed may be less by now.
        if kind.startswith("refused ") and not refused.get(str(trouble.pool)):
            continue
        yield told(trouble.what, snapshot.iso(trouble.since), trouble.pool)
    for pool in pools:
        for worker in pool["workers"]["unheard"]:
            if worker["for"] >= BOOT_GRACE:
                what = f"{worker['name']} is up, and {UNHEARD}"
                yield told(what, worker["since"], pool["name"])
        for worker in pool["workers"]["wrong"]:
            yield told(f"{worker['name']} {worker['what']}", worker["since"], pool["name"])
        for worker in pool["workers"]["silent"]:
            what = (
                f"{worker['name']} worked, and is not heard of any more: it counts as at work and "
                "is not fired. Does it hang? See its log"
            )
            yield told(what, worker["since"], pool["name"])
        for worker in pool["workers"]["deaf"]:
            yield told(f"{worker['name']} {DEAF}", worker["since"], pool["name"])
    for pool in pools:
        if why := _not_hired(snapshot, pool, pause):
            paused = pause.since if pause and pause.hires else None
            yield told(why, snapshot.iso(paused), pool["name"])
    next_at = snapshot.time("next_at")
    wanting = [
        p["name"]
        for p in pools
        if p["workers"]["needed"] != (p["workers"]["current"] or 0) or _uncertain(snapshot, p)
    ]
    if wanting and next_at and snapshot.now - next_at > _OVERDUE:
        what = (
            f"an evaluation is due, which may change {', '.join(wanting)}, and nobody makes it: "
            "no process of the app is alive that publishes or works, or its evaluations fail; "
            "see its log"
        )
        yield told(what, snapshot.iso(next_at))


def _not_hired(snapshot: Snapshot, pool: Document, pause: Pause | None) -> str:
    """Why nothing is done about tasks that wait; empty where something is."""
    waiting, workers = pool["tasks"]["waiting"], pool["workers"]
    if not waiting or workers["current"]:
        return ""
    tasks = "1 task waits" if waiting == 1 else f"{waiting} tasks wait"
    if not workers["max"]:
        return f"{tasks}, and no worker is hired: max_workers is 0"
    if pause and pause.hires:
        return f"{tasks}, and no worker is hired: hires are paused"
    if not _uncertain(snapshot, pool):
        return ""
    wait = max(snapshot.document(f"{pool['name']}/fire")["until"] - snapshot.now, 0.0)
    return (
        f"{tasks}, and no worker is hired for another {wait:.0f} s: the last fire got no answer, "
        "and may stop workers until then"
    )


def _uncertain(snapshot: Snapshot, pool: Document) -> bool:
    """Whether it is not known if the last fire was carried out."""
    fire = snapshot.document(f"{pool['name']}/fire")
    return bool(fire) and not fire.get("done")


def _next_evaluation_at(snapshot: Snapshot) -> str | None:
    """When the pools are looked at again, if nothing happens before."""
    return snapshot.iso(snapshot.time("next_at") or None)


def _pool(settings: Settings, snapshot: Snapshot, pool: Pool, declared: Iterable[str]) -> Document:
    state = read_pool(snapshot, pool)
    living = _living(state, snapshot.crew(pool.name))
    queues = queues_of(pool, settings, snapshot, declared)
    return {
        "name": pool.name,
        "platform": settings.platform,
        "dynos": "one-off" if pool.one_off else "formation",
        "queues": list(queues),
        # More were published to lately than are counted.
        "queues_left_out": leaves_out(pool, snapshot),
        "workers": _workers(state, living, snapshot),
        # Whichever worker holds them: one may serve queues of several pools.
        "tasks": _tasks(state, snapshot, queues),
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
        "next_call_at": _next_call_at(settings, snapshot),
    }


def _workers(state: PoolState, living: tuple[Presence, ...], snapshot: Snapshot) -> Document:
    draining = _draining(state, living)
    return {
        "current": state.quantity,
        "needed": state.needed,
        "min": state.pool.min_workers,
        "max": state.pool.max_workers,
        "draining": draining,
        "live": _sorted(p.name for p in living if not p.silent(snapshot.now)),
        "drains": [_drain(name, state, living, snapshot) for name in draining],
        # Of an older release than the newest, or near the end of its day: to be replaced.
        "old": _sorted(state.roster.retired(snapshot.now, state.longest)),
        "unheard": _unheard(state, living, snapshot),
        "silent": _silent(living, snapshot),
        "wrong": _wrong(living, snapshot),
        "deaf": _deaf(state, snapshot),
    }


def _living(state: PoolState, presences: Iterable[Presence]) -> tuple[Presence, ...]:
    """Whoever may still have a process; of one-off workers only the platform knows better."""
    presences = tuple(presences)
    formation = tuple(p for p in presences if not p.hire)
    fleet = Fleet(state.pool.name, state.now, formation, state.formation)
    return (*fleet.living, *(p for p in presences if p.hire))


def _draining(state: PoolState, living: Iterable[Presence]) -> list[str]:
    """Cordoned workers: those heard of, and those that a number alone stands for."""
    hired = (f"{state.pool.name}.{n}" for n in range(1, (state.formation or 0) + 1))
    formation = [p.name for p in living if not p.hire]
    ordered = all(dotted_number(name) is not None for name in formation)
    names = {*formation, *(hired if ordered else ())}
    leave = {p.name for p in living if p.hire} & state.leave.names
    return _sorted([*(name for name in names if state.cordon.holds(name)), *leave])


def _drain(name: str, state: PoolState, living: Iterable[Presence], snapshot: Snapshot) -> Document:
    bearers = [p for p in living if p.name == name]
    since = {**state.cordon.since, **state.leave.since}
    held = [h for p in bearers for h in p.held.values()]
    return {
        "name": name,
        "since": snapshot.iso(since.get(name)),
        "running": sum(h.running for h in held),
        "waiting": sum(h.waiting for h in held),
        # Scheduled tasks that must be back in the broker before it may be stopped.
        "returning": sum(p.returning for p in bearers),
    }


def _unheard(state: PoolState, living: Iterable[Presence], snapshot: Snapshot) -> list[Document]:
    """Workers that are up for the platform, and of which nothing has been heard."""
    heard = {p.name for p in living}
    missed = dict(state.missed) if state.formation else {}
    # One that was hired alone, and is listed, may be booting.
    missed |= {m.name: m.at for m in state.roster.members.values() if m.listed and not m.since}
    missed = {name: at for name, at in missed.items() if name not in heard}
    return [
        {
            "name": name,
            "since": snapshot.iso(missed[name]),
            "for": round(snapshot.now - missed[name], 1),
        }
        for name in _sorted(missed)
    ]


def _wrong(living: Iterable[Presence], snapshot: Snapshot) -> list[Document]:
    """What workers say is wrong with themselves."""
    return [
        {"name": p.name, "what": what, "since": snapshot.iso(since)}
        for p in sorted(living, key=lambda p: (dotted_number(p.name) or 0, p.name))
        for what, since in p.wrong.items()
    ]


def _silent(living: Iterable[Presence], snapshot: Snapshot) -> list[Document]:
    """Workers that were heard of, and have not been for longer than any restart takes."""
    seen: dict[str, float] = {}
    for presence in living:
        seen[presence.name] = max(presence.seen, seen.get(presence.name, 0.0))
    return [
        {"name": name, "since": snapshot.iso(seen[name])}
        for name in _sorted(seen)
        if snapshot.now - seen[name] >= BOOT_GRACE
    ]


def _deaf(state: PoolState, snapshot: Snapshot) -> list[Document]:
    """Workers that take nothing, though tasks wait and they have room."""
    return [{"name": name, "since": snapshot.iso(state.deaf[name])} for name in _sorted(state.deaf)]


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
        "counted_at": snapshot.iso(state.count.at if state.count else None),
    }


def _next_call_at(settings: Settings, snapshot: Snapshot) -> str | None:
    """When the platform may be called again; None if it may be now."""
    called = snapshot.time("called_at")
    free = called + settings.call_interval if called else 0.0
    at = max(free, snapshot.time("blocked_until"))
    return snapshot.iso(at) if at > snapshot.now else None


def asleep(document: Mapping[str, Any]) -> bool:
    """Whether scheduled tasks wait for workers while no worker lives that would hire them."""
    pools = document["pools"]
    watched = any(pool["workers"]["live"] for pool in pools)
    waiting = any(pool["tasks"]["scheduled"] and not pool["workers"]["min"] for pool in pools)
    return waiting and not watched


def idle(document: Mapping[str, Any]) -> bool:
    """Whether no task waits or runs, and nobody is hired beyond the minimum."""
    return all(
        pool["tasks"]["outstanding"] == 0
        and (pool["workers"]["current"] or 0) == pool["workers"]["min"]
        and len(pool["workers"]["live"]) <= pool["workers"]["min"]
        for pool in document["pools"]
    )


def _sorted(names: Iterable[str]) -> list[str]:
    """Each name once, ``worker.2`` before ``worker.10``."""
    return sorted(set(names), key=lambda name: (dotted_number(name) or 0, name))
