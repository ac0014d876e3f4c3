"""A pool: workers that serve the same queues."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pool:
    """A Heroku process type, the queues that it serves, and its limits."""

    name: str
    queues: tuple[str, ...] | None
    """None means every queue that no other pool names. At most one pool can have None."""
    min_workers: int
    max_workers: int
    jobs_per_worker: int
    one_off: bool = False
    """True if its workers are one-off dynos, which are hired one by one."""
    dyno_size: str | None = None
    """The size of its one-off dynos; None means the size of the process type's dynos."""


def pool_named(pools: Iterable[Pool], name: str | None) -> Pool | None:
    """Return the pool of this name, or the only one if no name is given; None: there is none."""
    found = [pool for pool in pools if name is None or pool.name == name]
    return found[0] if len(found) == 1 else None
