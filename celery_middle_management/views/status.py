"""The document of ``celery mm status``: the ledger and a look at the broker, as JSON.

docs/status.md describes every field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celery_middle_management.core.history import COUNTERS, Sample, Totals, activity
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.presence import due_in, held_in
from celery_middle_management.evaluation.queues import leaves_out, queues_of
from celery_middle_management.ledger.codec import unpack_pause
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.ledger.pool_reading import read_pool
from celery_middle_management.settings.model import Settings
from celery_middle_management.views.facts import Facts
from celery_middle_management.views.look import Look
from celery_middle_management.views.measured import measured_of
from celery_middle_management.views.troubles import troubles_of
from celery_middle_management.views.unattended import UNATTENDED
from celery_middle_management.views.workers import workers_of

Document = dict[str, Any]

#: Minutes of history in the document.
MINUTES = 60
#: A pool's counters, by their names in the ledger: tasks, then workers; and totals of seconds.
_COUNTERS = ("published", "started", "finished", "hired", "fired")
_SECONDS = ("waits", "runtime")


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
    """Describe every pool at the time of *snapshot*. What is not known is None.

    Args:
        snapshot: the ledger, with the queues that are published to or consumed from.
        app_queues: the queues that the app declares.
        samples: the ledger's history, of the last hour at least.
        look: what the broker has answered, if it was asked.
        full: a sentence that says what the ledger's Redis has run out of; empty if nothing.
    """
    declared, samples, look = tuple(app_queues), tuple(samples), look or Look()
    now = Sample(snapshot.now, {p.name: _counters(p.name, snapshot) for p in settings.pools})
    states = {pool.name: read_pool(snapshot, pool) for pool in settings.pools}
    pools = [
        _pool(settings, snapshot, states[pool.name], declared, look)
        | _counted(pool.name, snapshot, (*samples, now))
        for pool in settings.pools
    ]
    facts = Facts(settings, snapshot, states, look, samples, full, celery)
    return {
        "at": snapshot.iso(snapshot.now),
        **_pause(snapshot),
        "dry_run": settings.dry_run,
        # Why the process that asks for the document evaluates nothing. Others may.
        "inactive": settings.inactive or None,
        "trouble": [trouble._asdict() for trouble in troubles_of(facts, pools)],
        **_evaluations(snapshot),
        "queues": _queues(settings, look),
        "pools": pools,
    }


def of_pools(document: Document, names: Iterable[str]) -> Document:
    """Reduce the document to the pools of these *names*; without names, return it unchanged.

    The sums of the money stay those of all pools.
    """
    wanted = {*names}

    def chosen(pools: list[Document]) -> list[Document]:
        return [pool for pool in pools if not wanted or pool["name"] in wanted]

    shown = {**document, "pools": chosen(document["pools"])}
    if money := document.get("money"):
        shown["money"] = {**money, "pools": chosen(money["pools"])}
    return shown


def asleep(document: Mapping[str, Any]) -> bool:
    """Return True if scheduled tasks will need workers, and no worker is up to hire them then.

    It is also True for tasks just due, until they are handled or reported as trouble.
    """
    pools = document["pools"]
    some_worker_lives = any(pool["workers"]["live"] for pool in pools)
    reported = any(trouble["kind"] == UNATTENDED for trouble in document["trouble"])
    next_at = document["next_evaluation_at"]
    overdue = next_at is not None and next_at < document["at"] and not reported
    return not some_worker_lives and any(
        pool["tasks"]["scheduled"]
        or (overdue and pool["tasks"]["waiting"] and not pool["workers"]["current"])
        for pool in pools
        if not pool["workers"]["min"]
    )


def idle(document: Mapping[str, Any]) -> bool:
    """Return True if no task waits or runs and no worker is hired beyond the minimum.

    The ledger and the broker must agree; it is False while the broker does not answer.
    """
    return all(
        pool["tasks"]["outstanding"] == pool["tasks"]["reckoned"] == 0
        and pool["tasks"]["in_broker"] == 0
        and (pool["workers"]["current"] or 0) == pool["workers"]["min"]
        and len(pool["workers"]["live"]) <= pool["workers"]["min"]
        for pool in document["pools"]
    )


def _pause(snapshot: Snapshot) -> Document:
    pause = unpack_pause(snapshot.state.get("pause"), snapshot.now)
    if pause is None:
        return {"paused": False, "pause": None}
    told = {
        "hires": pause.hires,
        "fires": pause.fires,
        "since": snapshot.iso(pause.since),
        "until": snapshot.iso(pause.until),
        "by": pause.who,
    }
    for what in ("hires", "fires"):
        stop = next((stop for stop in pause.stops if stop.what == what), None)
        told[f"{what}_until"] = snapshot.iso(stop.until) if stop else None
        told[f"{what}_by"] = stop.by if stop else None
    return {"paused": True, "pause": told}


def sample_of(document: Document, snapshot: Snapshot) -> Sample:
    """Return a sample of the counters at the time of *snapshot*, with the document's tasks."""
    pools = {}
    for pool in document["pools"]:
        tasks = {name: pool["tasks"][name] for name in ("waiting", "running", "scheduled")}
        pools[pool["name"]] = _counters(pool["name"], snapshot)._replace(**tasks)
    return Sample(snapshot.now, pools)


