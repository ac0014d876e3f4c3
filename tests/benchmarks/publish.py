"""The cost of ``delay()`` with the package enabled, relative to plain Celery, with a Redis broker.

Two long-lived processes publish in turns, a batch each. The agent also works between batches, so
the processor time of the whole process, including its thread, is reported too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from celery_middle_management.demo.redis_server import RedisServer
from tests.benchmarks.figures import Figure, abba, command, median, ratio
from tests.benchmarks.publisher import Publisher
from tests.integration.stage import stage

#: After this time (s) an agent has reported all published tasks.
_SETTLES = 5.0


def measure(rounds: int, tasks: int) -> Iterator[Figure]:
    with (
        RedisServer() as server,
        stage(server.url, command=None) as on,
        Publisher(on.env) as ours,
        Publisher({**on.env, "MM_OFF": "1"}) as plain,
    ):
        publishers = ours, plain
        for publisher in publishers:
            publisher.publish(tasks)
        time.sleep(_SETTLES)
        before = [p.publish(1).cpu for p in publishers]
        seconds = abba(
            rounds, lambda: ours.publish(tasks).seconds, lambda: plain.publish(tasks).seconds
        )
        time.sleep(_SETTLES)
        after = [p.publish(1).cpu for p in publishers]
    yield ratio("delay(), with / without", *seconds, limit="<= 1.05")
    names = "with", "without"
    for name, values in zip(names, seconds, strict=True):
        yield median(f"delay() {name}", [s / tasks * 1e6 for s in values], "µs")
    cpu = [(b - a) / (rounds * tasks) * 1e6 for a, b in zip(before, after, strict=True)]
    yield Figure("processor time, with / without", cpu[0] / cpu[1], "x")
    for name, value in zip(names, cpu, strict=True):
        yield Figure(f"processor time {name}", value, "µs/task")


if __name__ == "__main__":
    command(__doc__, measure, rounds=100, tasks=200)
