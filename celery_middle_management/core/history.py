"""What a pool did, minute by minute, out of counters that only grow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

MINUTE = 60.0


class Totals(NamedTuple):
    """A pool's counters at one moment; seconds to a tenth. The ledger has them by these names.

    More may be added at the end: releases read each other's.
    """

    #: Tasks that needed a worker: published, or fallen due.
    published: float = 0
    started: float = 0
    finished: float = 0
    #: Of those started, how long (s) they have waited in all.
    waits: float = 0.0
    #: Of those finished, how long (s) they have run in all.
    runtime: float = 0.0
    #: Workers hired.
    quantity: float = 0


@dataclass(frozen=True)
class Sample:
    """The counters of every pool when a minute began, *at* by the ledger's time (Unix, s)."""

    at: float
    pools: Mapping[str, Totals]


class Activity(NamedTuple):
    """What a pool did in one minute, and how many workers it had at its end."""

    arrivals: int = 0
    starts: int = 0
    finishes: int = 0
    #: s, in all.
    waits: float = 0.0
    #: s, in all.
    runtime: float = 0.0
    workers: int = 0


def activity(samples: Iterable[Sample], pool: str, now: float, minutes: int) -> list[Activity]:
    """What *pool* did in each of the last *minutes*, that of *now* included, the latest last.

    *samples* are in any order; one of now completes them. Where a minute has none, nobody told
    anything in it: what the counters grew by until the next one belongs to the last minute that
    has. Counters that fell were lost, and began anew.
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
