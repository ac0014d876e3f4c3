"""A trace made from an app's own history, which has no single tasks but counts and run times."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from math import log, sqrt
from random import Random
from typing import NamedTuple

from celery_middle_management.core.history import MINUTE, Sample, Totals, growth
from celery_middle_management.sim.runtimes import RunTimes
from celery_middle_management.sim.trace import Trace

#: A task of an unknown run time runs for this long (s).
_UNKNOWN = 1.0


class _Minute(NamedTuple):
    """The tasks published and finished in a minute, and how long (s) the latter ran in all."""

    begin: float
    arrivals: int
    finishes: int
    runtime: float


def trace_of(pool: str, samples: Iterable[Sample], variation: float, seed: int) -> Trace:
    """Return tasks like those that a pool had from the first of the *samples* to the last.

    Tasks are published at random moments of their minute, and taken to finish in the same order.
    Their run times are lognormal, with the mean of the minute in which they finished, or of all,
    and *variation*, the standard deviation divided by the mean.
    """
    minutes = list(_minutes(pool, sorted(samples, key=lambda sample: sample.at)))
    random, sigma = Random(seed), sqrt(log(1 + variation**2))
    published, runtimes = array("d"), array("d")
    for minute in minutes:
        moments = sorted(random.random() for _ in range(minute.arrivals))
        published.extend(minute.begin + MINUTE * moment for moment in moments)
    for tasks, mean in _means(minutes):
        most = min(tasks, len(published) - len(runtimes))
        runtimes.extend(RunTimes(mean, sigma).draw(most, random))
    first = published[0] if published else 0.0
    return Trace(f"history of {pool}", array("d", (at - first for at in published)), runtimes)


def _minutes(pool: str, samples: list[Sample]) -> Iterator[_Minute]:
    """Yield what happened from each sample to the next, in the minute that the sample begins.

    A minute without a sample had no reports, so nothing was published in it.
    """
    totals = [sample.pools.get(pool, Totals()) for sample in samples]
    for sample, grown in zip(samples, zip(*growth(totals), strict=True), strict=False):
        arrivals, _, finishes, _, runtime = grown
        yield _Minute(sample.at, round(arrivals), round(finishes), runtime)


def _means(minutes: list[_Minute]) -> Iterator[tuple[int, float]]:
    """Yield how many tasks finished in a row, and their mean run time (s); the rest at the end.

    Samples tell tenths of a second. So minutes of short tasks are taken together.
    """
    tasks, runtime = 0, 0.0
    for minute in minutes:
        tasks, runtime = tasks + minute.finishes, runtime + minute.runtime
        if tasks and runtime > 0:
            yield tasks, runtime / tasks
            tasks, runtime = 0, 0.0
    finished, work = sum(m.finishes for m in minutes), sum(m.runtime for m in minutes)
    usual = work / finished if finished and work > 0 else _UNKNOWN
    yield sum(minute.arrivals for minute in minutes), usual
