"""What is measured of a pool: arrivals, run times, and how strict its policy must be."""

from __future__ import annotations

import json
from dataclasses import replace
from math import exp, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_middle_management.core.demand import Count
from celery_middle_management.core.measuring import measured
from celery_middle_management.core.pace import LATEST, LONG, NEW, SHORT, WATCHED, Pace, Seen
from celery_middle_management.core.policies.schedule import InForce
from celery_middle_management.core.policies.steering import FACTOR
from celery_middle_management.core.pool_state import PoolState, Refusal
from celery_middle_management.core.pools import Pool
from celery_middle_management.ledger.codec import pack_pace, unpack_pace

T = 1_000_000.0


def seen(
    now: float, published: int = 0, finished: int = 0, runtime: float = 0.0, **running: float
) -> Seen:
    return Seen(now, published, finished, 0, finished, runtime, **running)  # type: ignore[arg-type]


def after(*moments: Seen, pace: Pace = NEW) -> Pace:
    for moment in moments:
        pace = pace.after(moment, slots=2)
    return pace


def test_what_came_before_the_first_look_is_not_counted_as_arrivals() -> None:
    pace = after(seen(T, published=5000, finished=4000, runtime=9000.0))
    assert (pace.short.rate(SHORT), pace.long.rate(LONG), pace.finished) == (0.0, 0.0, 0.0)
    assert pace.slots == 2


def test_a_steady_stream_is_measured_at_its_rate() -> None:
    pace = after(*(seen(T + 5 * n, published=15 * n) for n in range(1000)))
    assert pace.short.rate(SHORT) == pytest.approx(3.0, rel=0.05)
    assert pace.long.rate(LONG) == pytest.approx(3.0, rel=0.01)


def test_a_short_time_is_not_divided_by() -> None:
    pace = after(seen(T), seen(T + 0.1, published=10))
    assert pace.short.rate(SHORT) == pytest.approx(10 / (WATCHED * SHORT))


def test_arrivals_fade_away() -> None:
    before = after(seen(T), seen(T + 600, published=600))
    now = after(seen(T + 1200, published=600), pace=before)
    assert now.short.rate(SHORT) == pytest.approx(before.short.rate(SHORT) * exp(-10), rel=0.1)
    assert now.arrived_at == T + 600
    assert now.rate_then == before.long.rate(LONG)


def test_the_mean_includes_the_tasks_that_are_still_running() -> None:
    # Of 20 tasks, ten took 1 s, and ten have been running for 60 s.
    pace = after(seen(T), seen(T + 60, finished=10, runtime=10.0, running=10, elapsed=600.0))
    assert pace.mean(0.0) == pytest.approx(610 / 11)
    ended = after(seen(T + 61, finished=20, runtime=620.0), pace=pace)
    assert ended.mean(0.0) == pytest.approx(30, rel=0.1)


def test_many_tasks_that_run_and_have_not_finished_are_not_taken_for_one() -> None:
    pace = after(seen(T), seen(T + 2, running=50, elapsed=100.0))
    assert pace.mean(1.0) == 2.0
    assert pace.mean(5.0) == 5.0


def test_before_anything_is_known_the_mean_is_as_assumed() -> None:
    assert NEW.mean(7.0) == 7.0
    assert NEW.doubt == 1.0


def test_the_mean_follows_the_latest_tasks() -> None:
    moments = [seen(T + n, finished=10 * n, runtime=50.0 * n) for n in range(100)]
    then = moments[-1]
    later = [
        seen(then.now + n, finished=then.finished + 10 * n, runtime=then.runtime + 10.0 * n)
        for n in range(1, 50)
    ]
    assert after(*moments).mean(1.0) == pytest.approx(5.0, rel=0.05)
    assert after(*moments, *later).mean(1.0) == pytest.approx(1.0, rel=0.1)


STEP = st.tuples(st.floats(0, 100), st.integers(0, 50), st.floats(-50, 500))


@given(st.lists(STEP, max_size=40))
def test_what_is_measured_is_never_negative(
    steps: list[tuple[float, int, float]],
) -> None:
    pace, now, tasks, worked = NEW, T, 0, 0.0
    for time, more, work in steps:
        now, tasks, worked = now + time, tasks + more, worked + work
        pace = pace.after(seen(now, tasks, tasks, worked), slots=0)
    numbers = (pace.short.rate(SHORT), pace.long.rate(LONG), pace.worked, pace.finished)
    assert all(0 <= number < inf for number in numbers)
    assert 0 < pace.mean(1.0) < inf
    assert pace.finished <= LATEST + 51
    assert pace.slots == 1


