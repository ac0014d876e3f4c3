"""Requests made by hand, which hold in every evaluation until they end or are withdrawn.

Several hold together, each for its own time. So what the ledger keeps is a chain: what holds now,
*then* what is left when that ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple

from celery_middle_management.core.policies import Advice

#: A pause that several people asked for names at most this many of them, the last ones.
MOST_NAMES = 3


class Stop(NamedTuple):
    """What a pause stops, hires or fires; the ledger's time (Unix, s) of its end, None: none."""

    what: str
    until: float | None
    by: str


@dataclass(frozen=True)
class Pause:
    """A stop to hires, to fires, or to both, in all pools. Times are the ledger's, Unix (s)."""

    hires: bool = True
    fires: bool = True
    #: When it ends; None if it lasts until it is withdrawn.
    until: float | None = None
    #: The people who asked for it: user@host.
    who: str = ""
    since: float | None = None
    then: Pause | None = None
    #: Those of them who asked for a stop to hires, and to fires; empty: all of them.
    hires_by: str = ""
    fires_by: str = ""

    @property
    def ends(self) -> float:
        """When it ends; infinite if it must be withdrawn."""
        return inf if self.until is None else self.until

    @property
    def stops(self) -> tuple[Stop, ...]:
        """What it stops, each with its own end and the people who asked for it."""
        return tuple(self._stop(what) for what in ("hires", "fires") if getattr(self, what))

    def _stop(self, what: str) -> Stop:
        last = self
        while last.then is not None and getattr(last.then, what):
            last = last.then
        return Stop(what, last.until, self.people(what))

    def people(self, what: str) -> str:
        """Return who asked for a stop to *what*: hires or fires; empty if it is not stopped."""
        return (getattr(self, f"{what}_by") or self.who) if getattr(self, what) else ""

    def held(self, needed: int, quantity: int) -> int:
        """Return how many workers to aim for, if *needed* are needed and there are *quantity*."""
        if self.fires:
            needed = max(needed, quantity)
        return min(needed, quantity) if self.hires else needed


@dataclass(frozen=True)
class ManualRequest:
    """A pool must have at *least*, or at *most*, a number of workers *until* a time."""

    until: float
    least: int | None = None
    most: int | None = None
    #: The person who asked for it: user@host.
    who: str = ""
    then: ManualRequest | None = None

    def applied_to(self, advice: Advice) -> Advice:
        """Return a policy's advice, adjusted to the request."""
        workers, said = advice.workers, ""
        if self.least is not None and workers < self.least:
            workers, said = self.least, f"; {self.who} wants at least {self.least}"
        if self.most is not None and workers > self.most:
            workers, said = self.most, f"; {self.who} wants at most {self.most}"
        return advice._replace(workers=workers, why=advice.why + said)


def both_paused(one: Pause | None, other: Pause | None) -> Pause | None:
    """Return what is paused while each of two pauses stops what it stops until its own end."""
    if one is None or other is None:
        return one or other
    first, last = sorted((one, other), key=lambda pause: pause.ends)
    left = both_paused(first.then, last.then if last.ends == first.ends else last)
    hires, fires = first.hires or last.hires, first.fires or last.fires
    since = one.since or other.since
    if left is not None and (left.hires, left.fires) == (hires, fires):
        return replace(left, since=since)
    who = _names(one.who, other.who)
    by_each = [_names(one.people(what), other.people(what)) for what in ("hires", "fires")]
    hires_by, fires_by = ("" if by == who else by for by in by_each)
    return Pause(hires, fires, first.until, who, since, left, hires_by, fires_by)


def _names(*people: str) -> str:
    names = dict.fromkeys(name for who in people for name in who.split(", ") if name)
    return ", ".join([*names][-MOST_NAMES:])


def ended_by(earlier: ManualRequest | None, request: ManualRequest) -> tuple[float, str] | None:
    """Return when what *request* takes back would have ended, and who asked for it; None: nothing.

    What is taken back are requests of the other kind, all of them.
    """
    if earlier is None or (earlier.least is None) == (request.least is None):
        return None
    until, people = earlier.until, earlier.who
    while (earlier := earlier.then) is not None:
        until, people = max(until, earlier.until), _names(people, earlier.who)
    return until, people


def asked_after(earlier: ManualRequest | None, request: ManualRequest) -> ManualRequest:
    """Return *request* with what holds after it: *earlier* ones of the same kind that last longer.

    Others are replaced: to fire takes back what was hired by hand, and the other way round.
    """
    while earlier is not None and (
        earlier.until <= request.until or (earlier.least is None) != (request.least is None)
    ):
        earlier = earlier.then
    return replace(request, then=earlier)


def expected(request: ManualRequest | None, quantity: int) -> int:
    """Return how many workers there will be if *request* is all that changes their number."""
    return quantity if request is None else request.applied_to(Advice(quantity, "")).workers
