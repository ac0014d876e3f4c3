"""What each pool did over the last hour, day and week, as rows of numbers for plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

from celery_middle_management.core.history import MINUTE, Sample, Totals, growth
from celery_middle_management.core.pool_state import iso

TEN_MINUTES = 10 * MINUTE
#: The numbers of intervals in an hour of minutes, and in a day and a week of ten minutes each.
HOUR, DAY, WEEK = 60, 144, 1008
#: What a sample tells of a pool that it does not know.
_ABSENT = Totals()
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
        totals = [sample.pools.get(pool, _ABSENT) for sample in self._samples]
        arrivals, starts, finishes, waits = map(self._added_up, growth(totals)[:4])
        return {
            "arrivals": [*map(int, arrivals)],
            "finishes": [*map(int, finishes)],
            "waiting": self._most_of([its.waiting for its in totals]),
            "running": self._most_of([its.running for its in totals]),
            "scheduled": self._most_of([its.scheduled for its in totals]),
            "workers": self._workers(totals[1:]),
            "mean_wait": [
                round(wait / n, 2) if n else None for wait, n in zip(waits, starts, strict=True)
            ],
        }

    def _added_up(self, grown: Iterable[float]) -> list[float]:
        """Return a counter's growth in each interval.

        Growth until a sample belongs to the interval that began with the sample before.
        """
        row = [0.0] * self._length
        for i, n in zip(self._begun, grown, strict=False):
            if i >= 0:
                row[i] += n
        return row

    def _most_of(self, tasks: Iterable[float | None]) -> list[int | None]:
        """Return the most tasks that there were in each interval, None where no sample tells."""
        row: list[int | None] = [None] * self._length
        for i, n in zip(self._told, tasks, strict=True):
            if n is not None and i >= 0:
                most = row[i]
                if most is None or n > most:
                    row[i] = int(n)
        return row

    def _workers(self, totals: Iterable[Totals]) -> list[int | None]:
        """Return the most workers of each interval, from all samples but the first.

        Where no sample tells, there were as many as before.
        """
        most: list[int | None] = [None] * self._length
        at_end, before = most.copy(), None
        for i, its in zip(self._begun, totals, strict=False):
            if its is _ABSENT:
                continue
            quantity = int(its.quantity)
            if i >= 0:
                most[i] = max(most[i] or 0, int(its.peak or 0), quantity)
                at_end[i] = quantity
            else:
                before = quantity
        for i, workers in enumerate(most):
            if workers is None:
                most[i] = before
            else:
                before = at_end[i]
        return most