def test_counters_that_fell_begin_anew_and_what_was_measured_stays() -> None:
    before = after(seen(T), seen(T + 60, published=60, finished=60, runtime=120.0))
    lost = after(seen(T + 61), pace=before)
    assert lost.since == T + 61
    assert replace(lost, seen=before.seen, since=before.since) == before
    assert after(seen(T + 62, published=1), pace=lost).arrived_at == T + 62


def test_a_clock_that_stood_still_or_went_back_changes_no_rate() -> None:
    before = after(seen(T), seen(T + 60, published=60))
    assert after(seen(T + 50, published=60), pace=before).long == before.long


@given(st.builds(Pace), st.sampled_from([None, seen(T, 3, 2, 1.5, running=2, elapsed=0.5)]))
def test_the_ledger_keeps_a_pace(pace: Pace, at: Seen | None) -> None:
    pace = replace(pace, seen=at)
    assert unpack_pace(json.loads(pack_pace(pace))) == pace


def test_a_later_release_may_add_to_a_pace_and_an_earlier_one_have_none() -> None:
    assert unpack_pace({}) == NEW
    later = {"seen": [T, 1, 2, 3, 4, 5.0, 6, 7.0, "new"], "new": 1, "short": [1.0, 2.0]}
    assert unpack_pace(later).seen == Seen(T, 1, 2, 3, 4, 5.0, 6, 7.0)


# -- of a pool


POOL = Pool("worker", None, 0, 10, None, max_wait=30.0)


def state(**fields: object) -> PoolState:
    known = {"pool": POOL, "now": T, "formation": 0, **fields}
    return PoolState(**known)  # type: ignore[arg-type]


def test_it_is_known_since_when_tasks_wait_for_the_first_worker() -> None:
    first = measured(state(published=1))
    assert first.pace.waiting_since == T
    later = measured(replace(first, now=T + 9, published=5))
    assert later.pace.waiting_since == T
    assert measured(replace(later, formation=1)).pace.waiting_since == 0
    assert measured(replace(later, finished=5)).pace.waiting_since == 0


def test_late_tasks_make_the_policy_stricter_and_others_less_so() -> None:
    begin = measured(state())
    late = measured(replace(begin, now=T + 30, started=20, late=20))
    assert late.pace.factor < begin.pace.factor
    in_time = measured(replace(begin, now=T + 30, started=20))
    assert in_time.pace.factor > begin.pace.factor


@pytest.mark.parametrize(
    "hindrance",
    [
        {"formation": 10},
        {"last_refusal": Refusal("too many", T + 20, until=T + 80, limit=0), "published": 90},
    ],
    ids=["the maximum", "a refusal"],
)
def test_tasks_that_are_late_because_no_more_may_be_hired_teach_nothing(
    hindrance: dict[str, object],
) -> None:
    begin = measured(state(**hindrance))
    late = measured(replace(begin, now=T + 30, started=20, late=20))
    assert late.pace.factor == begin.pace.factor


def test_what_was_learned_fades() -> None:
    begin = measured(state())
    learned = replace(begin, pace=replace(begin.pace, factor=0.1))
    assert measured(replace(learned, now=T + 3600)).pace.factor == pytest.approx(0.108, abs=0.001)
    assert measured(replace(learned, now=T + 7 * 86400)).pace.factor == pytest.approx(FACTOR, 0.01)


def test_a_burst_changes_little_at_once() -> None:
    begin = measured(state())
    burst = measured(replace(begin, now=T + 1, started=100_000, late=100_000))
    assert burst.pace.factor > 0.9 * begin.pace.factor


def test_a_counter_of_late_tasks_that_fell_changes_nothing() -> None:
    begin = measured(state(started=50, late=50))
    assert measured(replace(begin, now=T + 9, started=60, late=0)).pace.factor == begin.pace.factor


@pytest.mark.parametrize(
    ("known", "needed"),
    [
        ({}, 0),
        ({"able_for": 29.0}, 1),
        ({"able_for": 31.0}, 0),
        # It was not published since the ledger has begun, 9 s ago.
        ({"published": 0, "count": Count(T, 1, 0, 0)}, 1),
        ({"pool": replace(POOL, in_force=InForce(None, None, T + 16, "UTC"))}, 0),
        ({"pool": replace(POOL, in_force=InForce(None, None, T + 3, "UTC"))}, 1),
        ({"pool": replace(POOL, min_workers=1)}, 1),
    ],
)
def test_a_hire_is_put_off_only_if_it_can_be_made_later(
    known: dict[str, object], needed: int
) -> None:
    pace = replace(NEW, since=T - 9, waiting_since=T, factor=1.0)
    assert state(**{"published": 1, "pace": pace, **known}).needed == needed
