"""The activity of a pool, minute by minute, derived from counters that only grow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    #: The number of workers that there should be; not a counter.
    quantity: float = 0


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
    grown = {at // MINUTE: _grown(one, other) for (at, one), (_, other) in pairwise(known)}
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


def _grown(before: Totals, after: Totals) -> Activity:
    if after.published < before.published or after.finished < before.finished:
        before = Totals()
    return Activity(
        arrivals=round(after.published - before.published),
        starts=round(after.started - before.started),
        finishes=round(after.finished - before.finished),
        waits=after.waits - before.waits,
        runtime=after.runtime - before.runtime,
        workers=round(after.quantity),
    )
