"""How late a worker of concurrency 2 begins tasks that all fall due in one second.

Compared with a worker without the package, in turns.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median as median_of
from typing import NamedTuple

from celery_middle_management.demo.redis_server import RedisServer
from tests.benchmarks.figures import Figure, abba, command, median, ratio
from tests.benchmarks.publisher import Publisher
from tests.integration.stage import ALONE, stage
from tests.rabbitmq_server import RabbitServer, find_rabbitmq_server
from tests.servers import processor_time, start_worker, wait_for

_WORKER = (
    *("--pool", "prefork", "--concurrency", "2", "--loglevel", "WARNING"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)


def measure(rounds: int, tasks: int, countdown: int) -> Iterator[Figure]:
    """Measure tasks that fall due *countdown* seconds after the first is published."""
    with ExitStack() as stack:
        brokers: dict[str, str | None] = {"Redis": None}
        if find_rabbitmq_server() is not None:
            brokers["RabbitMQ"] = stack.enter_context(RabbitServer()).url
        for broker, url in brokers.items():
            of = partial(_late, url, tasks, countdown)
            ours, plain = abba(rounds, partial(of, plain=False), partial(of, plain=True))
            late, plain_late = ([each.late for each in those] for those in (ours, plain))
            cpu, plain_cpu = ([each.cpu for each in those] for those in (ours, plain))
            yield median(f"{broker}: median lateness with", late, "s")
            yield median("without", plain_late, "s")
            yield ratio("processor time, with / without", cpu, plain_cpu, "")
            yield median("processor time without", plain_cpu, "s")


class Result(NamedTuple):
    """The median lateness (s) and the worker's processor time (s)."""

    late: float
    cpu: float


def _late(broker_url: str | None, tasks: int, countdown: int, *, plain: bool) -> Result:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="due-")))
        ledger = stack.enter_context(RedisServer())
        on = stack.enter_context(stage(broker_url or ledger.url, ledger.url, **ALONE))
        env = {**on.env, **({"MM_OFF": "1"} if plain else {"DYNO": "worker.1"})}
        publisher = stack.enter_context(Publisher(env))
        worker = stack.enter_context(
            start_worker("tests.benchmarks.app", *_WORKER, env=env, ready=False)
        )
        before = processor_time(worker)
        marks = directory / "marks"
        marks.touch()
        due = time.time() + countdown
        publisher.publish(tasks, "mark", str(marks), due=due)
        wait_for(
            lambda: len(marks.read_text().splitlines()) == tasks,
            countdown + 240.0,
            "not all of them have run",
        )
        ahead = time.time() - time.monotonic()
        late = [float(line) + ahead - due for line in marks.read_text().splitlines()]
        return Result(median_of(late), processor_time(worker) - before)


if __name__ == "__main__":
    command(__doc__, measure, rounds=2, tasks=6000, countdown=30)
