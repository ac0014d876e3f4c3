"""The pace of a pool: how fast its tasks come, and how long they run. Measured, and decayed.

Everything follows from counters that only grow, and from how long the tasks that run now have been
running. So it makes little difference how often it is brought up to date.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, sqrt
from typing import NamedTuple

from celery_middle_management.core.policies.steering import FACTOR

#: The times (s) over which the arrivals of tasks are averaged, ...
SHORT, LONG = 60.0, 600.0
#: ... and the part of each that must have been watched at least before it is divided by.
WATCHED = 0.2
#: The run times of about so many of the latest tasks make the mean.
LATEST = 100.0


class Arrivals(NamedTuple):
    """The tasks that were published in a time (s); both fade away as time passes."""

    tasks: float = 0.0
    time: float = 0.0

    def after(self, tasks: int, time: float, over: float) -> Arrivals:
        """Return the arrivals when more *tasks* have come in a *time* (s), averaged *over* some."""
        kept = exp(-time / over)
        return Arrivals(self.tasks * kept + tasks, self.time * kept + time)

    def rate(self, over: float) -> float:
        """Return how many tasks come in a second."""
        return self.tasks / max(self.time, WATCHED * over)


NONE = Arrivals()


class Seen(NamedTuple):
    """What has happened to a pool until *now* (Unix, s): numbers of tasks, and times."""

    now: float
    published: int
    started: int
    late: int
    finished: int
    #: How long (s) the finished tasks ran, in all.
    runtime: float
    #: The tasks that run now, and how long (s) they have been running, in all.
    running: int = 0
    elapsed: float = 0.0

    @property
    def worked(self) -> float:
        """How long (s) tasks have run in all, those included that are running."""
        return self.runtime + self.elapsed

    def fell_since(self, before: Seen) -> bool:
        """Return whether any counter of tasks has fallen."""
        return any(now < then for now, then in zip(self[1:5], before[1:5], strict=True))


@dataclass(frozen=True)
class Pace:
    """How fast a pool's tasks come and go. Times are the ledger's, Unix (s)."""

    seen: Seen | None = None
    #: When the first of it was seen.
    since: float = 0.0
    short: Arrivals = NONE
    long: Arrivals = NONE
    #: Of about the :data:`LATEST` tasks that have finished: their number, how long (s) they ran,
    #: and how long tasks have run meanwhile, finished or not.
    finished: float = 0.0
    runtime: float = 0.0
    worked: float = 0.0
    #: When the last task is known to have come, and how many came in a second at that time.
    arrived_at: float = 0.0
    rate_then: float = 0.0
    #: Since when tasks have waited while the pool had no worker; 0 if none do.
    waiting_since: float = 0.0
    #: How many tasks each of its workers runs at the same time.
    slots: int = 1
    #: See :mod:`celery_middle_management.core.policies.steering`.
    factor: float = FACTOR

    def mean(self, assumed: float) -> float:
        """Return the mean run time (s), which is *assumed* to be so long before any is known.

        This is the time that tasks have run, finished or not, divided by how many have finished:
        the maximum-likelihood estimate of a mean from data that is cut off, if run times are
        exponential (Epstein and Sobel, Life Testing, 1953). The mean of the finished tasks alone
        is too short while the long ones are still running. But where many tasks run and few have
        finished, the estimate says more about the exponential distribution than about the tasks.
        So it is no longer than the mean of those that have finished, or of the time for which
        those that run have been running.
        """
        estimate = (self.worked + assumed) / (self.finished + 1)
        ended = self.runtime / self.finished if self.finished > 0 else 0.0
        running = self.seen.elapsed / self.seen.running if self.seen and self.seen.running else 0.0
        return max(min(estimate, max(assumed, ended, running)), 1e-3)

    @property
    def doubt(self) -> float:
        """The standard error of the mean, as a part of the mean."""
        return 1 / sqrt(self.finished + 1)

    def after(self, seen: Seen, slots: int) -> Pace:
        """Return the pace when *seen* is known; *slots* are those of a worker, 0 if unknown."""
        before = self.seen
        if before is None or seen.fell_since(before):
            # The counters begin, or the ledger has lost them.
            return replace(self, seen=seen, since=seen.now, slots=slots or self.slots)
        time = max(seen.now - before.now, 0.0)
        came, ended = seen.published - before.published, seen.finished - before.finished
        long = self.long.after(came, time, LONG)
        kept = exp(-ended / LATEST)
        return replace(
            self,
            seen=seen,
            short=self.short.after(came, time, SHORT),
            long=long,
            finished=self.finished * kept + ended,
            runtime=max(self.runtime * kept + seen.runtime - before.runtime, 0.0),
            worked=max(self.worked * kept + seen.worked - before.worked, 0.0),
            arrived_at=seen.now if came else self.arrived_at,
            rate_then=long.rate(LONG) if came else self.rate_then,
            slots=slots or self.slots,
        )


#: That of a pool of which nothing is known.
NEW = Pace()
