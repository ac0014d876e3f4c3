"""From what there is to do to the workers needed."""

from __future__ import annotations


def workers_needed(outstanding: int, jobs_per_worker: int, minimum: int, maximum: int) -> int:
    """One worker for every *jobs_per_worker* outstanding tasks or part of them, within limits."""
    return min(max(-(-outstanding // jobs_per_worker), minimum), maximum)
