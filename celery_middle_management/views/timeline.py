"""What each pool did over the last hour, day and week, as rows of numbers for plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil
from typing import Any

from celery_middle_management.core.history import MINUTE, Sample, Totals, growth
from celery_middle_management.core.pool_state import iso

TEN_MINUTES = 10 * MINUTE
#: The numbers of intervals in an hour of minutes, and in a day and a week of ten minutes each.
HOUR, DAY, WEEK = 60, 144, 1008
Document = dict[str, Any]


def timeline_of(
    pools: Iterable[str],
    now: Sample,
    minutes: Sequence[Sample],
    tens: Sequence[Sample],
    offset: float = 0.0,
) -> Document:
    """Return the rows of all *pools*; the last interval of each is the one of *now*.

    Args:
        pools: their names.
        now: a sample taken now, in the middle of a minute.
        minutes: the latest samples of single minutes, of an hour at least, in any order.
        tens: the samples that sum up ten minutes, in any order.
        offset: the ledger's time minus that of Redis's clock (s).
    """
    names = tuple(pools)
    single, summed = (sorted(samples, key=lambda s: s.at) for samples in (minutes, tens))
    # What no sample sums up yet is known from those of single minutes.
    latest = [s for s in single if not summed or s.at >= summed[-1].at]
    hour = _Intervals(MINUTE, HOUR, [], single, now)
    week = _Intervals(TEN_MINUTES, WEEK, summed, latest, now)
    rows = {name: week.rows_of(name) for name in names}
    days = {
        name: {what: values[-DAY:] for what, values in its.items()} for name, its in rows.items()
    }
    return {
        "hour": hour.document({name: hour.rows_of(name) for name in names}, HOUR, offset),
        "day": week.document(days, DAY, offset),
        "week": week.document(rows, WEEK, offset),
    }


class _Intervals:
    """The last *length* intervals of *step* seconds each, and the samples that tell of them."""

    def __init__(
        self,
        step: float,
        length: int,
        summed: Sequence[Sample],
        single: Sequence[Sample],
        now: Sample,
    ) -> None:
        self._step, self._length = step, length
        self._end = int(now.at // step) + 1
        first = self._end - length
        self._samples = [*summed, *single, now]
        #: The interval that begins with each sample, or in which it lies.
        self._begun = [int(sample.at // step) - first for sample in self._samples]
        #: The interval whose tasks each sample tells. One that sums up tells those of the interval
        #: that began with the sample before; any other one tells those of its moment.
        self._told = [
            *[-1, *self._begun][: len(summed)],
            *(ceil(sample.at / step) - 1 - first for sample in single),
            self._begun[-1],
        ]

    def document(self, pools: Document, length: int, offset: float) -> Document:
        """Return the rows of the *pools*, of the last *length* intervals, with their times."""
        start = (self._end - length) * self._step - offset
        return {"start": iso(start), "step": int(self._step), "pools": pools}

    def rows_of(self, pool: str) -> Document:
        """Return the rows of one pool."""
        totals = [sample.pools.get(pool) for sample in self._samples]
        return {
            **self._growth(totals),
            **self._tasks(totals),
            "workers": self._workers(totals),
        }

    def _growth(self, totals: Sequence[Totals | None]) -> Document:
        """What happened in each interval: growth until a sample begins with the one before."""
        arrivals, finishes, starts = ([0] * self._length for _ in range(3))
        waits = [0.0] * self._length
        for i, (before, after) in zip(self._begun, pairwise(totals), strict=False):
            if i >= 0 and after:
                done = growth(before or Totals(), after)
                arrivals[i] += done.arrivals
                finishes[i] += done.finishes
                starts[i] += done.starts
                waits[i] += done.waits
        mean = [round(w / n, 2) if n else None for w, n in zip(waits, starts, strict=True)]
        return {"arrivals": arrivals, "finishes": finishes, "mean_wait": mean}

    def _tasks(self, totals: Sequence[Totals | None]) -> Document:
        """The most tasks that there were in each interval, as far as samples tell."""
        rows: list[list[int | None]] = [[None] * self._length for _ in range(3)]
        for i, told in zip(self._told, totals, strict=True):
            if i >= 0 and told:
                for row, tasks in zip(rows, told[6:9], strict=True):
                    row[i] = _most(row[i], tasks)
        return dict(zip(("waiting", "running", "scheduled"), rows, strict=True))

    def _workers(self, totals: Sequence[Totals | None]) -> list[int | None]:
        """The most workers of each interval; where no sample tells, those of the one before."""
        row: list[int | None] = [None] * self._length
        after_it, known = row.copy(), None
        for i, told in zip(self._begun, totals[1:], strict=False):
            if told and i >= 0:
                row[i] = _most(row[i], _most(told.quantity, told.peak))
                after_it[i] = round(told.quantity)
            elif told:
                known = round(told.quantity)
        for i, most in enumerate(row):
            if most is None:
                row[i] = known
            else:
                known = after_it[i]
        return row


def _most(one: float | None, other: float | None) -> int | None:
    known = [round(n) for n in (one, other) if n is not None]
    return max(known, default=None)
