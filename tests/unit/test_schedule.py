"""The limits that cron expressions change at certain times, also where the clock changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_middle_management.core.policies.schedule import Entry, Schedule, flaw_of
from celery_middle_management.core.pools import Pool

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
#: The 1st, 16th or 31st that is also the second Monday of its month.
NEVER = "0 0 */15 * mon#2"
WEEK = (Entry("0 8 * * mon-fri", 3, 20), Entry("0 18 * * *", 0, 5))


def at(text: str, zone: str = BERLIN) -> float:
    """A local time as Unix time; with an offset of its own, the zone does not matter."""
    local = datetime.fromisoformat(text)
    return (local if local.tzinfo else local.replace(tzinfo=ZoneInfo(zone))).timestamp()


def fires(cron: str, zone: str, begin: str, end: str) -> list[str]:
    """When an expression fires in a time, with the offset of its zone then."""
    schedule, now, found = Schedule((Entry(cron, 0, 1),), zone), at(begin, zone), []
    while (until := schedule.at(now).until or 0.0) <= at(end, zone):
        found.append(f"{datetime.fromtimestamp(until, ZoneInfo(zone)):%d %H:%M %z}")
        assert schedule.at(until).since == until, "seen from later, too"
        now = until
    return found


def test_the_entry_that_fired_last_holds_until_any_fires() -> None:
    schedule = Schedule(WEEK, BERLIN)
    for now, entry, since, until in [
        ("2026-06-05T07:59:59.900", 1, "2026-06-04T18:00", "2026-06-05T08:00"),  # Friday
        ("2026-06-05T08:00", 0, "2026-06-05T08:00", "2026-06-05T18:00"),
        ("2026-06-05T12:34:56.700", 0, "2026-06-05T08:00", "2026-06-05T18:00"),
        ("2026-06-05T18:00", 1, "2026-06-05T18:00", "2026-06-06T18:00"),
        ("2026-06-06T18:00", 1, "2026-06-06T18:00", "2026-06-07T18:00"),
        ("2026-06-08T07:59", 1, "2026-06-07T18:00", "2026-06-08T08:00"),
    ]:
        assert schedule.at(at(now)) == (WEEK[entry], at(since), at(until), BERLIN)


def test_of_two_that_fire_in_the_same_minute_the_later_one_in_the_list_wins() -> None:
    daily, monday = Entry("0 8 * * *", 1, 2), Entry("0 8 * * mon", 3, 4)
    now = at("2026-06-01T12:00")
    assert Schedule((daily, monday), BERLIN).at(now).entry == monday
    assert Schedule((monday, daily), BERLIN).at(now).entry == daily


def test_a_rare_one_holds_for_years() -> None:
    found = Schedule((Entry("0 0 29 2 *", 1, 2),), "UTC").at(at("2027-03-01", "UTC"))
    assert (found.since, found.until) == (at("2024-02-29", "UTC"), at("2028-02-29", "UTC"))


def test_as_long_as_none_has_fired_the_pools_own_limits_hold() -> None:
    never = Schedule((Entry(NEVER, 7, 8),), "UTC")
    pool, now = Pool("worker", None, 1, 2, 10, schedule=never), at("2026-06-01", "UTC")
    assert never.at(now) == (None, None, None, "UTC")
    assert (pool.at(now).min_workers, pool.at(now).max_workers) == (1, 2)
    assert pool.at(now).limits_until is None
    other = Schedule((*never.entries, Entry("0 0 1 7 *", 3, 4)), "UTC")
    assert other.at(now).since == at("2025-07-01", "UTC")


def test_a_pool_has_the_limits_in_force() -> None:
    pool = Pool("worker", None, 1, 2, 10, schedule=Schedule(WEEK, BERLIN))
    now = at("2026-06-05T12:00")
    found = pool.at(now)
    assert (found.min_workers, found.max_workers) == (3, 20)
    assert found.limits_until == at("2026-06-05T18:00")
    assert found.at(at("2026-06-05T19:00")) is found, "they were those of a moment"
    assert (pool.widest.min_workers, pool.widest.max_workers) == (0, 20)
    assert pool.lowest_maximum == 5
    plain = Pool("worker", None, 1, 2, 10)
    assert plain.at(now) is plain
    assert (plain.widest, plain.lowest_maximum) == (plain, 2)


def test_where_the_clock_has_an_offset_times_have_it_too() -> None:
    pool = Pool("worker", None, 1, 2, 10, schedule=Schedule(WEEK, BERLIN))
    found = pool.at(at("2026-06-05T13:00"), offset=5 * 3600.0 + 1)
    assert (found.max_workers, found.limits_until) == (5, at("2026-06-05T13:00:01"))


# -- clock changes


@pytest.mark.parametrize(
    ("cron", "zone", "begin", "end", "expected"),
    [
        # The clock goes from 2 to 3: half past two does not exist, ...
        (
            *("30 2 * * *", BERLIN, "2026-03-28T00:00", "2026-03-30T04:00"),
            ["28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"],
        ),
        (
            *("0,30 2,3 * * *", BERLIN, "2026-03-29T00:00", "2026-03-29T06:00"),
            ["29 03:00 +0200", "29 03:30 +0200"],
        ),
        # ... and an expression that goes by the clock leaves it out.
        (
            *("30 * * * *", BERLIN, "2026-03-29T01:00", "2026-03-29T04:00"),
            ["29 01:30 +0100", "29 03:30 +0200"],
        ),
        # The clock goes from 3 to 2: half past two comes twice, ...
        (
            *("30 2 * * *", BERLIN, "2026-10-24T00:00", "2026-10-26T04:00"),
            ["24 02:30 +0200", "25 02:30 +0200", "26 02:30 +0100"],
        ),
        (
            *("30 1-3 * * *", BERLIN, "2026-10-25T00:00", "2026-10-25T04:00"),
            ["25 01:30 +0200", "25 02:30 +0200", "25 03:30 +0100"],
        ),
        # ... and an expression that goes by the clock fires at both.
        (
            *("30 * * * *", BERLIN, "2026-10-25T01:00", "2026-10-25T03:00"),
            ["25 01:30 +0200", "25 02:30 +0200", "25 02:30 +0100"],
        ),
        (
            *("0 2 * * *", NEW_YORK, "2026-03-07T12:00", "2026-03-09T12:00"),
            ["08 03:00 -0400", "09 02:00 -0400"],
        ),
        (
            *("59 1 * * *", NEW_YORK, "2026-11-01T00:00", "2026-11-02T12:00"),
            ["01 01:59 -0400", "02 01:59 -0500"],
        ),
        # Half an hour: from 2:00 to 2:30, and back.
        (
            *("15 2 * * *", LORD_HOWE, "2026-10-03T12:00", "2026-10-05T12:00"),
            ["04 02:30 +1100", "05 02:15 +1100"],
        ),
        (
            *("45 1 * * *", LORD_HOWE, "2026-04-05T00:00", "2026-04-06T12:00"),
            ["05 01:45 +1100", "06 01:45 +1030"],
        ),
        (
            *("*/20 1 * * *", LORD_HOWE, "2026-04-05T00:00", "2026-04-05T12:00"),
            ["05 01:00 +1100", "05 01:20 +1100", "05 01:40 +1100", "05 01:40 +1030"],
        ),
        (
            *("30 2 * * *", "UTC", "2026-03-28T12:00", "2026-03-30T12:00"),
            ["29 02:30 +0000", "30 02:30 +0000"],
        ),
    ],
)
def test_when_an_expression_fires(
    cron: str, zone: str, begin: str, end: str, expected: list[str]
) -> None:
    assert fires(cron, zone, begin, end) == expected


def test_in_the_hour_that_comes_again_what_fired_in_it_before_holds() -> None:
    night = Schedule((Entry("0 1 * * *", 1, 1), Entry("30 2 * * *", 2, 2)), BERLIN)
    for now in ("02:30+02:00", "02:59+02:00", "02:00+01:00", "02:30+01:00", "03:00+01:00"):
        found = night.at(at(f"2026-10-25T{now}"))
        assert found.entry == night.entries[1]
        assert found.since == at("2026-10-25T02:30+02:00")
        assert found.until == at("2026-10-26T01:00")


# -- any schedule


ZONES = [BERLIN, NEW_YORK, LORD_HOWE, "UTC", "America/Santiago", "Asia/Kathmandu"]
#: Each of the zones that change their clocks does so on some of these days.
DAYS = ["2026-03-08", "2026-03-29", "2026-04-05", "2026-09-06", "2026-10-04", "2026-10-25"]
lists = st.lists(st.integers(0, 59), min_size=1, max_size=3, unique=True)
hours = st.lists(st.integers(0, 23), min_size=1, max_size=3, unique=True)
weekdays = st.lists(st.integers(0, 6), min_size=1, max_size=4, unique=True)
#: Minutes, hours (None: each, by the clock) and days of the week (0: Monday).
Times = tuple[list[int], "list[int] | None", list[int]]
times = st.tuples(lists, hours | st.none(), weekdays)
moments = st.tuples(st.sampled_from(DAYS), st.integers(-2 * 86400, 2 * 86400))


def cron_of(minutes: list[int], hours: list[int] | None, days: list[int]) -> str:
    def joined(numbers: list[int] | None) -> str:
        return "*" if numbers is None else ",".join(map(str, numbers))

    return f"{joined(minutes)} {joined(hours)} * * {joined([(d + 1) % 7 for d in days])}"


def minute_by_minute(when: Times, zone: ZoneInfo, around: float) -> Iterator[float]:
    """When an expression fires, by its meaning, within nine days."""
    minutes, hours, days = when
    if hours is None:
        for minute in range(int(around // 60) - 9 * 1440, int(around // 60) + 9 * 1440):
            local = datetime.fromtimestamp(minute * 60, zone)
            if local.minute in minutes and local.weekday() in days:
                yield minute * 60.0
        return
    middle = datetime.fromtimestamp(around, zone).date()
    for day in range(-9, 10):
        yield from on(middle + timedelta(day), when, zone)


def on(day: date, when: Times, zone: ZoneInfo) -> Iterator[float]:
    minutes, hours, days = when
    for hour in hours or ():
        for minute in minutes:
            if day.weekday() in days:
                yield first_real(datetime.combine(day, time(hour, minute)), zone)


def first_real(local: datetime, zone: ZoneInfo) -> float:
    """The Unix time of a local time, the first of two; if there is none, of the next there is."""
    while True:
        found = local.replace(tzinfo=zone).timestamp()
        if datetime.fromtimestamp(found, zone).replace(tzinfo=None, fold=0) == local:
            return found
        local += timedelta(minutes=1)


@given(
    st.lists(st.tuples(times, st.integers(0, 3), st.integers(3, 5)), min_size=1, max_size=4),
    st.sampled_from(ZONES),
    moments,
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
)
def test_the_limits_are_those_of_the_last_that_fired_and_hold_until_the_next(
    given_: list[tuple[Times, int, int]],
    zone: str,
    moment: tuple[str, int],
    parts: list[float],
) -> None:
    entries = tuple(Entry(cron_of(*when), least, most) for when, least, most in given_)
    schedule, now = Schedule(entries, zone), at(moment[0], zone) + moment[1]
    found = schedule.at(now)
    fired = sorted(
        (when, number)
        for number, (times, _, _) in enumerate(given_)
        for when in minute_by_minute(times, ZoneInfo(zone), now)
    )
    since, number = max(each for each in fired if each[0] <= now)
    until = min(when for when, _ in fired if when > now)
    assert found == (entries[number], since, until, zone)
    assert schedule.at(until).since == until
    for part in parts:
        assert schedule.at(since + part * (until - since - 0.001)) == found


# -- what can be given


@pytest.mark.parametrize(
    ("cron", "flaw"),
    [
        ("0 8 * * mon-fri", ""),
        ("*/5 0-6,22,23 1,15 JAN-mar 0", ""),
        ("0 0 L * *", ""),
        ("0 0 * * 5#2", ""),
        ("  0  8 * * 7 ", ""),
        ("0 8 * *", "has 4 fields"),
        ("0 0 8 * * *", "has 6 fields"),
        ("@daily", "has 1 field"),
        ("", "has 0 fields"),
        ("60 8 * * *", "has a bad minute"),
        ("0 24 * * *", "has a bad hour"),
        ("0 0 0 * *", "has a bad day-of-month"),
        ("0 0 30 2 *", "has a bad day-of-month"),
        ("0 0 1 13 *", "has a bad month"),
        ("0 8 * * fri-mon", "has a bad day-of-week"),
        (NEVER, "never fires"),
    ],
)
def test_what_is_wrong_with_an_expression(cron: str, flaw: str) -> None:
    assert flaw_of(cron) == flaw


def test_a_schedule_is_worked_out_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    import cronsim

    schedule, now = Schedule((Entry("7 7 * * *", 1, 2),), BERLIN), at("2026-06-05T12:00")
    found = schedule.at(now)
    monkeypatch.setattr(cronsim, "CronSim", None)
    assert schedule.at(now + 59.9) is found
