"""The policy of the longest wait, number by number."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from celery_middle_management.core.policies.max_wait import (
    MARGIN,
    NOTICE,
    View,
    _erlang,
    assumed_mean,
    max_wait,
)
from celery_middle_management.core.policies.steering import LEAST_FACTOR, MOST_FACTOR, steered

#: Nothing to do, and everything known: tasks of 2 s, a boot of 12 s, T equal to the allowed wait.
CALM = View(
    tasks=0,
    workers=0,
    booting=0,
    up_in=0.0,
    slots=1,
    boot=12.0,
    mean=2.0,
    doubt=0.0,
    short=0.0,
    long=0.0,
    rate_then=0.0,
    arrived=inf,
    waited=0.0,
    factor=1.0,
)


def test_nothing_to_do_needs_no_worker() -> None:
    assert max_wait(CALM, 30.0).workers == 0
    assert max_wait(CALM, 30.0).again is None


def test_one_task_waits_for_a_worker_nearly_as_long_as_it_may() -> None:
    advice = max_wait(CALM._replace(tasks=1, waited=1.0), 30.0)
    assert advice.workers == 0
    assert advice.again == pytest.approx(MARGIN * 30.0 - 12.0 - NOTICE - 1.0)
    assert advice.why == "1 task can wait for a worker to start within 30 s"
    at_last = CALM._replace(tasks=1, waited=1.0 + advice.again)
    assert max_wait(at_last, 30.0).workers == 1


def test_no_task_waits_for_a_worker_if_no_process_may_be_left_to_hire_it() -> None:
    assert max_wait(CALM._replace(tasks=1, put_off=0.0), 30.0).workers == 1
    assert max_wait(CALM._replace(tasks=1, put_off=14.0), 30.0).workers == 0
    assert max_wait(CALM._replace(tasks=1, put_off=13.0), 30.0).workers == 1


def test_it_does_not_wait_if_a_boot_takes_about_as_long_as_it_may() -> None:
    assert max_wait(CALM._replace(tasks=1), 12.0).workers == 1


def test_a_burst_is_hired_for_when_it_is_complete() -> None:
    # Within T a worker that is hired now can work off 1 + (27.6 - 12) / 2 = 8.8 tasks.
    first = max_wait(CALM._replace(tasks=100, waited=0.2), 30.0)
    assert (first.workers, first.again) == (0, pytest.approx(0.8))
    advice = max_wait(CALM._replace(tasks=100, waited=1.0), 30.0)
    assert advice.workers == 12
    assert advice.why == "100 tasks to start within 30 s: 12"


def test_slots_share_the_work() -> None:
    assert max_wait(CALM._replace(tasks=100, slots=4, waited=1.0), 30.0).workers == 3


def test_slots_with_tasks_that_run_surprisingly_long_are_not_counted_on() -> None:
    stuck = CALM._replace(workers=2, running=2, running_for=50.0, tasks=20)
    # The other 18 need three workers; 8.8 each.
    assert max_wait(stuck, 30.0).workers == 5
    assert max_wait(stuck._replace(running_for=5.0), 30.0).workers == 2
    assert max_wait(stuck._replace(tasks=2), 30.0).workers == 2
    booting = stuck._replace(workers=5, booting=3, up_in=12.0)
    assert max_wait(booting, 30.0).workers == 5


@pytest.mark.parametrize("workers", [1, 3, 12])
def test_as_many_tasks_as_they_can_work_off_need_no_more_workers(workers: int) -> None:
    # Within T a worker can work off 1 + 27.6 / 2 = 14.8 tasks.
    busy = CALM._replace(workers=workers, tasks=int(14.8 * workers))
    assert max_wait(busy, 30.0).workers == workers
    assert max_wait(busy._replace(tasks=busy.tasks + 1), 30.0).workers == workers + 1


def test_workers_that_boot_count_from_when_they_are_up() -> None:
    # One that is up in 5 s can work off 1 + 22.6 / 2 = 12.3 tasks.
    booting = CALM._replace(workers=1, booting=1, up_in=5.0)
    assert max_wait(booting._replace(tasks=12), 30.0).workers == 1
    assert max_wait(booting._replace(tasks=13), 30.0).workers == 2


def test_long_tasks_get_a_slot_each() -> None:
    assert max_wait(CALM._replace(tasks=10, mean=1200.0), 13.0).workers == 10


def test_workers_without_tasks_go_if_none_come() -> None:
    assert max_wait(CALM._replace(workers=5), 30.0).workers == 0


def test_workers_stay_that_the_tasks_need() -> None:
    advice = max_wait(CALM._replace(workers=5, tasks=12), 30.0)
    assert advice.workers == 3


def test_a_worker_stays_if_tasks_come_so_soon_that_a_boot_would_cost_more() -> None:
    quick = CALM._replace(workers=1, short=1.0, long=1.0, mean=0.2, arrived=1.0)
    # It would be hired again in 1 s.
    assert max_wait(quick, 14.0).workers == 1
    # It would not be needed for most of a minute.
    assert max_wait(quick, 60.0).workers == 0
    kept = max_wait(quick, 14.0)
    assert kept.why == "0 tasks to start within 14 s: 0, and 1 kept because tasks come soon"
    assert kept.again is not None


def test_no_worker_is_kept_once_it_has_idled_for_as_long_as_a_boot_would_cost() -> None:
    quick = CALM._replace(workers=1, short=1.0, long=1.0, rate_then=1.0, mean=0.2)
    # A boot takes 12 s, and 2.5 s are paid for besides.
    assert max_wait(quick._replace(arrived=14.0), 10.0).workers == 1
    assert max_wait(quick._replace(arrived=15.0), 10.0).workers == 0


def test_a_worker_goes_unless_another_would_soon_be_hired() -> None:
    # One that stayed would idle until that hire, and for as long as the other boots. Going pays
    # from 2.5 s + 0.4 x 12 s between tasks if they cannot wait for longer than a boot takes, ...
    idle = CALM._replace(workers=1, mean=0.2, arrived=0.0)
    often, seldom = idle._replace(short=0.2, long=0.2), idle._replace(short=0.1, long=0.1)
    assert max_wait(often, 14.0).workers == 1
    assert max_wait(seldom, 14.0).workers == 0
    # ... and sooner if a hire can wait.
    assert max_wait(often, 20.0).workers == 0


def test_a_burst_is_no_rate() -> None:
    after_a_burst = CALM._replace(workers=1, short=5.0, long=0.001, mean=0.2, arrived=1.0)
    assert max_wait(after_a_burst, 14.0).workers == 0


def test_where_a_boot_takes_too_long_there_are_enough_for_the_arrival_rate() -> None:
    # 2 erlangs; three workers would make 8 % wait for more than 3.4 s (Erlang's formula C).
    often = CALM._replace(short=1.0, long=1.0, rate_then=1.0, arrived=1.0)
    assert max_wait(often, 3.4 / MARGIN).workers == 4


def test_these_workers_go_when_no_task_comes_any_more() -> None:
    seldom = CALM._replace(workers=1, short=0.0, long=0.001, rate_then=0.01)
    assert max_wait(seldom._replace(arrived=299.0), 2.0).workers == 1
    assert max_wait(seldom._replace(arrived=301.0), 2.0).workers == 0


def test_these_workers_are_not_lowered_while_the_rate_over_a_minute_is_high() -> None:
    rush = CALM._replace(workers=9, short=2.1, long=1.0, rate_then=1.0, arrived=1.0)
    assert max_wait(rush, 3.7).workers == 9


@pytest.mark.parametrize(
    ("load", "slots", "wait", "workers"),
    # M/M/1: 1 - F(t) = a exp(-(1 - a) t). M/M/2 with a load of 1: C = 1/3.
    [(0.04, 1, 0.0, 1), (0.06, 1, 0.0, 2), (0.5, 1, 4.6, 2), (0.5, 1, 4.7, 1), (1.0, 2, 1.9, 1)],
)
def test_erlangs_formula(load: float, slots: int, wait: float, workers: int) -> None:
    assert _erlang(load, slots, wait) == workers


def test_what_is_assumed_at_first_depends_on_how_much_time_there_is_to_learn() -> None:
    assert assumed_mean(12.0, 12.0) == 12.0
    assert assumed_mean(48.0, 12.0) == pytest.approx(6.0)
    assert assumed_mean(2.0, 12.0) == pytest.approx(2.0)


views = st.builds(
    View,
    tasks=st.integers(0, 20_000),
    workers=st.integers(0, 200),
    booting=st.integers(0, 200),
    up_in=st.floats(0, 20),
    slots=st.integers(1, 16),
    boot=st.floats(1, 60),
    mean=st.floats(0.001, 5000),
    doubt=st.floats(0, 1),
    short=st.floats(0, 100),
    long=st.floats(0, 100),
    rate_then=st.floats(0, 100),
    arrived=st.floats(0, 1e6),
    waited=st.floats(0, 1e5),
    factor=st.floats(LEAST_FACTOR, MOST_FACTOR),
    running=st.integers(0, 500),
    running_for=st.floats(0, 5000),
)
waits = st.floats(0.01, 1e5)


@given(views, waits)
def test_no_more_are_hired_than_there_are_tasks_for_slots(view: View, wait: float) -> None:
    assume(view.booting <= view.workers)
    advice = max_wait(view._replace(long=0.0), wait)
    assert 0 <= advice.workers <= max(view.workers, view.workers + view.tasks)
    if advice.workers > view.workers:
        assert (advice.workers - view.workers) <= -(-view.tasks // view.slots)


@given(views, waits)
def test_tasks_that_wait_for_the_first_worker_get_it_in_time(view: View, wait: float) -> None:
    alone = view._replace(workers=0, booting=0, tasks=max(view.tasks, 1))
    advice = max_wait(alone, wait)
    if advice.workers == 0:
        assert advice.again is not None
        assert 0 < advice.again <= wait - alone.boot - alone.waited
        assert max_wait(alone._replace(waited=wait), wait).workers > 0


@given(views, waits)
def test_a_worker_with_a_task_is_never_sent_away_without_need(view: View, wait: float) -> None:
    assume(view.booting <= view.workers and view.tasks > 0 and view.workers > 0)
    assert max_wait(view, wait).workers >= 1


@given(st.floats(LEAST_FACTOR, MOST_FACTOR), st.integers(1, 10_000), st.floats(0, 1e4))
def test_steering_stays_within_its_limits(factor: float, started: int, time: float) -> None:
    for late in (0, started):
        assert LEAST_FACTOR <= steered(factor, started, late, time) <= MOST_FACTOR
    assert steered(factor, started, 0, time) >= factor
    assert steered(factor, started, started, time) <= factor


def test_fewer_late_tasks_are_aimed_at_than_may_be_late() -> None:
    assert steered(1.0, 1000, 40, 1.0) < 1
    assert steered(1.0, 1000, 10, 1.0) > 1
