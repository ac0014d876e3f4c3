"""From what there is to do to the workers needed."""

from __future__ import annotations

import pytest

from celery_middle_management.core.policies.backlog import workers_needed


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
    assert workers_needed(outstanding, jobs, *limits) == needed
