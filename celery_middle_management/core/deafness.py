"""Deaf workers: they are up and have room, but take none of the messages in their queues.

A worker whose connection to the broker died without a reset receives neither tasks nor an error.
Counts reveal it. A broker passes a message to the next worker that asks or has room. So if two
counts both find messages in the queues of a healthy worker with room, it has taken some in between,
however many other workers there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf

from celery_middle_management.core.presence import Presence

#: A worker that took nothing for this long (s), while messages waited in its queues, renews its
#: connection to the broker; after twice as long it no longer counts as capacity.
AFTER = 60.0
#: The longest time (s) between two renewals that did not help.
_MOST = 1800.0


@dataclass(frozen=True)
class Suspicion:
    """Every count from *since* to *last* found messages that a worker did not take.

    Times are Redis', Unix (s).
    """

    since: float
    last: float

    @property
    def deaf(self) -> bool:
        """True if the worker does not count as capacity, until it takes a message."""
        return self.last - self.since >= 2 * AFTER


def counts_again(suspicions: Mapping[str, Suspicion]) -> float:
    """Return when (Unix, s) a count can show more about suspects not yet known to be deaf."""
    return min((s.last + AFTER / 3 for s in suspicions.values() if not s.deaf), default=inf)


def suspected(
    known: Mapping[str, Suspicion],
    presences: Iterable[Presence],
    lying: Mapping[str, int],
    at: float,
) -> dict[str, Suspicion]:
    """Return the suspicions after a count, by worker id; *known* are the earlier ones.

    *lying* holds, for each queue that could be read, the number of messages in it, without any that
    a worker has just taken and not yet reported.
    """
    found = {}
    for presence in presences:
        before = known.get(presence.id)
        if before is not None and presence.seen - presence.idle > before.since:
            before = None  # it has received a message since, or had no room for a while
        after = _after(before, presence, lying, at)
        if after is not None:
            found[presence.id] = after
    return found


def _after(
    before: Suspicion | None, presence: Presence, lying: Mapping[str, int], at: float
) -> Suspicion | None:
    asks = presence.idle > 0 and presence.takes(presence.queues, at)
    if asks and any(lying.get(queue) for queue in presence.queues):
        # Counts that are far apart say nothing about the time between them.
        goes_on = before is not None and (before.deaf or at - before.last <= AFTER)
        return replace(before, last=at) if before and goes_on else Suspicion(at, at)
    unread = any(queue not in lying for queue in presence.queues)
    return before if before and (before.deaf or unread) else None


def deaf_workers(
    suspicions: Mapping[str, Suspicion], presences: Iterable[Presence], now: float
) -> dict[str, float]:
    """Return the name of each deaf worker that is up, and when (Unix, s) its deafness began."""
    if not suspicions:
        return {}
    return {
        p.name: suspicions[p.id].since
        for p in presences
        if p.id in suspicions and suspicions[p.id].deaf and not (p.closing or p.silent(now))
    }


@dataclass
class Renewals:
    """Renewals of one worker's connection, with a longer pause after each that does not help.

    Times are readings (s) of any one clock.
    """

    _tried: int = 0
    _not_before: float = 0.0

    def connected(self, now: float) -> None:
        """After a new connection, start a pause that is as long as the first one."""
        self._not_before = max(self._not_before, now + AFTER)

    def due(self, overdue: float, now: float) -> bool:
        """Return whether to renew the connection, if messages are *overdue* by this long (s)."""
        if overdue < AFTER:
            self._tried, self._not_before = 0, 0.0
            return False
        if now < self._not_before:
            return False
        self._not_before = now + min(AFTER * 2**self._tried, _MOST)
        self._tried += 1
        return True
