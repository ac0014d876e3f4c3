"""Long tasks for an empty pool: how soon all are done, and how many of the hired workers worked.

A worker is hired for each task, and takes a couple of seconds to boot, with Celery's default
prefetch. For comparison, workers of plain Celery are hired in the same way.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from celery_middle_management.demo.redis_server import RedisServer
from tests.benchmarks.figures import Figure, command
from tests.benchmarks.publisher import Publisher
from tests.integration.apps.journal import Journal
from tests.integration.stage import stage
from tests.rabbitmq_server import RabbitServer, find_rabbitmq_server
from tests.servers import wait_for

_WORKER = (
    *(sys.executable, "-m", "celery", "-A", "tests.benchmarks.app", "worker"),
    *("--concurrency", "1", "--loglevel", "WARNING", "--hostname", "$DYNO@spread"),
)


def spread(
    broker_url: str | None, tasks: int, seconds: float, boot: float, *, plain: bool
) -> Figure:
    """The time (s) from the first published task to the end of the last one."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spread-")))
        ledger = stack.enter_context(RedisServer())
        on = stack.enter_context(
            stage(
                broker_url or ledger.url,
                ledger.url,
                command=_WORKER,
                settings={"max_workers": tasks},
                boot_delay=boot,
            )
        )
        publisher = stack.enter_context(Publisher(on.env))
        publisher.publish(0)
        on.env["JOURNAL"] = str(directory)
        if plain:
            on.env["MM_OFF"] = "1"
        journal = Journal(directory)
        began = time.monotonic()
        publisher.publish(tasks, "noted", seconds)
        wait_for(
            lambda: sum(run.end is not None for run in journal.runs()) == tasks,
            60.0 + tasks * seconds,
            lambda: f"not all are done: {journal.runs()}",
        )
        runs = journal.runs()
        ended = max(run.end or 0.0 for run in runs)
        worked = len({run.dyno for run in runs})
        kind = "plain Celery" if plain else "with"
        broker = "Redis" if broker_url is None else "RabbitMQ"
        bound = "<= 20" if broker_url is None else "<= 32"
        limit = bound if not plain and (tasks, seconds) == (10, 10) else ""
        name = f"{broker}, {kind}: {worked} of {tasks} hired have worked, all done after"
        return Figure(name, ended - began, "s", limit=limit)


def measure(tasks: int, seconds: int, boot: int) -> Iterator[Figure]:
    with ExitStack() as stack:
        brokers: list[str | None] = [None]
        if find_rabbitmq_server() is not None:
            brokers.append(stack.enter_context(RabbitServer()).url)
        for broker in brokers:
            for plain in (False, True):
                yield spread(broker, tasks, seconds, boot, plain=plain)


if __name__ == "__main__":
    command(__doc__, measure, tasks=10, seconds=10, boot=2)
