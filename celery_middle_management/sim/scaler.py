"""What changes the number of workers in a simulation, and when."""

from __future__ import annotations

from math import inf
from typing import NamedTuple, Protocol

from celery_middle_management.sim.cluster import Cluster
from celery_middle_management.sim.formation import Formation


class Scaler(Protocol):
    """Hires and fires the workers of a cluster."""

    @property
    def calls(self) -> int:
        """The requests to the platform so far that changed something."""

    #: So many workers stay when there is nothing to do.
    least: int

    @property
    def next_at(self) -> float:
        """When (s) it must act next, unless something happens to a worker before."""

    def act(self) -> None:
        """Take note of what has happened until now, and do what is due."""


class Seen(NamedTuple):
    """What a rule sees when it decides. Times are in seconds."""

    now: float
    quantity: int
    #: The limits of the pool.
    minimum: int
    maximum: int
    #: Tasks in the queues, ...
    waiting: int
    #: ... and those that workers began at this very moment.
    just_begun: int
    #: Tasks that workers hold, whether they have begun them or not.
    held: int
    #: How long the first task of a queue has waited; 0 if none waits.
    longest_wait: float

    def within_limits(self, workers: int) -> int:
        """Return a number of workers within the pool's limits."""
        return min(max(workers, self.minimum), self.maximum)


class Rule(Protocol):
    """Decides how many workers of a formation there should be."""

    def workers(self, seen: Seen) -> int:
        """Return the number of workers wanted, which need not be within the limits."""


class PeriodicRule(Rule, Protocol):
    """A rule that is applied again and again."""

    #: The time (s) between two decisions.
    interval: float


class EventRule(Rule, Protocol):
    """A rule that is applied whenever a task is published, ends or goes back to its queue."""

    #: It is also applied at this time (s).
    again_at: float


class _RuleScaler:
    """Applies a rule to the formation."""

    def __init__(self, cluster: Cluster, rule: Rule) -> None:
        self.calls = 0
        self._cluster = cluster
        self._rule = rule
        self._formation = Formation(cluster)
        self.least = cluster.model.minimum
        self._formation.begin(self.least)

    def _apply(self) -> None:
        seen = self._seen()
        wanted = seen.within_limits(self._rule.workers(seen))
        if wanted != self._formation.quantity:
            self.calls += 1
            self._formation.scale(wanted)

    def _seen(self) -> Seen:
        cluster, queues = self._cluster, self._cluster.queues
        return Seen(
            now=cluster.now,
            quantity=self._formation.quantity,
            minimum=cluster.model.minimum,
            maximum=cluster.model.maximum,
            waiting=queues.waiting,
            just_begun=cluster.begun if cluster.begun_at == cluster.now else 0,
            held=sum(worker.held for worker in cluster.workers.values()),
            longest_wait=queues.longest_wait(cluster.now),
        )


class PeriodicScaler(_RuleScaler):
    """Applies a rule every so often. *begins* is when (s) it does for the first time."""

    def __init__(self, cluster: Cluster, rule: PeriodicRule, begins: float) -> None:
        super().__init__(cluster, rule)
        self.next_at = begins
        self._interval = rule.interval

    def act(self) -> None:
        if self._cluster.now >= self.next_at:
            self.next_at += self._interval
            self._apply()


class EventScaler(_RuleScaler):
    """Applies a rule whenever something happens."""

    def __init__(self, cluster: Cluster, rule: EventRule) -> None:
        super().__init__(cluster, rule)
        self._event_rule = rule
        self._happened = 0

    @property
    def next_at(self) -> float:
        return min(self._cluster.next_event, self._event_rule.again_at)

    def act(self) -> None:
        cluster = self._cluster
        happened = cluster.queues.arrived + cluster.finished + cluster.killed
        if happened > self._happened or cluster.now >= self._event_rule.again_at:
            self._happened = happened
            self._apply()


class Fixed:
    """Always the same number of workers."""

    next_at = inf

    def __init__(self, cluster: Cluster, workers: int) -> None:
        self.calls = 0
        self.least = workers
        Formation(cluster).begin(workers)

    def act(self) -> None:
        """Do nothing."""
