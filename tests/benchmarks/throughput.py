"""A worker's rate and processor time, relative to plain Celery.

Three long-lived workers get the same load in turns: one with the package, one without, and one
without that has empty receivers for the same signals, which is the least that counting can cost.
Tasks that wait for a file hold all slots until everything is published. The time is measured from a
first task to a last one, after a warm-up; the processor time, only in a worker's own rounds.
Workers differ by a few percent from their start, with or without us, so there are several trios.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median as median_of

from celery_middle_management.demo.redis_server import RedisServer
from tests.benchmarks.figures import Figure, command, ratio
from tests.benchmarks.publisher import Publisher
from tests.integration.stage import ALONE, Stage, stage
from tests.rabbitmq_server import RabbitServer, find_rabbitmq_server
from tests.servers import processor_time, start_worker, wait_for

_WARM_UP = 1000  # tasks: more than a worker runs before it sees that they are short
_WORKER = (
    *("--loglevel", "WARNING"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)
_WITH, _WITHOUT, _FLOOR = "with", "without", "empty receivers"


@dataclass(frozen=True)
class Load:
    """A load of the app, for one execution pool."""

    name: str
    tasks: str
    pool: str
    slots: int
    #: This fraction of the requested number of tasks is enough.
    share: float = 1.0


LOADS = (
    Load("empty tasks of one name", "noop", "prefork", 2),
    Load("empty tasks of 400 names", "of_many_names", "prefork", 2),
    Load("empty tasks, 3 % of 0.3 s", "some_longer", "prefork", 2, 0.5),
    Load("tasks of 0.1 s, threads", "tenth", "threads", 4, 0.1),
    Load("tasks of 0.1 s, gevent", "tenth", "gevent", 4, 0.1),
)


class Contestant:
    """A worker with its own publisher and its own queue."""

    def __init__(
        self, load: Load, name: str, env: Mapping[str, str], stack: ExitStack, index: int
    ) -> None:
        self._load = load
        self._queue = f"queue-{index}"
        self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rate-")))
        self._publisher = stack.enter_context(Publisher(env))
        slots = ("--pool", load.pool, "--concurrency", str(load.slots))
        self._worker = stack.enter_context(
            start_worker(
                "tests.benchmarks.app", *_WORKER, *slots, "-Q", self._queue, env=env, ready=False
            )
        )
        self.name = name

    def round(self, tasks: int) -> tuple[float, float]:
        """The tasks per second, and the processor time (s) of the worker and its pool."""
        marks, gate = self._directory / "marks", self._directory / "gate"
        marks.write_text("")
        gate.unlink(missing_ok=True)
        for count, task, *args in (
            (self._load.slots, "wait_for_file", str(gate)),
            # A worker assumes that an unknown task is long, and takes no more meanwhile.
            (_WARM_UP, "mark", os.devnull),
            (1, "mark", str(marks)),
            (tasks, self._load.tasks),
            (1, "mark", str(marks)),
        ):
            self._publisher.publish(count, task, *args, queue=self._queue)
        before = processor_time(self._worker)
        gate.touch()
        wait_for(
            lambda: len(_times(marks)) == 2,
            120.0,
            lambda: f"not done by the worker {self.name}: {self._worker.log}",
        )
        used = processor_time(self._worker) - before
        first, last = _times(marks)
        return tasks / (last - first), used


def _times(marks: Path) -> list[float]:
    return [float(line) for line in marks.read_text().splitlines()]


def measure(trios: int, rounds: int, tasks: int, load: int) -> Iterator[Figure]:
    """Measure *load*: the number of a listed one, from 1; 0 for all."""
    with ExitStack() as stack:
        brokers: dict[str, str | None] = {"Redis": None}
        if find_rabbitmq_server() is not None:
            brokers["RabbitMQ"] = stack.enter_context(RabbitServer()).url
        for given in LOADS[load - 1 : load] if load else LOADS:
            for broker, url in brokers.items():
                size = int(tasks * given.share)
                yield Figure(f"{broker}, {given.name}: tasks in a round", size)
                trio = partial(_trio, given, url, rounds, size)
                yield from _compare(map(trio, range(trios)), rounds * size)


def _compare(trios: Iterable[list[tuple[str, float, float]]], tasks: int) -> Iterator[Figure]:
    rates: dict[str, list[float]] = {_WITH: [], _WITHOUT: [], _FLOOR: []}
    cpu: dict[str, list[float]] = {_WITH: [], _WITHOUT: [], _FLOOR: []}
    for trio in trios:
        for name, rate, seconds in trio:
            rates[name].append(rate)
            cpu[name].append(seconds)
    yield ratio("rate, with / without", rates[_WITH], rates[_WITHOUT], ">= 0.98")
    yield ratio("rate, empty receivers / without", rates[_FLOOR], rates[_WITHOUT], "")
    yield Figure("rate without", median_of(rates[_WITHOUT]), "tasks/s")
    yield ratio("processor time, with / without", cpu[_WITH], cpu[_WITHOUT], "<= 1.03")
    yield ratio("processor time, empty receivers / without", cpu[_FLOOR], cpu[_WITHOUT], "")
    micros = median_of(cpu[_WITHOUT]) / tasks * 1e6
    yield Figure("processor time without", micros, "µs/task")


def _trio(
    load: Load, broker_url: str | None, rounds: int, tasks: int, turn: int
) -> list[tuple[str, float, float]]:
    """For three workers: name, median rate, and processor time (s) of all rounds."""
    with ExitStack() as stack:
        ledger = stack.enter_context(RedisServer())
        on = stack.enter_context(stage(broker_url or ledger.url, ledger.url, **ALONE))
        them = [
            Contestant(load, name, _environment(on, name), stack, index)
            for index, name in enumerate((_WITH, _WITHOUT, _FLOOR))
        ]
        for each in them:
            each.round(tasks)
        rates: dict[Contestant, list[float]] = {each: [] for each in them}
        cpu: dict[Contestant, float] = dict.fromkeys(them, 0.0)
        for i in range(rounds):
            first = (turn + i) % len(them)
            for each in them[first:] + them[:first]:
                rate, used = each.round(tasks)
                rates[each].append(rate)
                cpu[each] += used
        return [(e.name, median_of(rates[e]), cpu[e]) for e in them]


def _environment(on: Stage, name: str) -> dict[str, str]:
    if name == _WITH:
        return {**on.env, "DYNO": "worker.1"}
    return {**on.env, "MM_OFF": "1", "RECEIVERS": "1" if name == _FLOOR else ""}


if __name__ == "__main__":
    command(__doc__, measure, trios=5, rounds=2, tasks=2000, load=0)
