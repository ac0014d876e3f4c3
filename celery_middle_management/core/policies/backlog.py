"""The backlog policy: one worker for a fixed number of tasks."""

from __future__ import annotations

from celery_middle_management.core.policies import Advice


def backlog(tasks: int, jobs_per_worker: int) -> Advice:
    """Advise tasks / *jobs_per_worker* workers, rounded up."""
    workers = -(-tasks // jobs_per_worker)
    what, need = ("1 task", "needs") if tasks == 1 else (f"{tasks} tasks", "need")
    return Advice(workers, f"{what} at {jobs_per_worker} per worker {need} {workers}")
