"""The bill: how long workers ran, by pool, day (UTC) and size, and what that costs.

Heroku bills wall-clock time to the second. A dyno that runs all month costs its monthly price, and
one that runs half a month costs half of it. So a second costs the price divided by the seconds of
its month, which may have 28 to 31 days. See "Information on Heroku's pricing and usage"
(https://help.heroku.com/FMZU2CVT) and "Why am I being billed?" (https://help.heroku.com/5CAT4ZI1).

All times and durations here are whole milliseconds, so that sums are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from fractions import Fraction
from typing import NamedTuple

DAY = 86_400_000  # ms
#: The bill keeps the last days on which workers ran, this many: two months' at least.
KEPT_DAYS = 62
#: Time is added to the bill this often (ms) while nothing changes.
ADDS_EVERY = 60_000

#: Milliseconds of worker time, by day (ISO format).
Days = Mapping[str, int]


class Entry(NamedTuple):
    """One line of the bill."""

    pool: str
    #: A day in UTC, as in ``2026-11-29``.
    day: str
    #: The size of the workers, in small letters; empty if the platform has no sizes.
    size: str
    #: Worker time (ms).
    worked: int


class Account(NamedTuple):
    """Workers of one pool and size whose time is on the bill up to *at* (ledger's time, ms)."""

    at: int
    quantity: int
    size: str = ""
    #: The quantity that the platform was told, while it is not known whether it has obeyed. Until
    #: then no time is added to the bill, since the platform may have obeyed at *at*.
    to: int | None = None

    def due(self, now: int, offset: int = 0) -> bool:
        """Return whether time must be added although nothing has changed."""
        another_day = (self.at - offset) // DAY != (now - offset) // DAY
        return self.to is None and (now - self.at >= ADDS_EVERY or another_day)

    def until(self, now: int, offset: int = 0, quantity: int | None = None) -> dict[str, int]:
        """Return the time worked from *at* until *now*, by its own quantity or by another one."""
        many = self.quantity if quantity is None else quantity
        return {d: many * ms for d, ms in by_day(self.at, now, offset) if many}


def by_day(begin: int, end: int, offset: int = 0) -> Iterator[tuple[str, int]]:
    """Split the time from *begin* to *end* at midnight, UTC; yield days and milliseconds.

    *offset* is the ledger's time minus that of the calendar.
    """
    at, end = begin - offset, end - offset
    while at < end:
        next_day = (at // DAY + 1) * DAY
        yield day_of(at), min(next_day, end) - at
        at = next_day


def day_of(at: int, offset: int = 0) -> str:
    """Return the day (UTC) of a time."""
    days = (at - offset) // DAY
    return (date(1970, 1, 1) + timedelta(days)).isoformat()


def midnight(day: str, offset: int = 0) -> int:
    """Return when a *day* begins (ledger's time)."""
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * DAY + offset


def month_begins(now: int, offset: int = 0) -> int:
    """Return when the month began (ledger's time)."""
    return midnight(f"{day_of(now, offset)[:7]}-01", offset)


def month_lasts(day: str) -> int:
    """Return the length (ms) of the month that has this *day*."""
    first = date.fromisoformat(f"{day[:7]}-01")
    return ((first + timedelta(31)).replace(day=1) - first).days * DAY


def cost(entries: Iterable[Entry], prices: Mapping[str, int]) -> Fraction | None:
    """Return what *entries* cost (cents) at monthly *prices* (cents) by size.

    None if a price is not known.
    """
    total = Fraction(0)
    for entry in entries:
        price = prices.get(entry.size)
        if entry.worked and price is None:
            return None
        total += Fraction(entry.worked * (price or 0), month_lasts(entry.day))
    return total
