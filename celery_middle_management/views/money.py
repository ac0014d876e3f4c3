"""What the workers cost: today, this month, each day, and against max_workers always on.

Days and months are those of UTC. docs/status.md describes every field of the document.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import groupby
from typing import Any

from celery_middle_management.core.bill import Entry, by_day, cost, day_of, midnight, month_begins
from celery_middle_management.core.pools import Pool
from celery_middle_management.ledger.accounts import (
    entries_of,
    open_entries,
    read_accounts,
    read_prices,
)
from celery_middle_management.ledger.model import Snapshot, millis
from celery_middle_management.settings.model import Settings

Document = dict[str, Any]
#: A bill as the ledger returns it: worker time (ms) by ``<pool>/<day>/<size>``.
Bill = Mapping[str, str | int]

_HOUR = 3_600_000


def money_of(settings: Settings, snapshot: Snapshot, bill: Bill) -> Document:
    """Describe what every pool, and all together, cost until *snapshot*. Unknown is None."""
    prices, entries = read_prices(snapshot), _entries(snapshot, bill)
    now, offset = millis(snapshot.now), millis(snapshot.offset)
    begin = _begin(snapshot, entries)
    mine = {p.name: [e for e in entries if e.pool == p.name] for p in settings.pools}
    always = {p.name: _always_on(p, snapshot, begin, mine[p.name]) for p in settings.pools}

    def sums(mine: list[Entry], most: list[Entry]) -> Document:
        today, month = day_of(now, offset), day_of(now, offset)[:7]
        this_month = [e for e in mine if e.day.startswith(month)]
        return {
            "today": _sum([e for e in mine if e.day == today], prices.cents),
            "month": _sum(this_month, prices.cents),
            "always_on": _sum(most, prices.cents),
            "saved": _saved(this_month, most, prices.cents),
        }

    names = [*always, *sorted({e.pool for e in entries} - always.keys())]
    return {
        "currency": "USD",
        # False if the platform has no prices, so that dollars are always None.
        "priced": settings.platform == "heroku",
        "prices_at": snapshot.iso(prices.at or None),
        "since": None if begin is None else snapshot.iso(begin / 1000),
        **sums(entries, [e for most in always.values() for e in most]),
        "pools": [
            {"name": name} | sums([e for e in entries if e.pool == name], always.get(name, []))
            for name in names
        ],
    }


def days_of(snapshot: Snapshot, bill: Bill) -> list[Document]:
    """Describe what each pool cost on each day, the earliest first."""
    cents = read_prices(snapshot).cents
    entries = sorted(_entries(snapshot, bill), key=lambda e: (e.day, e.pool))
    return [
        {"day": day, "pool": pool, **_sum(list(its), cents)}
        for (day, pool), its in groupby(entries, key=lambda e: (e.day, e.pool))
    ]


def _entries(snapshot: Snapshot, bill: Bill) -> list[Entry]:
    return [*entries_of(bill), *open_entries(snapshot)]


def _begin(snapshot: Snapshot, entries: Iterable[Entry]) -> int | None:
    """Return since when (ms) this month is on the bill; None if it is not."""
    since = snapshot.state.get("billed_since")
    if since is None:
        return None
    offset = millis(snapshot.offset)
    first = month_begins(millis(snapshot.now), offset)
    # If the ledger has lost its state, the bill may be older.
    days = (e.day for e in entries if day_of(first, offset) <= e.day < day_of(int(since), offset))
    earliest = min(days, default=None)
    return max(first, int(since)) if earliest is None else midnight(earliest, offset)


def _always_on(
    pool: Pool, snapshot: Snapshot, begin: int | None, worked: Sequence[Entry]
) -> list[Entry]:
    """Return what would be on this month's bill if max_workers had been on all the time.

    A day's workers would have had the sizes that this day's workers had; on a day without any,
    those of the last day that had some, or of the next.
    """
    if begin is None:
        return []
    now, offset = millis(snapshot.now), millis(snapshot.offset)
    sizes: dict[str, Counter[str]] = {}
    for entry in sorted((e for e in worked if e.worked), key=lambda e: e.day):
        sizes.setdefault(entry.day, Counter())[entry.size] += entry.worked
    earlier = [mix for day, mix in sizes.items() if day < day_of(begin, offset)]
    known = [*earlier[-1:], *sizes.values(), Counter({_size_now(pool, snapshot): 1})]
    mix = known[0]
    found: list[Entry] = []
    for day, ms in by_day(begin, now, offset):
        mix = sizes.get(day, mix)
        found += _shared(pool.name, day, pool.widest.max_workers * ms, mix)
    return found


def _shared(pool: str, day: str, worked: int, mix: Mapping[str, int]) -> Iterator[Entry]:
    """Share worker time (ms) among sizes in proportion to *mix*, to the last millisecond."""
    left, weights = worked, sum(mix.values())
    for size, weight in mix.items():
        part = left * weight // weights
        left, weights = left - part, weights - weight
        yield Entry(pool, day, size, part)


def _size_now(pool: Pool, snapshot: Snapshot) -> str:
    if pool.one_off and pool.dyno_size:
        return pool.dyno_size.lower()
    account = read_accounts(snapshot).get(pool.name)
    return account.size if account is not None else ""


def _sum(entries: list[Entry], cents: Mapping[str, int]) -> Document:
    """Return hours and dollars; None if a price is unknown."""
    total = cost(entries, cents)
    return {
        "hours": round(sum(e.worked for e in entries) / _HOUR, 3),
        "dollars": None if total is None else round(float(total / 100), 4),
    }


def _saved(mine: list[Entry], most: list[Entry], cents: Mapping[str, int]) -> float | None:
    """Return the part of the cost that was saved, or of the hours if a price is unknown."""
    paid, worst = cost(mine, cents), cost(most, cents)
    if paid is None or worst is None:
        paid, worst = Fraction(sum(e.worked for e in mine)), Fraction(sum(e.worked for e in most))
    return round(float(1 - paid / worst), 4) if worst else None
