"""From what there is to do to the workers needed."""

from __future__ import annotations

import pytest

from celery_middle_management.core.policies import Advice, auto
from celery_middle_management.core.policies.backlog import backlog


@pytest.mark.parametrize(
    ("outstanding", "jobs", "limits", "needed"),
    [
        (0, 10, (0, 10), 0),
        (1, 10, (0, 10), 1),
        (10, 10, (0, 10), 1),
        (11, 10, (0, 10), 2),
        (3, 1, (0, 10), 3),
        (10_000, 1, (0, 10), 10),
        (0, 1, (2, 10), 2),
        (1, 1, (2, 10), 2),
        (5, 1, (4, 4), 4),
        (5, 1, (0, 0), 0),
    ],
)
def test_one_worker_for_every_so_many_tasks_within_limits(
    outstanding: int, jobs: int, limits: tuple[int, int], needed: int
) -> None:
    advice = backlog(outstanding, jobs)
    assert advice.within(*limits).workers == needed


def test_an_advice_says_why() -> None:
    advice = backlog(25, 10).within(0, 2)
    assert advice == Advice(2, "25 tasks at 10 per worker need 3, limits 0 to 2")


@pytest.mark.parametrize(
    ("slots", "boot", "mean", "jobs"),
    [
        (1, 12.0, 2.0, 6),
        (4, 12.0, 2.0, 24),
        (1, 12.0, 60.0, 1),
        (4, 12.0, 60.0, 4),
        (8, 12.0, 12.0, 8),
    ],
)
def test_auto_is_what_a_worker_does_while_another_boots(
    slots: int, boot: float, mean: float, jobs: int
) -> None:
    assert auto.jobs_per_worker(slots, boot, mean) == jobs
