"""What each pool did over the last hour, day and week, as rows of numbers for plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, inf
from typing import Any

from celery_middle_management.core.history import MINUTE, Sample, Totals, growth
from celery_middle_management.core.iso_time import iso

TEN_MINUTES = 10 * MINUTE
#: The numbers of intervals in an hour of minutes, and in a day and a week of ten minutes each.
HOUR, DAY, WEEK = 60, 144, 1008
#: What a sample tells of a pool that it does not know.
_ABSENT = Totals()
#: An interval before all others: of it nothing is shown.
_UNKNOWN = -1
#: A sample, and the number, since 1970, of the interval of whose tasks it tells.
_Told = tuple[Sample, int]
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
    hour = _Intervals(MINUTE, HOUR, _told_singly(single, MINUTE), now)
    week = _Intervals(TEN_MINUTES, WEEK, _told(summed, single), now)
    rows = {name: week.rows_of(name) for name in names}
    days = {
        name: {what: values[-DAY:] for what, values in its.items()} for name, its in rows.items()
    }
    return {
        "hour": hour.document({name: hour.rows_of(name) for name in names}, HOUR, offset),
        "day": week.document(days, DAY, offset),
        "week": week.document(rows, WEEK, offset),
    }


def _told_singly(single: Iterable[Sample], step: float) -> list[_Told]:
    """Return samples of single minutes, each with the interval that it ends or lies in."""
    return [(sample, ceil(sample.at / step) - 1) for sample in single]


def _told(summed: Sequence[Sample], single: Sequence[Sample]) -> list[_Told]:
    """Return samples that sum up ten minutes, each with the interval that the one before began.

    What none sums up is known from those of single minutes: the latest, and the time in which a
    release evaluated that sums up nothing.
    """
    found: list[_Told] = []
    before = -inf
    for sample in summed:
        began = before // TEN_MINUTES
        if sample.at // TEN_MINUTES - began > 1:
            between = (s for s in single if before < s.at < sample.at)
            found += _told_singly(between, TEN_MINUTES) if found else ()
        found.append((sample, int(began) if found else _UNKNOWN))
        before = sample.at
    return found + _told_singly((s for s in single if s.at >= before), TEN_MINUTES)


class _Intervals:
    """The last *length* intervals of *step* seconds each, and the samples that tell of them."""

    def __init__(self, step: float, length: int, told: Sequence[_Told], now: Sample) -> None:
        self._step, self._length = step, length
        self._end = int(now.at // step) + 1
        first = self._end - length
        self._samples = [*(sample for sample, _ in told), now]
        #: The interval that begins with each sample, or in which it lies.
        self._begun = [int(sample.at // step) - first for sample in self._samples]
        #: The interval of whose tasks each sample tells.
        self._told = [*(interval - first for _, interval in told), self._begun[-1]]

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
        for i, told, its in zip(self._begun, self._told[1:], totals, strict=False):
            if its is _ABSENT:
                continue
            quantity = int(its.quantity)
            if its.peak is not None and told >= 0:
                most[told] = max(most[told] or 0, int(its.peak))
            if i >= 0:
                most[i] = max(most[i] or 0, quantity)
                at_end[i] = quantity
            else:
                before = quantity
        for i, workers in enumerate(most):
            if workers is None:
                most[i] = before
            elif at_end[i] is not None:
                before = at_end[i]
        return most
