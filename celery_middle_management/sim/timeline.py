"""How many workers and tasks there were in the course of a simulation."""

from __future__ import annotations

from array import array
from bisect import bisect_left

from celery_middle_management.sim.cluster import Cluster
from celery_middle_management.sim.outcome import Moment

#: A timeline has at most so many moments.
_MOST = 480


class Timeline:
    """Evenly spaced moments of a cluster, however long the simulation turns out to take."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._apart = max(cluster.queues.span, 1.0) / (_MOST / 2)
        self.moments: list[Moment] = []
        self.next_at = 0.0

    def look(self) -> bool:
        """Note what there is, if it is time; return whether it was."""
        cluster = self._cluster
        if cluster.now < self.next_at:
            return False
        workers = len(cluster.workers)
        self.moments.append(Moment(cluster.now, workers, cluster.queues.waiting, cluster.running))
        if len(self.moments) > _MOST:
            self.moments = self.moments[::2]
            self._apart *= 2
        self.next_at = self.moments[-1].at + self._apart
        return True

    def longest_waits(self, published: array[float]) -> tuple[float, ...]:
        """Return the longest wait (s) of the tasks published after each moment until the next."""
        waits, times = self._cluster.queues.waits, [moment.at for moment in self.moments]
        places = [bisect_left(published, at) for at in times[1:]]
        begins, ends = [0, *places], [*places, len(published)]
        longest = (max(waits[b:e], default=0.0) for b, e in zip(begins, ends, strict=True))
        return tuple(longest) if times else ()
