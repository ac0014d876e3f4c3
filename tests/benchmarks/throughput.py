"""How many empty tasks a prefork worker of concurrency 2 does, by plain Celery's: Redis again.

Two workers that live on are given their tasks in turns, all at once: published to a list that is
then renamed to their queue. The time counts from a first task to a last one, after some to warm up.
Workers differ by some percent from their start on, with or without us, so several pairs compete.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from celery_middle_management.demo.redis_server import RedisServer
from tests.benchmarks.figures import Figure, abba, command, median, ratio
from tests.benchmarks.publisher import Publisher
from tests.integration.stage import Stage, stage
from tests.servers import start_worker, wait_for

_WARM_UP = 200  # tasks
_WORKER = (
    *("--pool", "prefork", "--concurrency", "2", "--loglevel", "WARNING"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)


class Contestant:
    """A worker, with a publisher of its own kind and a queue of its own."""

    def __init__(self, on: Stage, name: str, env: Mapping[str, str], stack: ExitStack) -> None:
        self._redis = on.redis
        self._queue = name
        self._marks = Path(stack.enter_context(tempfile.TemporaryDirectory()), "marks")
        self._publisher = stack.enter_context(Publisher(env))
        self._worker = stack.enter_context(
            start_worker("tests.benchmarks.app", *_WORKER, "-Q", name, env=env, ready=False)
        )

    def rate(self, tasks: int) -> float:
        """Tasks a second."""
        staged = f"staged-{self._queue}"
        self._marks.write_text("")
        for count, task, *args in (
            # A task that a worker does not know is taken for long: it takes no more meanwhile.
            (_WARM_UP, "mark", os.devnull),
            (1, "mark", str(self._marks)),
            (tasks, "noop"),
            (1, "mark", str(self._marks)),
        ):
            self._publisher.publish(count, task, *args, queue=staged)
        self._redis.rename(staged, self._queue)
        wait_for(lambda: len(self._times()) == 2, 120.0, "the tasks are not done")
        first, last = self._times()
        return tasks / (last - first)

    def cpu(self) -> float:
        """Processor time (s) that the worker and its pool have used."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if int(fields[3]) == self._worker.pid:  # its session
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _times(self) -> list[float]:
        return [float(line) for line in self._marks.read_text().splitlines()]


def measure(pairs: int, rounds: int, tasks: int) -> Iterator[Figure]:
    rates: list[list[float]] = [[], []]
    cpu = [0.0, 0.0]
    for _ in range(pairs):
        for i, (values, seconds) in enumerate(_pair(rounds, tasks)):
            rates[i] += values
            cpu[i] += seconds / (pairs * rounds * (tasks + _WARM_UP)) * 1e6
    names = "with", "without"
    yield ratio("throughput, with / without", *rates, limit=">= 0.97")
    for name, values in zip(names, rates, strict=True):
        yield median(f"throughput {name}", values, "tasks/s")
    yield Figure("processor time, with / without", cpu[0] / cpu[1], "x")
    for name, value in zip(names, cpu, strict=True):
        yield Figure(f"processor time {name}", value, "µs/task")


def _pair(rounds: int, tasks: int) -> list[tuple[list[float], float]]:
    """The rates of a pair of workers, and their processor time (s): ours, plain."""
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        on = stack.enter_context(
            stage(
                server.url,
                command=None,
                process_types={"worker": 1},
                settings={"min_workers": 1, "max_workers": 1},
            )
        )
        ours = Contestant(on, "ours", {**on.env, "DYNO": "worker.1"}, stack)
        plain = Contestant(on, "plain", {**on.env, "MM_OFF": "1"}, stack)
        for contestant in (ours, plain):
            contestant.rate(tasks)
        before = ours.cpu(), plain.cpu()
        rates = abba(rounds, lambda: ours.rate(tasks), lambda: plain.rate(tasks))
        after = ours.cpu(), plain.cpu()
    return [(r, a - b) for r, a, b in zip(rates, after, before, strict=True)]


if __name__ == "__main__":
    command(__doc__, measure, pairs=6, rounds=2, tasks=3000)
