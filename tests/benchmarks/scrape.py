"""How long a scrape of the metrics takes, with many pools and workers, on a local Redis.

And what fifty scrapes at the same time cost Redis, relative to one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis
from celery import Celery

from celery_middle_management.app_setup import enabled_app_of
from celery_middle_management.core.batch import Batch
from celery_middle_management.core.demand import Held
from celery_middle_management.core.presence import Presence, Run
from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.inspection import status
from celery_middle_management.managed_app import ManagedApp
from celery_middle_management.web import latest_status, prometheus
from celery_middle_management.web.latest import Latest
from tests.benchmarks.figures import Figure, command, median


def measure(pools: int, workers: int, rounds: int) -> Iterator[Figure]:
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        managed = _app(server.url, pools, workers)
        for n in range(workers):
            managed.ledger().report(Batch(), str(n), _worker(n, n % pools))
        read = []
        for _ in range(rounds):
            _last_for(managed, 0.0)
            read.append(_scrape(managed))
        _last_for(managed, 3600.0)
        _scrape(managed)
        again = [_scrape(managed) for _ in range(rounds)]
        size = len(prometheus.exposition(managed)[0])
        alone, together = (_commands(client, managed, n) for n in (1, 50))
        managed.ledger().close()
    yield median(f"a scrape of {pools} pools and {workers} workers", read, "ms", limit="<= 100")
    yield median("another one soon after", again, "ms", limit="<= 20")
    yield Figure("its length", size / 1000, "kB")
    yield Figure("Redis commands of one", alone, "")
    yield Figure("Redis commands of 50 at once", together, "", limit=f"== {alone}")


def _app(redis_url: str, pools: int, workers: int) -> ManagedApp:
    app = Celery(broker=redis_url)
    app.conf.update(
        middle_management_enabled=True,
        middle_management_platform="local",
        middle_management_max_workers=workers // pools,
        middle_management_pools={f"pool{n}": {"queues": [f"queue{n}"]} for n in range(pools)},
    )
    return enabled_app_of(app)


def _worker(number: int, pool: int) -> Presence:
    queue = f"queue{pool}"
    return Presence(
        id=str(number),
        name=f"pool{pool}.{number + 1}",
        pool=f"pool{pool}",
        since=time.time(),
        seen=0.0,
        busy=1,
        queues=(queue,),
        held={queue: Held(waiting=4, running=1, unacknowledged=5)},
        runs=(Run("app.work", time.time()),),
    )


def _last_for(managed: ManagedApp, seconds: float) -> None:
    """Have what is read given out again for so long, beginning with nothing."""
    latest_status._latest[managed] = Latest(lambda: status(managed), seconds, "mm-status")


def _scrape(managed: ManagedApp) -> float:
    """The time (ms) that it takes."""
    began = time.perf_counter()
    body, _ = prometheus.exposition(managed)
    assert b"\ncelery_mm_up 1.0\n" in body
    return (time.perf_counter() - began) * 1000


def _commands(client: redis.Redis, managed: ManagedApp, scrapes: int) -> int:
    """How many commands Redis gets while so many scrapes come at once."""
    _last_for(managed, 3600.0)
    before = _processed(client)
    with ThreadPoolExecutor(scrapes) as scrapers:
        list(scrapers.map(lambda _: _scrape(managed), range(scrapes)))
    return _processed(client) - before - 1  # this one's own


def _processed(client: redis.Redis) -> int:
    info: Any = client.info("stats")
    return int(info["total_commands_processed"])


if __name__ == "__main__":
    command(__doc__, measure, pools=10, workers=100, rounds=50)
