"""The firing of a worker that holds thousands of scheduled tasks, far from its Redis broker.

The line to the broker delays each direction by half of the round trip. Measured from the end of the
worker's last running task: the time until it is fired, in which it gives the tasks back, and then
the time until it has ended; the platform would kill it after 30 s. Tasks left with no worker would
stay unseen until the visibility timeout.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import redis

from celery_middle_management.demo.redis_server import RedisServer
from tests.benchmarks.figures import Figure, command
from tests.integration.scenes import Scene, scene
from tests.servers import SlowLine


def measure(tasks: int, microseconds: int) -> Iterator[Figure]:
    delay = microseconds / 2e6
    with (
        tempfile.TemporaryDirectory() as directory,
        RedisServer() as broker,
        SlowLine(urlsplit(broker.url).port or 0, delay) as line,
        redis.Redis.from_url(broker.url) as client,
        scene(Path(directory), broker_url=line.url(broker.url)) as it,
    ):
        publisher = it.program(BROKER_URL=broker.url)
        publisher.say("hold_early.delay()")
        it.wait_at_work("worker.1")
        publisher.say(f"for _ in range({tasks}): noop.apply_async(countdown=7200)")
        it.wait(lambda: held(it) == tasks, 600.0)
        it.let_go("worker.1")
        began = time.monotonic()
        gaps = Gaps(it)
        it.wait(lambda: it.on.quantity == 0, 600.0)
        fired, left = time.monotonic(), tasks - int(client.llen("celery"))
        gaps.close()
        it.wait(lambda: not [d for d in it.emulator.dynos() if d.type == "worker"])
        yield Figure("from idle to fired", fired - began, "s")
        yield Figure("given back meanwhile", (tasks - left) / (fired - began), "tasks/s")
        yield Figure("held when it was fired", left)
        yield Figure("longest time between two reports", gaps.longest, "s", limit="<= 5")
        yield Figure("from fired to its end", time.monotonic() - fired, "s", limit="<= 25")
        yield Figure("killed", sum(stop.sigkilled for stop in it.emulator.stops), limit="== 0")
        yield Figure("left with no worker", client.zcard("unacked_index"), limit="== 0")
        yield Figure("workers hired for what was given back", len(it.changes) - 2, limit="== 0")


class Gaps:
    """The longest time (s) between two reports of the worker."""

    def __init__(self, it: Scene) -> None:
        self.longest = 0.0
        self._redis = it.redis
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        last, at = None, time.monotonic()
        while not self._closing.wait(0.05):
            told = self._redis.hvals("{middle-management:myapp}:workers")
            if told != last:
                last, at = told, time.monotonic()
            self.longest = max(self.longest, time.monotonic() - at)


def held(it: Scene) -> int:
    """The scheduled tasks that workers report to hold."""
    return sum(held[2] for presence in it.on.presences() for held in presence["held"].values())


if __name__ == "__main__":
    command(__doc__, measure, tasks=8000, microseconds=2800)
