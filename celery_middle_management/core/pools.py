"""A pool: workers that serve the same queues, and their limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pool:
    """A Heroku process type, the queues that it serves, and its limits."""

    name: str
    queues: tuple[str, ...] | None
    """None: every queue that no other pool names. At most one pool has that."""
    min_workers: int
    max_workers: int
    jobs_per_worker: int
    one_off: bool = False
    """Whether its workers are hired one by one, rather than as a quantity."""
    dyno_size: str | None = None
    """Of those; None: that of the process type."""
