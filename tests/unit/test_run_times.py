"""How long tasks run, and how many a worker may hold."""

from __future__ import annotations

from math import inf

import pytest

from celery_middle_management.agents.run_times import BEGINS_WITHIN, RunTimes, room


@pytest.mark.parametrize(
    ("slots", "held", "run_times", "more"),
    [
        (1, 0, [], 1),
        (4, 1, [60.0], 3),
        # Until it is known how long they last, only what can begin now.
        (1, 1, [inf], 0),
        (2, 3, [inf, 0.1], -1),
        (1, 1, [10.0], 0),
        (1, 1, [1.0], 1),
        (1, 2, [0.5, 0.5], 1),
        (1, 3, [0.5, 0.5, 0.5], 0),
        # The long one's view.
        (2, 2, [0.01, 10.0], 0),
        # All are short.
        (2, 2, [], 2),
        (2, 9, [0.0], 2),
    ],
)
def test_how_many_more_can_begin_soon(
    slots: int, held: int, run_times: list[float], more: int
) -> None:
    assert room(slots, held, run_times) == more


def test_a_task_is_not_taken_for_short_before_it_has_shown_it() -> None:
    run_times = RunTimes()
    assert run_times.of("mail") == inf
    run_times.ended("mail", 0.0)  # it may have failed at once
    assert run_times.of("mail") > BEGINS_WITHIN
    for _ in range(50):
        run_times.ended("mail", 0.01)
    assert run_times.of("mail") < BEGINS_WITHIN / 10


def test_one_long_run_among_short_ones_is_remembered_for_a_while() -> None:
    run_times = RunTimes()
    for i in range(100):
        run_times.ended("mail", 10.0 if i % 10 == 0 else 0.01)
    assert run_times.of("mail") > BEGINS_WITHIN
    assert run_times.of("other") == inf


def test_what_runs_longer_than_ever_is_known_before_it_ends() -> None:
    run_times = RunTimes()
    for _ in range(50):
        run_times.ended("mail", 0.01)
    run_times.goes_on("mail", 5.0)
    assert run_times.of("mail") == 5.0
    run_times.goes_on("mail", 1.0)
    assert run_times.of("mail") == 5.0
