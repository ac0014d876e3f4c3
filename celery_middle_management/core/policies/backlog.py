"""A worker for so many tasks."""

from __future__ import annotations

from celery_middle_management.core.policies import Advice


def backlog(tasks: int, jobs_per_worker: int) -> Advice:
    """One worker for every *jobs_per_worker* tasks or part of them."""
    workers = -(-tasks // jobs_per_worker)
    what, need = ("1 task", "needs") if tasks == 1 else (f"{tasks} tasks", "need")
    return Advice(workers, f"{what} at {jobs_per_worker} per worker {need} {workers}")
