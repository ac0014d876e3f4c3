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


class _Span(NamedTuple):
    """A minute in which so many tasks were published, and how long (s) one ran on average."""

    begin: float
    arrivals: int
    mean: float | None


def trace_of(pool: str, samples: Iterable[Sample], variation: float, seed: int) -> Trace:
    """Return tasks like those that a pool had from the first of the *samples* to the last.

    Tasks are published at random moments of their minute. Their run times are lognormal, with the
    mean of that minute, or of all, and *variation*, the standard deviation divided by the mean.
    """
    spans = list(_spans(pool, sorted(samples, key=lambda sample: sample.at)))
    known = [(span.arrivals, span.mean) for span in spans if span.mean is not None]
    tasks = sum(arrivals for arrivals, _ in known)
    usual = sum(n * mean for n, mean in known) / tasks if tasks else _UNKNOWN
    random, sigma = Random(seed), sqrt(log(1 + variation**2))
    published, runtimes = array("d"), array("d")
    for span in spans:
        moments = sorted(random.random() for _ in range(span.arrivals))
        published.extend(span.begin + MINUTE * moment for moment in moments)
        runtimes.extend(RunTimes(span.mean or usual, sigma).draw(span.arrivals, random))
    first = published[0] if published else 0.0
    return Trace(f"history of {pool}", array("d", (at - first for at in published)), runtimes)


def _spans(pool: str, samples: list[Sample]) -> Iterator[_Span]:
    """Yield what happened from each sample to the next, in the minute that the sample begins.

    A minute without a sample had no reports, so nothing was published in it.
    """
    totals = [sample.pools.get(pool, Totals()) for sample in samples]
    for sample, grown in zip(samples, zip(*growth(totals), strict=True), strict=False):
        arrivals, _, finishes, _, runtime = grown
        mean = runtime / finishes if finishes and runtime > 0 else None
        yield _Span(sample.at, round(arrivals), mean)
