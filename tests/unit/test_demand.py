"""Counts of the truth, and dead reckoning between them."""

from __future__ import annotations

import pytest

from celery_middle_management.core.demand import (
    COARSE_BUCKET,
    FINE_BUCKET,
    FINE_HORIZON,
    Backlog,
    Buckets,
    Count,
    Held,
    bucket_of,
    corrected,
    due_by,
    end_of,
    reckon,
    take_count,
)

NOW = 10_000.0
LATER = 10_600


def count(
    *backlogs: Backlog,
    held: Held | None = None,
    buckets: Buckets | None = None,
    consuming: bool = True,
    passing: bool = False,
    leaving: int = 0,
    parked: int = 0,
) -> Count:
    return take_count(
        *(NOW, backlogs, held or Held(), buckets or {}, consuming),
        passing=passing,
        leaving=leaving,
        parked=parked,
    )


def test_a_count_adds_the_queues_to_what_workers_hold() -> None:
    counted = count(Backlog(3), Backlog(4), held=Held(waiting=1, running=2, scheduled=5))
    assert counted == Count(at=NOW, waiting=8, running=2, scheduled=5)
    assert counted.outstanding == 10


def test_nothing_anywhere_counts_zero() -> None:
    assert count() == Count(NOW, 0, 0, 0)


def test_where_a_worker_consumes_nothing_scheduled_stays_in_the_queue() -> None:
    assert count(Backlog(3), buckets={LATER: 2}) == Count(NOW, 3, 0, 0)


def test_where_none_consumes_known_due_times_tell_scheduled_from_waiting() -> None:
    counted = count(Backlog(3), buckets={LATER: 2}, consuming=False)
    assert counted == Count(NOW, 1, 0, 2, parked=2)


def test_what_workers_give_back_when_they_stop_does_not_wait() -> None:
    told = {LATER: 4}
    counted = count(Backlog(2), held=Held(scheduled=2), buckets=told, passing=True)
    assert counted == Count(NOW, 0, 0, 4, parked=2)
    # Some were given back by a worker that still says that it holds three.
    for ready, waiting, parked in ((2, 0, 2), (0, 0, 0), (9, 6, 3)):
        counted = count(
            Backlog(ready), held=Held(scheduled=4), buckets=told, passing=True, leaving=3
        )
        assert counted == Count(NOW, waiting, 0, 4, parked=parked)


def test_scheduled_tasks_taken_just_now_do_not_wait() -> None:
    assert count(Backlog(1, scheduled=2), held=Held(scheduled=3)) == Count(NOW, 1, 0, 5)
    taken = Backlog(1, scheduled=2)
    assert count(taken, buckets={LATER: 3}, passing=True) == Count(NOW, 0, 0, 3, parked=1)


def test_what_the_dead_held_is_not_given_back_yet() -> None:
    dead = Backlog(2, orphans=3, restore_in=30)
    assert count(dead, buckets={LATER: 4}, passing=True).waiting == 1


def test_what_is_due_already_is_not_scheduled() -> None:
    buckets = {int(NOW): 1, LATER: 1}
    assert count(Backlog(3), buckets=buckets, consuming=False) == Count(NOW, 2, 0, 1, parked=1)


def test_what_cordoned_workers_hold_scheduled_is_not_in_the_queue() -> None:
    counted = count(Backlog(3), held=Held(scheduled=2), buckets={LATER: 3}, consuming=False)
    assert counted == Count(NOW, 2, 0, 3, parked=1)


def test_what_workers_give_back_does_not_hide_what_waits() -> None:
    """Where the broker tells how much of what they held is back already."""
    told, held = {LATER: 400}, Held(scheduled=400)
    for returned, ready in ((0, 5), (30, 35), (400, 405)):
        counted = count(
            *(Backlog(ready, returned=returned), Backlog(returned=returned)),
            held=held,
            buckets=told,
            passing=True,
            leaving=400,
        )
        assert counted == Count(NOW, 5, 0, 400, parked=returned)


