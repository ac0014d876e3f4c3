"""The rows of the page's plots, from samples of minutes and of ten minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from celery_middle_management.core.history import Sample, Totals
from celery_middle_management.views.timeline import timeline_of

#: A midnight, which is also the beginning of ten minutes.
MIDNIGHT = 1_800_057_600.0
#: The middle of the ninth minute of the day.
NOW = MIDNIGHT + 8 * 60 + 30


def totals(
    done: int = 0,
    tasks: tuple[int, int, int] | None = (0, 0, 0),
    workers: int = 0,
    peak: Any = None,
) -> Totals:
    """Counters after as many tasks as are *done*, each of which waited 2 s and ran 3 s."""
    counters = done, done, done, 2.0 * done, 3.0 * done, workers
    return Totals(*counters, *(tasks or (None, None, None)), peak)


def sample(minute: float, its: Totals | None = None, at: float = NOW, **others: Totals) -> Sample:
    """A sample of the pool `worker` and *others*, taken this many minutes from the one of *at*."""
    own = {} if its is None else {"worker": its}
    return Sample(at // 60 * 60 + minute * 60, own | others)


def rows(
    now: Totals | None = None,
    minutes: Sequence[Sample] = (),
    tens: Sequence[Sample] = (),
    at: float = NOW,
    pools: Sequence[str] = ("worker",),
) -> dict[str, Any]:
    taken = Sample(at, {} if now is None else {"worker": now})
    # In the order in which the ledger has them.
    document = timeline_of(pools, taken, minutes[::-1], tens[::-1])
    lengths = {"hour": 60, "day": 144, "week": 1008}
    assert document.keys() == lengths.keys()
    for name, length in lengths.items():
        for pool in pools:
            row = document[name]["pools"][pool]
            assert {*map(len, row.values())} == {length}
            assert all(n >= 0 for values in row.values() for n in values if n is not None)
    return document


def hour(*given: Any, **more: Any) -> dict[str, Any]:
    return dict(rows(*given, **more)["hour"]["pools"]["worker"])


def week(*given: Any, **more: Any) -> dict[str, Any]:
    return dict(rows(*given, **more)["week"]["pools"]["worker"])


def known(row: Sequence[Any]) -> dict[int, Any]:
    """What is in a row, by the number of intervals before the last one."""
    return {len(row) - 1 - i: n for i, n in enumerate(row) if n}


def test_intervals_end_with_the_one_of_now() -> None:
    document = rows()
    assert {name: (its["start"], its["step"]) for name, its in document.items()} == {
        "hour": ("2027-01-15T23:09:00.000+00:00", 60),
        "day": ("2027-01-15T00:10:00.000+00:00", 600),
        "week": ("2027-01-09T00:10:00.000+00:00", 600),
    }


def test_times_are_those_of_redis_clock() -> None:
    document = timeline_of((), Sample(NOW, {}), (), (), offset=100.0)
    assert document["hour"]["start"] == "2027-01-15T23:07:20.000+00:00"


def test_without_samples_nothing_is_known() -> None:
    for row in (hour(), week()):
        assert row.pop("arrivals") == row.pop("finishes") == [0] * len(row["workers"])
        assert {n for values in row.values() for n in values} == {None}


def test_each_minute_has_its_growth_and_how_it_ended() -> None:
    row = hour(
        totals(16, (1, 2, 3), 4),
        [sample(-2, totals(3)), sample(-1, totals(8, (5, 6, 7), 2)), sample(0, totals(8, None, 9))],
    )
    assert known(row["arrivals"]) == known(row["finishes"]) == {2: 5, 0: 8}
    assert row["mean_wait"][-3:] == [2.0, None, 2.0]
    assert row["waiting"][-3:] == [5, None, 1]
    assert row["running"][-3:] == [6, None, 2]
    assert row["scheduled"][-3:] == [7, None, 3]
    assert row["workers"][-4:] == [None, 2, 9, 4]


def test_a_minute_without_reports_has_the_workers_of_the_one_before_and_no_tasks() -> None:
    """Growth until the next sample happened in the last minute that has one."""
    minutes = [sample(-9, totals(0)), sample(-8, totals(3, (9, 9, 9), 2)), sample(-3, totals(7))]
    row = hour(totals(7, workers=0), minutes)
    assert known(row["arrivals"]) == {9: 3, 8: 4}
    # A sample tells how the minute before it ended, even if no process reported in that minute.
    assert row["waiting"][-10:] == [9, None, None, None, None, 0, None, None, None, 0]
    assert row["workers"][-10:] == [2] + [0] * 9


def test_of_what_was_before_the_hour_only_the_workers_are_carried_into_it() -> None:
    minutes = [
        sample(-90, totals()),
        sample(-80, totals(50, (9, 9, 9), 3)),
        sample(0, totals(60, None, 2)),
    ]
    row = hour(totals(60, workers=1), minutes)
    assert row["workers"] == [*[2] * 59, 1]
    assert known(row["arrivals"]) == known(row["waiting"]) == {}


@pytest.mark.parametrize(("after", "grown"), [(3, 3), (60, 0), (99, 0)])
def test_lost_data_gives_no_negative_numbers(after: int, grown: int) -> None:
    """Counters begin again at zero, or a replica lacks the latest reports."""
    row = hour(totals(after + 1), [sample(-1, totals(100)), sample(0, totals(after))])
    assert known(row["arrivals"]) == ({1: grown} if grown else {}) | {0: 1}
    assert row["mean_wait"][-2:] == [2.0 if grown else None, 2.0]


def test_waits_that_fell_alone_were_lost_too() -> None:
    before = Totals(5, 5, 5, waits=100.0, runtime=9.0)
    row = hour(Totals(9, 9, 9, waits=3.0, runtime=9.0), [sample(0, before)])
    assert (row["arrivals"][-1], row["mean_wait"][-1]) == (9, 0.33)


def test_a_sample_of_ten_minutes_tells_of_those_that_the_one_before_begins() -> None:
    tens = [
        # It is not known when the ten minutes that it sums up began.
        sample(-28, totals(0, (99, 99, 99), 1)),
        sample(-18, totals(5, (7, 8, 9), 1, peak=6)),
        sample(-8, totals(9, (4, 4, 4), 2, peak=2)),
    ]
    minutes = [
        # The samples of ten minutes have summed it up.
        sample(-15, totals(7, (50, 50, 50), 50)),
        sample(-8, totals(9)),
        sample(-1, totals(9, (2, 0, 5))),
    ]
    row = week(totals(10, (1, 1, 1), 3), minutes, tens)
    assert known(row["arrivals"]) == {2: 5, 1: 4, 0: 1}
    assert row["workers"][-4:] == [None, 6, 2, 3]
    assert row["waiting"][-4:] == [None, 7, 4, 2]
    assert row["running"][-4:] == [None, 8, 4, 1]
    assert row["scheduled"][-4:] == [None, 9, 4, 5]


def test_a_late_sample_tells_nothing_of_the_silence_before_it() -> None:
    """No process reported from 23:42 to 00:03, while the pool had two workers."""
    tens = [sample(-38, totals(0)), sample(-5, totals(5, (7, 8, 9), 2, peak=6))]
    row = week(totals(5, workers=2), [sample(-5, totals(5, (1, 1, 1), 2))], tens)
    assert known(row["arrivals"]) == {3: 5}
    assert row["workers"][-5:] == [None, 6, 2, 2, 2]
    assert row["waiting"][-4:] == [7, None, None, 1]


def test_ten_minutes_that_no_sample_sums_up_yet_are_known_by_the_minute() -> None:
    """As when the release before wrote the sample of the tenth minute."""
    minutes = [
        sample(-18, totals(0, workers=1)),
        sample(-12, totals(4, (3, 0, 0), 5)),
        sample(-5, totals(6, (2, 0, 0), 1)),
    ]
    row = week(totals(7, workers=1), minutes, [sample(-18, totals(0, workers=1))])
    assert known(row["arrivals"]) == {1: 6, 0: 1}
    assert row["waiting"][-3:] == [0, 3, 2]
    assert row["workers"][-3:] == [None, 5, 1]


def test_while_a_release_evaluated_that_sums_up_nothing_each_minute_is_known() -> None:
    tens = [
        sample(-48, totals(0)),
        sample(-8, totals(40, (1, 1, 1), 2, peak=7)),
    ]
    minutes = [sample(n, totals(n + 48, (n + 50, 0, 0), 5)) for n in range(-47, -8)]
    row = week(totals(40, workers=2), [*minutes, sample(-8, totals(40, workers=2))], tens)
    assert known(row["arrivals"]) == {4: 10, 3: 10, 2: 10, 1: 10}
    assert row["waiting"][-6:] == [None, 12, 22, 32, 41, 0]
    assert row["workers"][-6:] == [None, 7, 5, 5, 5, 2]


def test_midnight_is_nothing_special() -> None:
    minutes = [sample(n, totals(10 + n, (n + 10, 0, 0), 1)) for n in range(-10, 1)]
    row = hour(totals(11, workers=1), minutes)
    assert row["arrivals"][-12:] == [0, *[1] * 11]
    assert row["waiting"][-12:] == [0, *range(1, 11), 0]


def test_a_pool_that_is_new_since_yesterday_has_an_empty_past() -> None:
    yesterday = sample(-1448, totals(0)), sample(-1438, totals(3))
    today = sample(-18, totals(7), pdf=totals(2, (5, 5, 5), 1, peak=1)), sample(-8, totals(7))
    taken = Sample(NOW, {"worker": totals(7), "pdf": totals(4, (1, 1, 1), 2)})
    both = timeline_of(("worker", "pdf"), taken, (), [*yesterday, *today])["week"]["pools"]
    assert known(both["worker"]["arrivals"]) == {144: 3, 143: 4}
    # Its first tasks came after the sample that did not know it.
    assert known(both["pdf"]["arrivals"])[143] == 2
    assert both["pdf"]["workers"][:-144] == [None] * 864
    assert both["pdf"]["waiting"][-1] == 1


def test_each_pool_has_its_own_rows() -> None:
    minutes = [sample(0, totals(0), pdf=totals(5, workers=1))]
    taken = Sample(NOW, {"worker": totals(2), "pdf": totals(8, workers=3)})
    both = timeline_of(("worker", "pdf"), taken, minutes, ())["hour"]["pools"]
    assert [both[name]["arrivals"][-1] for name in ("worker", "pdf")] == [2, 3]
    assert [both[name]["workers"][-1] for name in ("worker", "pdf")] == [0, 3]


def test_the_samples_of_an_older_release_have_fewer_numbers() -> None:
    row = hour(totals(9), [sample(-1, Totals(2, 2, 2)), sample(0, Totals(4, 4, 4, 0.0, 0.0, 3))])
    assert known(row["arrivals"]) == {1: 2, 0: 5}
    assert row["waiting"][-2:] == [None, 0]
    assert row["workers"][-2:] == [3, 0]


def test_the_day_is_the_end_of_the_week() -> None:
    tens = [sample(-8 - 10 * n, totals(1000 - n, (n % 7, 1, 2), n % 5, peak=9)) for n in range(900)]
    document = rows(totals(1001), (), tens[::-1])
    day, its_week = (document[name]["pools"]["worker"] for name in ("day", "week"))
    assert {name: row[-144:] for name, row in its_week.items()} == day
    assert sum(its_week["arrivals"]) == 900
