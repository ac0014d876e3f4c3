"""The workers of one pool, as ``mm status`` tells of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery_middle_management.core.fleet import BOOT_GRACE, Fleet
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.presence import Presence, Run
from celery_middle_management.core.traits import dotted_number
from celery_middle_management.ledger.model import Snapshot

Document = dict[str, Any]


def workers_of(state: PoolState, snapshot: Snapshot) -> Document:
    """How many there are and are needed, and each of which there is something to say."""
    living = _living(state, snapshot.presences_of(state.pool.name))
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
        "old": _sorted(state.roster.to_replace(snapshot.now, state.longest)),
        "unheard": _unheard(state, living, snapshot),
        "silent": _silent(living, snapshot),
        "wrong": _wrong(living, snapshot),
        "deaf": _deaf(state, snapshot),
        "longest": _longest(living, snapshot),
    }


def _living(state: PoolState, presences: Iterable[Presence]) -> tuple[Presence, ...]:
    """Whatever may still have a process; of one-off workers only the platform knows better."""
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
    runs = sorted((run for p in bearers for run in p.runs), key=lambda run: run.since)
    return {
        "name": name,
        "since": snapshot.iso(since.get(name)),
        "running": sum(h.running for h in held),
        "waiting": sum(h.waiting for h in held),
        # All that it must finish before it may be stopped: a batch that it runs, too.
        "busy": sum(p.busy for p in bearers),
        # Scheduled tasks that must be back in the broker before it may be stopped.
        "returning": sum(p.returning for p in bearers),
        "tasks": [_run(run, snapshot) for run in runs],
    }


def _run(run: Run, snapshot: Snapshot) -> Document:
    return {
        "name": run.name,
        "since": snapshot.iso(run.since),
        "for": round(max(snapshot.now - run.since, 0.0), 1),
    }


def _longest(living: Iterable[Presence], snapshot: Snapshot) -> Document | None:
    """The task that has run the longest, and the worker that runs it."""
    runs = [(run, p.name) for p in living if not p.silent(snapshot.now) for run in p.runs]
    if not runs:
        return None
    run, worker = min(runs, key=lambda each: each[0].since)
    return {**_run(run, snapshot), "worker": worker}


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


def _sorted(names: Iterable[str]) -> list[str]:
    """Each name once, ``worker.2`` before ``worker.10``."""
    return sorted(set(names), key=lambda name: (dotted_number(name) or 0, name))
