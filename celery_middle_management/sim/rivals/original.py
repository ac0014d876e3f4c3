"""The Ruby gem ``middle_management`` of 2011, for Delayed Job."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from celery_middle_management.sim.scaler import Seen

#: The gem changes the number of workers at most this often (s), but from zero at once.
_INTERVAL = 10.0


@dataclass
class Original:
    """One worker for *jobs_per_worker* jobs that are ready and not begun.

    It decides whenever a job comes or ends.
    A change that comes too soon is made up for when its time has come: a delayed job looks again.

    Source:
        https://github.com/freerobby/middle_management (manager.rb, job_modifications.rb). Here one
        process does all the counting, which suits the gem: its own processes disagree for up to a
        minute.
    """

    jobs_per_worker: int
    again_at: float = inf
    _changed_at: float = -inf

    def workers(self, seen: Seen) -> int:
        ready = seen.waiting + seen.just_begun
        wanted = seen.within_limits(-(-ready // self.jobs_per_worker))
        if self.again_at <= seen.now:
            self.again_at = inf
        if wanted != seen.quantity:
            if seen.quantity and seen.now - self._changed_at < _INTERVAL:
                self.again_at = min(self.again_at, seen.now + _INTERVAL)
                return seen.quantity
            self._changed_at = seen.now
        return wanted
