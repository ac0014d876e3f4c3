"""A pool: workers that serve the same queues."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from celery_middle_management.core.policies.schedule import InForce, Schedule


@dataclass(frozen=True)
class Pool:
    """A Heroku process type, the queues that it serves, and its limits."""

    name: str
    queues: tuple[str, ...] | None
    """None means every queue that no other pool names. At most one pool can have None."""
    min_workers: int
    max_workers: int
    jobs_per_worker: int | None
    """Tasks for each worker. None: it is measured. With a `max_wait` it is not used."""
    one_off: bool = False
    """True if its workers are one-off dynos, which are hired one by one."""
    dyno_size: str | None = None
    """The size of its one-off dynos; None means the size of the process type's dynos."""
    max_wait: float | None = None
    """The time (s) within which 95 % of its tasks shall start, if that decides its workers."""
    schedule: Schedule | None = None
    """Limits that take the place of its own at certain times."""
    in_force: InForce | None = field(default=None, repr=False)
    """Which limits of the schedule it has now, if :meth:`at` has set them."""

    def at(self, now: float, offset: float = 0.0) -> Pool:
        """Return the pool with the limits that are in force at a time (Unix, s), and no schedule.

        *now*, and the times of ``in_force``, are ahead of the calendar by the *offset* (s).
        """
        if self.schedule is None:
            return self
        found = self.schedule.at(now - offset)
        limits = found.entry or self
        return replace(
            self,
            min_workers=limits.min_workers,
            max_workers=limits.max_workers,
            schedule=None,
            in_force=found.later(offset),
        )

    @property
    def limits_until(self) -> float | None:
        """When (Unix, s) other limits take the place of those in force; None: never."""
        return self.in_force.until if self.in_force else None

    @property
    def widest(self) -> Pool:
        """The pool with the lowest minimum and the highest maximum that it ever has."""
        if self.schedule is None:
            return self
        least = min(entry.min_workers for entry in self.schedule.entries)
        most = max(entry.max_workers for entry in self.schedule.entries)
        return replace(self, min_workers=least, max_workers=most, schedule=None)

    @property
    def lowest_maximum(self) -> int:
        """The lowest maximum that it ever has."""
        if self.schedule is None:
            return self.max_workers
        return min(entry.max_workers for entry in self.schedule.entries)


def pool_named(pools: Iterable[Pool], name: str | None) -> Pool | None:
    """Return the pool of this name, or the only one if no name is given; None: there is none."""
    found = [pool for pool in pools if name is None or pool.name == name]
    return found[0] if len(found) == 1 else None
