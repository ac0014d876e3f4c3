"""How long one evaluation takes, with many pools and workers, on a local Redis."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping

from celery import Celery

from celery_middle_management.brokers import broker_of
from celery_middle_management.core.batch import PUBLISHED, Batch, Record
from celery_middle_management.core.demand import Held
from celery_middle_management.core.presence import Presence
from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.ledger.clocks import SYSTEM
from celery_middle_management.ledger.model import Lease
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.platforms.base import Platform, PlatformError, Refused
from celery_middle_management.reporting.scaler import Scaler
from celery_middle_management.settings.model import Settings
from celery_middle_management.settings.reading import read_settings
from tests.benchmarks.figures import Figure, command, median

#: Tasks of each pool that are due later, each in a bucket of its own.
_SCHEDULED = 20


class _Steady(Platform):
    """Runs as many workers of each pool as it is asked for, at once."""

    def __init__(self, quantity: int) -> None:
        self._quantity = quantity

    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int | Refused]:
        return dict.fromkeys(pools, self._quantity)

    def scale(
        self, quantities: Mapping[str, int], deadline: float
    ) -> dict[str, int | PlatformError]:
        raise AssertionError("every pool has as many workers as it needs")

    def running(self, pools: Collection[str], deadline: float) -> dict[str, list[str]]:
        raise AssertionError("every worker is heard of")


def measure(pools: int, workers: int, rounds: int) -> Iterator[Figure]:
    each = workers // pools
    with RedisServer() as server:
        app = Celery(broker=server.url)
        app.conf.update(
            middle_management_enabled=True,
            middle_management_platform="local",
            middle_management_max_workers=each,
            middle_management_jobs_per_worker=1,
            # One of them serves whatever queue no other names.
            middle_management_pools={
                f"pool{n}": {"queues": [f"queue{n}"]} if n else {} for n in range(pools)
            },
        )
        settings = read_settings(app)
        assert settings is not None
        ledger = RedisLedger(settings)
        scaler = Scaler(
            app, settings, ledger, broker_of(app, settings, ledger.redis), _Steady(each)
        )
        live = [
            _worker(f"pool{n}.{i}", f"queue{n}") for n in range(pools) for i in range(1, each + 1)
        ]
        _publish(ledger, settings, each)
        times: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(2 * rounds):
            lease = _lease(ledger, live)
            counts = turn % 2 == 0
            if counts:
                _forget_counts(ledger, settings)
            began = time.perf_counter()
            scaler.evaluate(lease)
            times[counts].append((time.perf_counter() - began) * 1000)
        assert ledger.snapshot().number("pool1/quantity") == each
        ledger.close()
    yield median("an evaluation", times[False], "ms", limit="<= 30")
    yield median("one that counts", times[True], "ms", limit="<= 30")


def _worker(name: str, queue: str) -> Presence:
    return Presence(
        id=name,
        name=name,
        pool=name.partition(".")[0],
        since=time.time(),
        seen=0.0,
        busy=1,
        queues=(queue,),
        held={queue: Held(waiting=4, running=1, unacknowledged=5)},
    )


def _publish(ledger: RedisLedger, settings: Settings, tasks: int) -> None:
    batch = Batch(settings.pool_name)
    due = time.time() + 7200
    for pool in settings.pools:
        for queue in pool.queues or ("celery",):
            for n in range(tasks):
                batch.add(Record(PUBLISHED, queue, time.monotonic() + n / 1000, 0.0), SYSTEM.now())
            for n in range(_SCHEDULED):
                batch.add(Record(PUBLISHED, queue, time.monotonic(), due + n * 60), SYSTEM.now())
    ledger.report(batch)


def _lease(ledger: RedisLedger, live: Collection[Presence]) -> Lease:
    """Have every worker report, and win the lock."""
    for presence in live:
        ledger.report(Batch(), presence.id, presence)
    ledger.redis.delete(ledger.keys["lock"])
    ledger.redis.hset(ledger.keys["state"], "next_at", "0")
    lease = ledger.report(Batch()).lease
    assert lease is not None
    return lease


def _forget_counts(ledger: RedisLedger, settings: Settings) -> None:
    names = [f"{pool.name}/count" for pool in settings.pools]
    ledger.redis.hdel(ledger.keys["state"], *names)


if __name__ == "__main__":
    command(__doc__, measure, pools=100, workers=1000, rounds=30)
