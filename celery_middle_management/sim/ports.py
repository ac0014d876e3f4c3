"""The platform and the broker as an evaluation sees them, in virtual time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from celery_middle_management.brokers.base import Broker, CountFailed
from celery_middle_management.core.demand import Backlog
from celery_middle_management.platforms.base import (
    Listing,
    OneOff,
    OneOffPlatform,
    Platform,
    PlatformError,
    Refused,
)
from celery_middle_management.sim.cluster import Cluster
from celery_middle_management.sim.formation import POOL, Formation
from celery_middle_management.sim.processes import QUEUE


class SimBroker(Broker):
    """Counts the tasks of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def backlogs(
        self, queues: Sequence[str], unacknowledged: Mapping[str, int]
    ) -> dict[str, Backlog | CountFailed]:
        return {**self.read(unacknowledged)}

    def read(self, unacknowledged: Mapping[str, int]) -> dict[str, Backlog]:
        """Return what :meth:`backlogs` does, which never fails here."""
        held = sum(worker.held for worker in self._cluster.workers.values())
        untold = held - unacknowledged.get(QUEUE, 0)
        more = max(untold, 0)
        ready = self._cluster.queues.waiting + more
        return {QUEUE: Backlog(ready, untold=more, returned=max(-untold, 0))}


class SimPlatform(Platform, OneOffPlatform):
    """Runs the workers of a cluster, and never fails."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.formation = Formation(cluster)
        self.calls = 0
        #: How long (s) the calls of the present evaluation have taken.
        self.spent = 0.0
        #: How many one-off workers have been hired.
        self._hired = 0
        if cluster.model.one_off:
            self.one_offs = self

    def _call(self) -> None:
        self.spent += self._cluster.model.latency

    # -- the formation

    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int | Refused]:
        self._call()
        return {POOL: self.formation.quantity}

    def running(self, pools: Collection[str], deadline: float) -> dict[str, list[str]]:
        self._call()
        workers = self._cluster.workers.values()
        return {POOL: [w.name for w in workers if w.number and not w.stopping]}

    def scale(
        self, quantities: Mapping[str, int], deadline: float
    ) -> dict[str, int | PlatformError]:
        self._call()
        self.calls += 1
        self.formation.scale(quantities[POOL])
        return {POOL: quantities[POOL]}

    # -- one-off workers

    def listed(self, pools: Collection[str], deadline: float) -> dict[str, Listing]:
        self._call()
        workers = self._cluster.workers.values()
        return {POOL: Listing(tuple(OneOff(w.name, w.name) for w in workers if not w.number))}

    def hire(
        self, hires: Mapping[str, Collection[str]], deadline: float
    ) -> dict[str, OneOff | PlatformError]:
        self._call()
        outcomes: dict[str, OneOff | PlatformError] = {}
        for id in hires[POOL]:
            self.calls += 1
            self._hired += 1
            name = f"run.{self._hired}"
            cluster = self._cluster
            cluster.later(cluster.model.latency, partial(cluster.hire, 0, name, hire_id=id))
            outcomes[id] = OneOff(name, name)
        return outcomes

    def stop(self, worker: str, deadline: float) -> None:
        for one in [w for w in self._cluster.workers.values() if w.name == worker]:
            self._cluster.stop(one)
