"""A worker for so many tasks."""

from __future__ import annotations

from celery_middle_management.core.policies import Advice


def backlog(tasks: int, jobs_per_worker: int) -> Advice:
    """One worker for every *jobs_per_worker* tasks or part of them."""
    workers = -(-tasks // jobs_per_worker)
    return Advice(workers, f"{tasks} tasks at {jobs_per_worker} per worker need {workers}")
