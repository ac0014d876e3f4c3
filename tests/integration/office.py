"""A ledger in Redis and its evaluation in this process, with a platform that only remembers."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from celery import Celery

from celery_middle_management.brokers import broker_of
from celery_middle_management.core.batch import PUBLISHED
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.presence import Presence
from celery_middle_management.counting.tally import Tally
from celery_middle_management.ledger.model import Lease, Reply
from celery_middle_management.ledger.pool_reading import read_pool
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.platforms.base import Platform, PlatformError, Refused
from celery_middle_management.reporting.reporter import Reporter
from celery_middle_management.reporting.scaler import Scaler
from celery_middle_management.settings.reading import read_settings
from tests.servers import wait_for


class Remembering(Platform):
    """Has as many workers of each pool as it was last told."""

    def __init__(self) -> None:
        self.quantity: dict[str, int] = {}

    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int | Refused]:
        return {pool: self.quantity.get(pool, 0) for pool in pools}

    def scale(
        self, quantities: Mapping[str, int], deadline: float
    ) -> dict[str, int | PlatformError]:
        self.quantity |= quantities
        return dict(quantities)

    def running(self, pools: Collection[str], deadline: float) -> dict[str, list[str]]:
        return {p: [f"{p}.{n}" for n in range(1, self.quantity.get(p, 0) + 1)] for p in pools}


class Office:
    """One process of an app: it publishes, reports and evaluates when it is told to."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.app = Celery(broker=url, set_as_current=False)
        given = {"enabled": True, "platform": "local", "max_workers": 5, "jobs_per_worker": 1}
        self.app.conf.update(
            {f"middle_management_{name}": value for name, value in (given | settings).items()}
        )
        found = read_settings(self.app)
        assert found is not None
        self.settings = found
        self.platform = Remembering()
        self.tally = Tally()
        self.ledger = RedisLedger(found)
        self.redis = self.ledger.redis
        self.scaler = Scaler(
            self.app, found, self.ledger, broker_of(self.app, found, self.redis), self.platform
        )
        self.leases: list[Lease] = []
        self.reporter = Reporter(found, self.tally, lambda: self.ledger, lambda: self)

    def evaluate(self, lease: Lease) -> None:
        """The lock is ours: for the test to use, see :meth:`lease`."""
        self.leases.append(lease)

    def publish(self, tasks: int = 1, queue: str = "celery", due_in: float = 0.0) -> None:
        """Put messages into a queue, and tell of them with the next report."""
        for _ in range(tasks):
            self.redis.lpush(queue, "{}")
            self.tally.add(PUBLISHED, queue, time.time() + due_in if due_in else 0.0)

    def report(self, presence: Presence | None = None) -> Reply:
        """Report all that there is to tell."""
        reply = self.reporter.report(presence.id if presence else None, presence)
        assert reply is not None
        if self.reporter._evaluation is not None:
            self.reporter._evaluation.join(10)
        return reply

    def lease(self, timeout: float = 30.0) -> Lease:
        """Report until an evaluation is ours."""
        wait_for(lambda: self.leases or (self.report() and self.leases), timeout)
        return self.leases.pop()

    def state(self) -> PoolState:
        """What the ledger says of the first pool."""
        return read_pool(self.ledger.snapshot(), self.settings.pools[0])

    def close(self) -> None:
        self.ledger.close()


@contextmanager
def office(url: str, **settings: Any) -> Iterator[Office]:
    """An office, closed at the end."""
    it = Office(url, **settings)
    try:
        yield it
    finally:
        it.close()
