"""The time to count 100 queues on a local Redis, with all priorities of each."""

from __future__ import annotations

import time
from collections.abc import Iterator

import redis

from celery_middle_management.brokers.redis import RedisBroker, RedisLists
from celery_middle_management.demo.redis_server import RedisServer
from tests.benchmarks.figures import Figure, command, median

_MESSAGES = 10  # per list


def measure(queues: int, rounds: int) -> Iterator[Figure]:
    names = [f"queue-{n}" for n in range(queues)]
    with RedisServer() as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        lists = RedisLists({})
        for name in (name for queue in names for name in lists.names(queue)):
            client.lpush(name, *["message"] * _MESSAGES)
        broker = RedisBroker(client, {})
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            backlogs = broker.backlogs(names, {})
            times.append((time.perf_counter() - began) * 1000)
        assert all(b.ready == _MESSAGES * len(lists.names("")) for b in backlogs.values())
    yield median(f"a count of {queues} queues", times, "ms", limit="< 10")
    yield Figure("the slowest", max(times), "ms")


if __name__ == "__main__":
    command(__doc__, measure, queues=100, rounds=300)
