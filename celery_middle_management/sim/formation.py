"""A formation in virtual time: a number of workers, of which the highest numbers are stopped first.

So do Heroku and, with a few exceptions, Kubernetes and ECS: they stop the youngest.
"""

from __future__ import annotations

from celery_middle_management.core.traits import dotted_name
from celery_middle_management.sim.cluster import Cluster

#: The name of the simulated pool.
POOL = "worker"


class Formation:
    """The numbered workers of the pool. A change takes effect after the platform's latency."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        #: The number of workers that the platform was last told.
        self.quantity = 0

    def begin(self, quantity: int) -> None:
        """Have so many workers, which were there before the first task."""
        self.quantity = quantity
        for number in range(1, quantity + 1):
            self._cluster.hire(number, dotted_name(POOL, number), booted=True)

    def scale(self, quantity: int) -> None:
        """Set the quantity."""
        self.quantity = quantity
        self._cluster.later(self._cluster.model.latency, self._settle)

    def _settle(self) -> None:
        """Stop the workers that are too many, and start those that are missing."""
        cluster = self._cluster
        staying = [w for w in cluster.workers.values() if w.number and not w.stopping]
        for worker in sorted(staying, key=lambda w: -w.number):
            if worker.number > self.quantity:
                cluster.stop(worker)
        taken = {worker.number for worker in staying}
        for number in range(1, self.quantity + 1):
            if number not in taken:
                cluster.hire(number, dotted_name(POOL, number))
