"""How many tasks a worker takes ahead of those that it runs.

A task that waits in a worker behind a long one cannot be begun by another worker that is idle. So
while tasks are long, a worker takes one task for each of its slots; while they are short, it takes
as many as Celery's settings say, which keeps its slots busy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

#: A task that has run for this long (s) is a long one.
LONG = 1.0
#: Tasks are short once this many of them have ended since a long one was last seen running.
SHORT_IN_A_ROW = 50


class Prefetch(Enum):
    """What a worker takes."""

    #: As many tasks as Celery's settings say.
    CELERYS = "Celery's prefetch count"
    #: One task for each slot.
    ONE_PER_SLOT = "one task for each slot"


@dataclass(frozen=True)
class Pace:
    """What a worker has seen of its tasks, and what it takes therefore.

    Tasks are taken for long until they have shown that they are short.
    """

    prefetch: Prefetch = Prefetch.ONE_PER_SLOT
    #: How many tasks had ended when a long one was last seen running.
    ended: int = 0

    def after(self, longest: float, ended: int) -> Pace:
        """The next one, when the longest of the running tasks has run for *longest* seconds, and
        the worker has *ended* so many tasks since its start."""
        if longest >= LONG:
            return Pace(Prefetch.ONE_PER_SLOT, ended)
        if ended - self.ended >= SHORT_IN_A_ROW:
            return Pace(Prefetch.CELERYS, self.ended)
        return self
