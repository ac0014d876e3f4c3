"""The workers of one pool in the document of ``mm status``."""

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
    """The object `workers`: how many there are, how many are needed, and facts about each."""
    living = _living(state, snapshot.presences_of(state.pool.name))
    draining = _draining(state, living)
    return {
        "current": state.quantity,
        "needed": state.needed,
        "min": state.pool.min_workers,
        "max": state.pool.max_workers,
        "schedule": _schedule(state, snapshot),
        "draining": draining,
        "live": _sorted(p.name for p in living if not p.silent(snapshot.now)),
        "drains": [_drain(name, state, living, snapshot) for name in draining],
        # Workers to replace: their release is not the newest, or their day is nearly over.
        "old": _sorted(state.roster.to_replace(snapshot.now, state.longest)),
        "unheard": _unheard(state, living, snapshot),
        "silent": _silent(living, snapshot),
        "wrong": _wrong(living, snapshot),
        "deaf": _deaf(state, snapshot),
        "longest": _longest(living, snapshot),
    }


def _schedule(state: PoolState, snapshot: Snapshot) -> Document | None:
    """The part of the schedule that gives `min` and `max` now; None if there is no schedule."""
    found = state.pool.in_force
    return found and {
        # None if no entry has fired yet.
        "cron": found.entry.cron if found.entry else None,
        "since": snapshot.iso(found.since),
        "until": snapshot.iso(found.until),
        "timezone": found.zone,
    }


def _living(state: PoolState, presences: Iterable[Presence]) -> tuple[Presence, ...]:
    """The presences that may still have a process, including all those of one-off workers."""
    presences = tuple(presences)
    formation = tuple(p for p in presences if not p.hire)
    fleet = Fleet(state.pool.name, state.now, formation, state.formation)
    return (*fleet.living, *(p for p in presences if p.hire))


def _draining(state: PoolState, living: Iterable[Presence]) -> list[str]:
    """Names of cordoned workers: those that report, and those known by their number alone."""
    hired = (f"{state.pool.name}.{n}" for n in range(1, (state.formation or 0) + 1))
    formation = [p.name for p in living if not p.hire]
    ordered = all(dotted_number(name) is not None for name in formation)
    names = {*formation, *(hired if ordered else ())}
    leave = {p.name for p in living if p.hire} & state.leave.names
    return _sorted([*(name for name in names if state.cordon.holds(name)), *leave])


def _drain(name: str, state: PoolState, living: Iterable[Presence], snapshot: Snapshot) -> Document:
    presences = [p for p in living if p.name == name]
    since = {**state.cordon.since, **state.leave.since}
    held = [h for p in presences for h in p.held.values()]
    runs = sorted((run for p in presences for run in p.runs), key=lambda run: run.since)
    return {
        "name": name,
        "since": snapshot.iso(since.get(name)),
        "running": sum(h.running for h in held),
        "waiting": sum(h.waiting for h in held),
        # Everything that it must finish before it can be stopped, including a batch of tasks.
        "busy": sum(p.busy for p in presences),
        # Scheduled tasks that it must give back to the broker before it can be stopped.
        "returning": sum(p.returning for p in presences),
        "tasks": [_run(run, snapshot) for run in runs],
    }


def _run(run: Run, snapshot: Snapshot) -> Document:
    return {
        "name": run.name,
        "since": snapshot.iso(run.since),
        "for": round(max(snapshot.now - run.since, 0.0), 1),
    }


def _longest(living: Iterable[Presence], snapshot: Snapshot) -> Document | None:
    """The task that has run the longest, and its worker."""
    runs = [(run, p.name) for p in living if not p.silent(snapshot.now) for run in p.runs]
    if not runs:
        return None
    run, worker = min(runs, key=lambda each: each[0].since)
    return {**_run(run, snapshot), "worker": worker}


def _unheard(state: PoolState, living: Iterable[Presence], snapshot: Snapshot) -> list[Document]:
    """Workers that are up according to the platform but have no report in the ledger."""
    reporting = {p.name for p in living}
    missed = dict(state.missed) if state.formation else {}
    # A one-off worker that the platform lists may still be booting.
    missed |= {m.name: m.at for m in state.roster.members.values() if m.listed and not m.since}
    missed = {name: at for name, at in missed.items() if name not in reporting}
    return [
        {
            "name": name,
            "since": snapshot.iso(missed[name]),
            "for": round(snapshot.now - missed[name], 1),
        }
        for name in _sorted(missed)
    ]


def _wrong(living: Iterable[Presence], snapshot: Snapshot) -> list[Document]:
    """Troubles that workers report about themselves."""
    return [
        {"name": p.name, "what": what, "since": snapshot.iso(since)}
        for p in sorted(living, key=lambda p: (dotted_number(p.name) or 0, p.name))
        for what, since in p.wrong.items()
    ]


def _silent(living: Iterable[Presence], snapshot: Snapshot) -> list[Document]:
    """Workers that have not reported for longer than any restart takes."""
    seen: dict[str, float] = {}
    for presence in living:
        seen[presence.name] = max(presence.seen, seen.get(presence.name, 0.0))
    return [
        {"name": name, "since": snapshot.iso(seen[name])}
        for name in _sorted(seen)
        if snapshot.now - seen[name] >= BOOT_GRACE
    ]


def _deaf(state: PoolState, snapshot: Snapshot) -> list[Document]:
    """Workers that take no task although tasks wait and they have room."""
    return [{"name": name, "since": snapshot.iso(state.deaf[name])} for name in _sorted(state.deaf)]


def _sorted(names: Iterable[str]) -> list[str]:
    """Each name once, ``worker.2`` before ``worker.10``."""
    return sorted(set(names), key=lambda name: (dotted_number(name) or 0, name))
