"""How many tasks a worker prefetches.

A task that waits in a worker behind a long one cannot be started by another worker that is idle. So
while tasks are long, a worker takes one task for each of its slots. While they are short, it
prefetches as many as Celery is configured to, which keeps its slots busy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

#: A task that has run for this long (s) is a long one.
LONG = 1.0
#: Tasks are short once this many of them have ended since a long one was last seen running.
SHORT_IN_A_ROW = 50


class PrefetchLimit(Enum):
    """What limits the tasks that a worker takes."""

    #: Celery's prefetch count: ``worker_prefetch_multiplier`` for each slot.
    CONFIGURED = "Celery's prefetch count"
    #: One task for each slot.
    ONE_PER_SLOT = "one task for each slot"


@dataclass(frozen=True)
class AdaptivePrefetch:
    """The prefetch limit that suits the tasks that a worker has run.

    Tasks are assumed to be long until they prove to be short.
    """

    limit: PrefetchLimit = PrefetchLimit.ONE_PER_SLOT
    #: The number of tasks that had ended when a long one was last seen running.
    ended: int = 0

    def after(self, longest: float, ended: int) -> AdaptivePrefetch:
        """Return the next state, if the longest of the running tasks has run for *longest* seconds.

        *ended* is the number of tasks that the worker has ended since its start.
        """
        if longest >= LONG:
            return AdaptivePrefetch(PrefetchLimit.ONE_PER_SLOT, ended)
        if ended - self.ended >= SHORT_IN_A_ROW:
            return AdaptivePrefetch(PrefetchLimit.CONFIGURED, self.ended)
        return self
