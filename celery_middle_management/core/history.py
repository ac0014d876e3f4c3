"""The activity of a pool, minute by minute, derived from counters that only grow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

MINUTE = 60.0


class Totals(NamedTuple):
    """A pool's counters at one moment, to a tenth of a second, by their names in the ledger.

    Add new counters at the end, since different releases read each other's samples.
    """

    #: Tasks that needed a worker: published, or fallen due.
    published: float = 0
    started: float = 0
    finished: float = 0
    #: The total time (s) that the started tasks waited.
    waits: float = 0.0
    #: The total time (s) that the finished tasks ran.
    runtime: float = 0.0
    #: The number of workers that there should be; not a counter, like all that follow.
    quantity: float = 0
    #: How many tasks there are; None if the release that took the sample did not tell. In a sample
    #: that sums up ten minutes, these are the most that there were at the end of a minute.
    waiting: float | None = None
    running: float | None = None
    scheduled: float | None = None
    #: The highest *quantity* of the ten minutes that a sample sums up.
    peak: float | None = None


#: The fields of :class:`Totals` that the ledger's state has under the same names.
COUNTERS = Totals._fields[:6]


@dataclass(frozen=True)
class Sample:
    """The counters of every pool when a minute began; *at* is the ledger's time (Unix, s)."""

    at: float
    pools: Mapping[str, Totals]


class Activity(NamedTuple):
    """The activity of a pool in one minute, and its number of workers at the end of it."""

    arrivals: int = 0
    starts: int = 0
    finishes: int = 0
    #: The total time (s) that the started tasks waited.
    waits: float = 0.0
    #: The total time (s) that the finished tasks ran.
    runtime: float = 0.0
    workers: int = 0


def activity(samples: Iterable[Sample], pool: str, now: float, minutes: int) -> list[Activity]:
    """Return the activity of *pool* in each of the last *minutes*, including that of *now*.

    *samples* can be in any order, and should include one taken now. A minute without a sample had
    no reports, so growth until the next sample belongs to the last minute that has one. Counters
    that fell had been lost and began again at zero.
    """
    known = sorted((sample.at, sample.pools.get(pool, Totals())) for sample in samples)
    totals = [its for _, its in known]
    grown = {
        at // MINUTE: _activity(counts, after)
        for (at, _), counts, after in zip(
            known, zip(*growth(totals), strict=True), totals[1:], strict=False
        )
    }
    last = int(now // MINUTE)
    found: list[Activity] = []
    workers = next(
        (after.workers for m, after in reversed(grown.items()) if m <= last - minutes), 0
    )
    for minute in range(last - minutes + 1, last + 1):
        done = grown.get(minute, Activity(workers=workers))
        workers = done.workers
        found.append(done)
    return found


def _activity(grown: tuple[float, ...], after: Totals) -> Activity:
    arrivals, starts, finishes, waits, runtime = grown
    return Activity(
        round(arrivals), round(starts), round(finishes), waits, runtime, round(after.quantity)
    )


def growth(totals: Sequence[Totals]) -> list[list[float]]:
    """Return by how much each of the five counters grew from one sample of a pool to the next.

    Counters that fell had been lost and began again at zero; or, if none lost more than half, the
    ledger's server was replaced by one that lacked the latest reports.
    """
    counters = [*zip(*(its[:5] for its in totals), strict=True)]
    grown = [[after - before for before, after in pairwise(values)] for values in counters]
    fell = {i for steps in grown if min(steps, default=0) < 0 for i, n in enumerate(steps) if n < 0}
    for i in fell:
        some_left = all(2 * values[i + 1] >= values[i] for values in counters)
        for values, steps in zip(counters, grown, strict=True):
            steps[i] = max(steps[i], 0) if some_left else values[i + 1]
    return grown
