"""How much a worker takes, by what it has seen of its tasks."""

from __future__ import annotations

from celery_middle_management.core.prefetch import LONG, SHORT_IN_A_ROW, Pace, Prefetch

BRIEF = LONG / 2


def test_tasks_are_long_until_they_have_shown_that_they_are_short() -> None:
    pace = Pace()
    assert pace.prefetch is Prefetch.ONE_PER_SLOT
    assert pace.after(BRIEF, SHORT_IN_A_ROW - 1).prefetch is Prefetch.ONE_PER_SLOT
    assert pace.after(BRIEF, SHORT_IN_A_ROW).prefetch is Prefetch.CELERYS


def test_one_long_task_makes_a_worker_take_no_more_than_it_has_slots_for() -> None:
    pace = Pace().after(0.0, SHORT_IN_A_ROW).after(LONG, 200)
    assert pace.prefetch is Prefetch.ONE_PER_SLOT
    assert pace.after(0.0, 199 + SHORT_IN_A_ROW).prefetch is Prefetch.ONE_PER_SLOT
    assert pace.after(0.0, 200 + SHORT_IN_A_ROW).prefetch is Prefetch.CELERYS


def test_short_tasks_that_end_beside_a_long_one_do_not_count() -> None:
    pace = Pace()
    for ended in range(0, 1000, 10):
        pace = pace.after(LONG, ended)
    assert pace.after(0.0, 1000).prefetch is Prefetch.ONE_PER_SLOT
    assert pace.after(0.0, 990 + SHORT_IN_A_ROW).prefetch is Prefetch.CELERYS