def _counters(pool: str, snapshot: Snapshot) -> Totals:
    return Totals(*(snapshot.number(f"{pool}/{name}") for name in COUNTERS))


def _counted(pool: str, snapshot: Snapshot, samples: Iterable[Sample]) -> Document:
    """What the pool's counters tell."""
    return {
        "last_hour": _last_hour(pool, snapshot.now, samples),
        "totals": _sums(pool, snapshot),
    }


def _last_hour(pool: str, now: float, samples: Iterable[Sample]) -> Document:
    """The pool's activity in each of the last :data:`MINUTES`, the current one last."""
    minutes = activity(samples, pool, now, MINUTES)
    return {
        "arrivals": [minute.arrivals for minute in minutes],
        "finishes": [minute.finishes for minute in minutes],
        "workers": [minute.workers for minute in minutes],
        "mean_wait": _mean(sum(m.waits for m in minutes), sum(m.starts for m in minutes)),
        "mean_runtime": _mean(sum(m.runtime for m in minutes), sum(m.finishes for m in minutes)),
    }


def _sums(pool: str, snapshot: Snapshot) -> Document:
    """The pool's counters, which only grow, until the ledger loses its data."""
    tasks = {name: round(snapshot.number(f"{pool}/{name}")) for name in _COUNTERS}
    return tasks | {name: round(snapshot.number(f"{pool}/{name}"), 3) for name in _SECONDS}


def _queues(settings: Settings, look: Look) -> list[Document]:
    """The queues that were counted, with the messages that no worker has reserved."""
    return [
        {"name": queue, "pool": settings.pool_name(queue), "ready": look.ready[queue]}
        for queue in sorted(look.ready)
    ]


def _mean(seconds: float, tasks: int) -> float | None:
    return round(seconds / tasks, 3) if tasks else None


def _evaluations(snapshot: Snapshot) -> Document:
    """When the last evaluation was, and when the next is due unless something happens earlier."""
    return {
        "evaluated_at": snapshot.iso(snapshot.time("evaluated_at") or None),
        "next_evaluation_at": snapshot.iso(snapshot.time("next_at") or None),
    }


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
        # True if tasks were lately published to queues that the pool does not count.
        "queues_left_out": leaves_out(pool, snapshot),
        "workers": workers_of(state, snapshot),
        # Counts all workers, since one may serve queues of several pools.
        "tasks": _tasks(state, snapshot, queues, look),
        "policy": _policy(state),
        # A request by hand for more or fewer workers.
        "wish": state.wish
        and {
            "least": state.wish.least,
            "most": state.wish.most,
            "until": snapshot.iso(state.wish.until),
            "by": state.wish.who,
        },
        # The last change of the quantity by a person or another tool.
        "by_hand": snapshot.document(f"{pool.name}/by_hand") or None,
        "drift": state.drift,
        "refused": _refused(state, snapshot),
        "last_action": snapshot.document(f"{pool.name}/last_action") or None,
        "next_call_at": _next_call_at(settings, state, snapshot),
    }


def _policy(state: PoolState) -> Document:
    """What decides how many workers are needed, the setting that says so, and what came of it."""
    pool = state.pool
    setting: Document = {"jobs_per_worker": pool.jobs_per_worker or "auto"}
    if pool.max_wait is not None:
        setting = {"max_wait": pool.max_wait}
    return {
        "name": next(iter(setting)),
        **setting,
        "why": state.advice.why,
        "boot": round(state.boot, 1),
        "measured": measured_of(state),
    }


def _refused(state: PoolState, snapshot: Snapshot) -> Document | None:
    """The platform's refusal of what the pool needs, until the platform is asked again."""
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
    reserved = work.waiting + (seen.silent if seen else 0)
    reckoned = max(state.outstanding, work.running)
    waiting = seen.in_broker + reserved if seen else reckoned - work.running
    held = due_in(live, queues)
    scheduled, in_hands = (
        sum(n for due, n in buckets.items() if due > state.now) for buckets in (state.buckets, held)
    )
    # For dead reckoning, a task is due from the start of its bucket; for a count, only when due.
    imminent = sum(n for due, n in held.items() if due <= state.now) if seen else 0
    return {
        # What workers report as running is certain, even if dead reckoning is lower.
        "outstanding": waiting + work.running,
        "waiting": waiting,
        "running": work.running,
        # Waiting tasks that workers hold: no other worker can begin them, and some may be running.
        "reserved": reserved,
        # Waiting tasks in the queues, according to the broker itself.
        "in_broker": seen.in_broker if seen else None,
        # Outstanding according to the ledger alone: decisions rest on this until the next count.
        "reckoned": reckoned,
        "scheduled": max(scheduled, in_hands) + imminent,
        "counted_at": snapshot.iso(state.count.at if state.count else None),
    }


def _next_call_at(settings: Settings, state: PoolState, snapshot: Snapshot) -> str | None:
    """When the pool may be changed again; None: now. An empty pool waits for no call interval."""
    called = snapshot.time("called_at")
    free = called + settings.call_interval if called and state.quantity != 0 else 0.0
    at = max(free, snapshot.time("blocked_until"))
    return snapshot.iso(at) if at > snapshot.now else None
