"""The activity of a pool, minute by minute."""

from __future__ import annotations

import pytest

from celery_middle_management.core.history import MINUTE, Activity, Sample, Totals, activity

NOON = 1_800_000_000.0 // MINUTE * MINUTE


def sample(minute: float, *totals: float) -> Sample:
    return Sample(NOON + minute * MINUTE, {"worker": Totals(*totals)})


def test_counters_grow_minute_by_minute() -> None:
    samples = [
        sample(1, 10, 9, 8, 3.0, 80.0, 1),
        sample(0),
        sample(1.5, 14, 12, 8, 3.5, 80.0, 2),
    ]
    assert activity(samples, "worker", NOON + 90, minutes=3) == [
        Activity(),
        Activity(10, 9, 8, 3.0, 80.0, 1),
        Activity(4, 3, 0, 0.5, 0.0, 2),
    ]


def test_a_minute_without_reports_has_the_workers_of_the_one_before() -> None:
    samples = [sample(-9, 5), sample(-8, 6, 6, 6, 0.0, 6.0, 3), sample(0, 8, 8, 8, 0.0, 9.0, 1)]
    done = activity(samples, "worker", NOON, minutes=10)
    assert [one.arrivals for one in done] == [1, 2] + [0] * 8
    assert [one.workers for one in done] == [3] + [1] * 9
    assert activity(samples, "worker", NOON, minutes=2) == [Activity(workers=1)] * 2


@pytest.mark.parametrize("missing", [True, False])
def test_counters_that_fell_were_lost(missing: bool) -> None:
    after = sample(2, 3, 2, 1, 0.5, 1.0, 1)
    samples = [sample(0, 100, 100, 100, 9.0, 9.0, 4), sample(1, *([] if missing else [1])), after]
    done = activity(samples, "worker", NOON + 120, minutes=3)
    assert [one.arrivals for one in done] == ([0, 3, 0] if missing else [1, 2, 0])


def test_another_pools_counters_are_left_out() -> None:
    assert activity([sample(0, 9), sample(1, 99)], "pdf", NOON + 60, minutes=2) == [Activity()] * 2
