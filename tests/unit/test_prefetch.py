"""How many tasks a worker prefetches, by what it has seen of its tasks."""

from __future__ import annotations

from celery_middle_management.core.prefetch import (
    LONG,
    SHORT_IN_A_ROW,
    AdaptivePrefetch,
    PrefetchLimit,
)

BRIEF = LONG / 2


def test_tasks_are_long_until_they_have_shown_that_they_are_short() -> None:
    prefetch = AdaptivePrefetch()
    assert prefetch.limit is PrefetchLimit.ONE_PER_SLOT
    assert prefetch.after(BRIEF, SHORT_IN_A_ROW - 1).limit is PrefetchLimit.ONE_PER_SLOT
    assert prefetch.after(BRIEF, SHORT_IN_A_ROW).limit is PrefetchLimit.CONFIGURED


def test_one_long_task_makes_a_worker_take_no_more_than_it_has_slots_for() -> None:
    prefetch = AdaptivePrefetch().after(0.0, SHORT_IN_A_ROW).after(LONG, 200)
    assert prefetch.limit is PrefetchLimit.ONE_PER_SLOT
    assert prefetch.after(0.0, 199 + SHORT_IN_A_ROW).limit is PrefetchLimit.ONE_PER_SLOT
    assert prefetch.after(0.0, 200 + SHORT_IN_A_ROW).limit is PrefetchLimit.CONFIGURED


def test_short_tasks_that_end_beside_a_long_one_do_not_count() -> None:
    prefetch = AdaptivePrefetch()
    for ended in range(0, 1000, 10):
        prefetch = prefetch.after(LONG, ended)
    assert prefetch.after(0.0, 1000).limit is PrefetchLimit.ONE_PER_SLOT
    assert prefetch.after(0.0, 990 + SHORT_IN_A_ROW).limit is PrefetchLimit.CONFIGURED