def test_scheduled_tasks_parked_in_the_queue_do_not_wait() -> None:
    told = {LATER: 40}
    assert count(Backlog(45), buckets=told, parked=40) == Count(NOW, 5, 0, 40, parked=40)
    # Some were taken since, or are gone.
    taken = count(Backlog(15), held=Held(scheduled=30), buckets=told, parked=40)
    assert taken == Count(NOW, 5, 0, 40, parked=10)
    assert count(Backlog(9), buckets=told, parked=40) == Count(NOW, 0, 0, 9, parked=9)
    assert count(Backlog(45), buckets={LATER: 90}, parked=40).waiting == 5


@pytest.mark.parametrize("known", [0, 4])
def test_due_times_that_cannot_be_true_are_not_believed(known: int) -> None:
    assert count(Backlog(3), buckets={LATER: known}, consuming=False).waiting == 3


def test_workers_holding_more_than_is_known_take_nothing_from_the_queue() -> None:
    counted = count(Backlog(3), held=Held(scheduled=9), buckets={LATER: 1}, consuming=False)
    assert (counted.waiting, counted.scheduled) == (3, 9)


def test_orphans_are_waiting_once_they_are_back() -> None:
    counted = count(Backlog(1, orphans=2, restore_in=0), Backlog(0, orphans=5, restore_in=-1))
    assert (counted.waiting, counted.restore_at) == (8, None)


def test_orphans_that_come_back_later_say_when() -> None:
    counted = count(
        Backlog(1, orphans=2, restore_in=30),
        Backlog(1, orphans=1, restore_in=20),
        Backlog(1, orphans=0, restore_in=10),
    )
    assert (counted.waiting, counted.restore_at) == (3, NOW + 20)


def test_dead_reckoning() -> None:
    counted = Count(NOW, waiting=3, running=2, scheduled=7)
    assert reckon(counted, published=4, finished=1, due=2) == 10
    assert reckon(None, published=4, finished=1, due=0) == 3
    assert reckon(counted, published=0, finished=9, due=0) == 0


def test_due_by_includes_the_moment() -> None:
    buckets = {100: 1, 110: 2, 120: 4}
    assert [due_by(buckets, when) for when in (99, 100, 115.5, 120)] == [0, 1, 3, 7]


def test_what_workers_hold_is_surely_there() -> None:
    assert corrected({LATER: 1}, {LATER: 3, LATER + 10: 2}, {}, NOW, empty=False) == {
        LATER: 2,
        LATER + 10: 2,
    }


def test_what_they_hold_since_just_now_will_be_told_by_its_publisher() -> None:
    assert corrected({}, {LATER: 3}, {LATER: 2}, NOW, empty=False) == {LATER: 1}
    assert corrected({LATER: 2}, {LATER: 3}, {LATER: 2}, NOW, empty=True) == {}


def test_what_they_do_not_hold_may_lie_in_a_queue() -> None:
    assert corrected({LATER: 3}, {LATER: 1}, {}, NOW, empty=False) == {}


def test_what_is_neither_held_nor_in_a_queue_is_gone() -> None:
    assert corrected({LATER: 3, LATER + 10: 1}, {LATER: 1}, {}, NOW, empty=True) == {
        LATER: -2,
        LATER + 10: -1,
    }


def test_the_past_and_what_is_right_are_left_alone() -> None:
    past = int(NOW)
    assert corrected({past: 3, LATER: 2}, {past: 1, LATER: 2}, {}, NOW, empty=True) == {}


def test_buckets_are_fine_within_the_hour_and_coarse_beyond() -> None:
    assert bucket_of(NOW + 19, NOW) == NOW + 10
    assert bucket_of(NOW + FINE_HORIZON + 9, NOW + 9) % FINE_BUCKET == 0
    assert bucket_of(NOW + FINE_HORIZON, NOW) == 13_600
    assert bucket_of(NOW + FINE_HORIZON + 1, NOW) == 13_600 // COARSE_BUCKET * COARSE_BUCKET - 1


def test_a_fine_bucket_is_not_taken_for_the_coarse_one_that_begins_with_it() -> None:
    due = 13_560
    assert end_of(bucket_of(due, NOW)) == due + FINE_BUCKET
    assert end_of(bucket_of(due, due - FINE_HORIZON - 1)) == due + COARSE_BUCKET
