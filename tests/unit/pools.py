"""Workers, fleets and situations for the tests: each test gives only what it is about."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.decision import Decision, EarlierCalls, Situation, decide
from celery_middle_management.core.fleet import Fleet
from celery_middle_management.core.presence import Presence

#: The time in tests that need only one.
NOW = 10_000.0
#: When cordons are set in tests, unless a test gives another time.
DRAWN = NOW - 20
#: The names of what earlier calls may still do.
EARLIER = {field.name for field in fields(EarlierCalls)}


def presence(name: str, **said: Any) -> Presence:
    """A worker that has just reported and consumes, unless *said* differs."""
    values = {"id": name, "pool": "worker", "since": NOW - 1000, "seen": NOW} | said
    return Presence(name=name, **values)


def workers(*numbers: int, **said: Any) -> tuple[Presence, ...]:
    """The workers of these numbers."""
    return tuple(presence(f"worker.{n}", **said) for n in numbers)


def fleet(*presences: Presence, **known: Any) -> Fleet:
    """The pool ``worker`` at :data:`NOW`."""
    return Fleet(**{"pool": "worker", "now": NOW, "presences": presences} | known)


def cordon(above: int | None = None, *names: str, at: float = DRAWN, **since: float) -> Cordon:
    """A cordon; *since* with ``worker_3`` for ``worker.3``."""
    times = {name.replace("_", "."): when for name, when in since.items()}
    return Cordon(above, frozenset(names), at, times)


def view(quantity: int, needed: int, *presences: Presence, **known: Any) -> Situation:
    """A situation in which nothing forbids to act; *known* may hold fields of `EarlierCalls`."""
    earlier = {name: known.pop(name) for name in EARLIER & known.keys()}
    values = {
        "minimum": 0,
        "maximum": 10,
        "fleet": fleet(*presences, quantity=quantity, running=[p.name for p in presences]),
        "cordon": Cordon(),
        "fresh": True,
        "may_call": True,
        "earlier": EarlierCalls(**earlier),
    }
    return Situation(**values | {"quantity": quantity, "needed": needed} | known)


def unasked(seen: Situation) -> Situation:
    """The same, when the platform has not been asked which workers are running."""
    return replace(seen, fleet=replace(seen.fleet, running=None))


def obey(seen: Situation, decision: Decision) -> Situation:
    """The next situation, when the platform and every worker have followed the decision.

    Every worker is idle, and new ones are up at once.
    """
    quantity = seen.quantity if decision.quantity is None else decision.quantity
    old = {p.name: p for p in seen.fleet.presences}
    names = [f"worker.{n}" for n in range(1, quantity + 1)]
    if seen.fleet.unordered:
        names = sorted(old)[:quantity]
    told = tuple(
        replace(
            old.get(name, presence(name)),
            seen=seen.fleet.now,
            busy=0,
            closing=False,
            stopped=decision.cordon.at if decision.cordon.holds(name) else 0.0,
        )
        for name in names
    )
    return replace(
        seen,
        quantity=quantity,
        cordon=decision.cordon,
        fleet=replace(seen.fleet, presences=told, quantity=quantity, running=names),
    )


def settle(seen: Situation, steps: int = 5) -> Situation:
    """Decide and obey until nothing changes any more."""
    for _ in range(steps):
        decision = decide(seen)
        after = obey(seen, decision)
        if after == seen:
            return seen
        seen = after
    raise AssertionError(f"still {decision} after {steps} decisions")
