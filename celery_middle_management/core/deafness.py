"""Workers that are deaf: they have room and live, and messages lie in their queues untaken.

A worker whose connection to the broker has died without a reset hears of no task, and of no error.
It is told by counts: while messages lie in its queues at one count after the other, a worker with
room takes some between two of them, however many others there are, for a broker hands on what lies
in a queue to the next worker that asks, or has room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf

from celery_middle_management.core.presence import Presence

#: A worker that has taken nothing for so long (s), while messages lay in its queues, renews its
#: connection to the broker; after twice as long it is no capacity.
AFTER = 60.0
#: The longest time (s) between two renewals that did not help.
_MOST = 1800.0


@dataclass(frozen=True)
class Suspicion:
    """Counts, from the one *since* to the *last*, found messages that a worker did not take.

    Times are Redis', Unix (s).
    """

    since: float
    last: float

    @property
    def deaf(self) -> bool:
        """Whether it is no capacity, until it takes a message."""
        return self.last - self.since >= 2 * AFTER


def counts_again(suspicions: Mapping[str, Suspicion]) -> float:
    """When (Unix, s) a count can tell more of a worker that is not known to be deaf yet."""
    return min((s.last + AFTER / 3 for s in suspicions.values() if not s.deaf), default=inf)


def suspected(
    known: Mapping[str, Suspicion],
    presences: Iterable[Presence],
    lying: Mapping[str, int],
    at: float,
) -> dict[str, Suspicion]:
    """The suspicions by the ids of workers after a count, and those *known* before it.

    *lying* are the messages in each queue that could be read; what a worker took just now, and has
    not told of, is not among them.
    """
    found = {}
    for presence in presences:
        before = known.get(presence.id)
        if before is not None and presence.seen - presence.idle > before.since:
            before = None  # something has come since, or it had no room for a while
        after = _after(before, presence, lying, at)
        if after is not None:
            found[presence.id] = after
    return found


def _after(
    before: Suspicion | None, presence: Presence, lying: Mapping[str, int], at: float
) -> Suspicion | None:
    asks = presence.idle > 0 and presence.takes(presence.queues, at)
    if asks and any(lying.get(queue) for queue in presence.queues):
        # Counts that are far apart tell nothing of what was in between.
        goes_on = before is not None and (before.deaf or at - before.last <= AFTER)
        return replace(before, last=at) if before and goes_on else Suspicion(at, at)
    unread = any(queue not in lying for queue in presence.queues)
    return before if before and (before.deaf or unread) else None


def deaf_workers(
    suspicions: Mapping[str, Suspicion], presences: Iterable[Presence], now: float
) -> dict[str, float]:
    """The names of those that live and are deaf, each with since when (Unix, s)."""
    if not suspicions:
        return {}
    return {
        p.name: suspicions[p.id].since
        for p in presences
        if p.id in suspicions and suspicions[p.id].deaf and not (p.closing or p.silent(now))
    }


@dataclass
class Renewals:
    """Those of one worker's connection: each that does not help is followed by a longer pause.

    Times are readings of one clock (s), whichever.
    """

    _tried: int = 0
    _not_before: float = 0.0

    def connected(self, now: float) -> None:
        """There is a new connection, which has as much time as the first one."""
        self._not_before = max(self._not_before, now + AFTER)

    def due(self, overdue: float, now: float) -> bool:
        """Whether to renew it now, nothing having come though it should for so long (s)."""
        if overdue < AFTER:
            self._tried, self._not_before = 0, 0.0
            return False
        if now < self._not_before:
            return False
        self._not_before = now + min(AFTER * 2**self._tried, _MOST)
        self._tried += 1
        return True
