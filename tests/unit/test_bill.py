"""The bill's arithmetic: days, months, prices."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_middle_management.core.bill import (
    DAY,
    Account,
    Entry,
    by_day,
    cost,
    day_of,
    month_begins,
    month_lasts,
)

HOUR = 3_600_000
moments = st.integers(0, 4_000_000_000_000)
offsets = st.integers(-40 * DAY, 40 * DAY)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000)


@pytest.mark.parametrize(
    ("begin", "end", "days"),
    [
        ("2026-11-29T10:00", "2026-11-29T12:30", {"2026-11-29": 2.5}),
        ("2026-11-30T22:00", "2026-12-01T01:00", {"2026-11-30": 2, "2026-12-01": 1}),
        ("2026-11-29T00:00", "2026-11-30T00:00", {"2026-11-29": 24}),
        (
            "2024-02-28T23:00",
            "2024-03-01T01:00",
            {"2024-02-28": 1, "2024-02-29": 24, "2024-03-01": 1},
        ),
        ("2026-11-29T10:00", "2026-11-29T10:00", {}),
        ("2026-11-29T10:00", "2026-11-29T09:00", {}),
    ],
)
def test_time_is_split_at_midnight(begin: str, end: str, days: dict[str, float]) -> None:
    assert dict(by_day(ms(begin), ms(end))) == {d: h * HOUR for d, h in days.items()}


def test_the_days_are_those_of_the_calendar_although_the_ledgers_clock_is_ahead() -> None:
    ahead = 3 * HOUR
    begin, end = ms("2026-11-30T00:00"), ms("2026-11-30T04:00")
    assert dict(by_day(begin, end, ahead)) == {"2026-11-29": 3 * HOUR, "2026-11-30": HOUR}
    assert day_of(begin, ahead) == "2026-11-29"
    assert month_begins(ms("2026-12-01T02:00"), ahead) == ms("2026-11-01T03:00")


@given(begin=moments, lasts=st.integers(0, 70 * DAY), offset=offsets)
def test_no_millisecond_is_lost_and_none_counted_twice(begin: int, lasts: int, offset: int) -> None:
    days = list(by_day(begin, begin + lasts, offset))
    assert sum(part for _, part in days) == lasts
    assert len({day for day, _ in days}) == len(days)
    assert all(0 < part <= DAY for _, part in days)


@given(begin=moments, parts=st.lists(st.integers(0, 3 * DAY), max_size=8), many=st.integers(0, 9))
def test_it_makes_no_difference_how_often_time_is_added(
    begin: int, parts: list[int], many: int
) -> None:
    at, found = begin, dict[str, int]()
    for part in parts:
        for day, worked in Account(at, many).until(at + part).items():
            found[day] = found.get(day, 0) + worked
        at += part
    assert found == Account(begin, many).until(at)


def test_an_account_is_due_each_minute_and_each_midnight_unless_it_waits_for_an_answer() -> None:
    at = ms("2026-11-29T23:59:30")
    account = Account(at, 1)
    assert not account.due(at + 29_999)
    assert account.due(at + 30_000)  # midnight
    noon = Account(ms("2026-11-29T12:00"), 1)
    assert not noon.due(noon.at + 59_999)
    assert noon.due(noon.at + 60_000)
    assert not noon._replace(to=3).due(noon.at + 2 * DAY)


@pytest.mark.parametrize(
    ("day", "days"),
    [("2026-11-29", 30), ("2026-12-31", 31), ("2026-02-01", 28), ("2024-02-09", 29)],
)
def test_a_dyno_that_runs_all_month_costs_its_monthly_price(day: str, days: int) -> None:
    assert month_lasts(day) == days * DAY
    whole = Entry("worker", day, "basic", days * DAY)
    assert cost([whole], {"basic": 700}) == 700
    assert cost([whole._replace(worked=days * DAY // 2)], {"basic": 700}) == 350


def test_an_unknown_price_is_not_nothing() -> None:
    entries = [Entry("worker", "2026-11-29", "private-s", 5), Entry("a", "2026-11-29", "basic", 5)]
    assert cost(entries, {"basic": 700}) is None
    assert cost([entries[0]._replace(worked=0)], {}) == 0
    assert cost([], {}) == Fraction(0)
