"""One-off dynos: how soon many are requested, how soon an idle one is gone, and what is paid.

What is paid is measured at the emulator, for the formation and for one-off dynos side by side, with
three batches of tasks of lognormal run time, a minute apart, starting from an empty pool.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from math import exp, log
from pathlib import Path

from celery_middle_management.demo.redis_server import RedisServer
from tests.benchmarks.figures import Figure, command, median
from tests.benchmarks.publisher import Publisher
from tests.integration.apps.journal import Journal
from tests.integration.stage import Stage, stage
from tests.servers import wait_for

_WORKER = (
    *(sys.executable, "-m", "celery", "-A", "tests.benchmarks.app", "worker"),
    *("--concurrency", "1", "--loglevel", "WARNING", "--hostname", "$DYNO@one-off"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)
_ONE_OFF = {"dynos": "one-off"}
#: The time (s) that Heroku takes to answer.
_ANSWER = 0.15
_BATCHES, _APART = 3, 60.0
_MEAN, _SIGMA = 8.0, 0.8


def many(count: int) -> Figure:
    """The time from the first `delay()` to the last of *count* hires, from zero."""
    with ExitStack() as stack:
        ledger = stack.enter_context(RedisServer())
        settings = {**_ONE_OFF, "max_workers": count}
        on = stack.enter_context(stage(ledger.url, command=None, settings=settings))
        on.emulator.fault("late_after", seconds=_ANSWER)
        publisher = stack.enter_context(Publisher(on.env))
        publisher.publish(0)
        began = time.monotonic()
        publisher.publish(count, "work", 60)

        def hires() -> list[float]:
            return [r.at for r in on.emulator.requests if r.method == "POST"]

        wait_for(lambda: len(hires()) == count)
        return Figure(f"{count} hires asked for after", max(hires()) - began, "s", limit="<= 3")


def idle_to_gone(rounds: int) -> Figure:
    """The time from the end of a worker's last task until its dyno is gone."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="one-off-")))
        ledger = stack.enter_context(RedisServer())
        on = stack.enter_context(stage(ledger.url, command=_WORKER, settings=_ONE_OFF))
        on.env["JOURNAL"] = str(directory)
        publisher = stack.enter_context(Publisher(on.env))
        took = []
        for _ in range(rounds):
            done = len(Journal(directory).runs())
            publisher.publish(1, "noted", 2)
            wait_for(lambda: len(_ended(directory)) == done + 1)  # noqa: B023 - waited for here
            wait_for(lambda: not _workers(on))
            took.append(time.monotonic() - max(_ended(directory)))
            time.sleep(random.uniform(0.0, 2.0))
        changes = {r.method for r in on.emulator.requests} - {"GET", "POST"}
        if changes:
            raise AssertionError(f"the platform was asked for {changes}")
        return median("from idle to gone", took, "s", limit="<= 6")


def _workers(on: Stage) -> list[str]:
    return [dyno.name for dyno in on.emulator.dynos() if dyno.type != "web"]


def _ended(directory: Path) -> list[float]:
    return [run.end for run in Journal(directory).runs() if run.end is not None]


def paid(kind: str, seconds: Sequence[float]) -> tuple[float, float]:
    """The paid worker-seconds beyond the work, and the mean wait (s)."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="one-off-")))
        ledger = stack.enter_context(RedisServer())
        settings = {"dynos": kind, "max_workers": 10}
        on = stack.enter_context(stage(ledger.url, command=_WORKER, settings=settings))
        on.env["JOURNAL"] = str(directory)
        publisher = stack.enter_context(Publisher(on.env))
        publisher.publish(0)
        bill, began, published = _Bill(on), time.monotonic(), []
        for batch in range(_BATCHES):
            due = began + batch * _APART
            bill.until(lambda due=due: time.monotonic() >= due)  # type: ignore[misc]
            for one in seconds:
                publisher.publish(1, "noted", one)
                published.append(time.monotonic())
        tasks = len(published)
        bill.until(lambda: len(_ended(directory)) == tasks)
        bill.until(lambda: not _workers(on))
        starts = sorted(run.begin for run in Journal(directory).runs())
        waits = [start - at for start, at in zip(starts, published, strict=True)]
        return bill.seconds - sum(seconds) * _BATCHES, statistics.mean(waits)


class _Bill:
    """The paid time (s) of the workers' dynos, sampled ten times a second."""

    def __init__(self, on: Stage) -> None:
        self._on = on
        self.seconds = 0.0

    def until(self, condition: Callable[[], bool]) -> None:
        last = time.monotonic()
        while not condition():
            time.sleep(0.1)
            now = time.monotonic()
            self.seconds += (now - last) * len(_workers(self._on))
            last = now


def measure(hires: int, rounds: int, tasks: int) -> Iterator[Figure]:
    if hires:
        yield many(hires)
    if rounds:
        yield idle_to_gone(rounds)
    if tasks:
        draw = random.Random(1)
        mu = log(_MEAN) - _SIGMA**2 / 2
        seconds = [exp(draw.gauss(mu, _SIGMA)) for _ in range(tasks)]
        waste = {}
        for kind in ("formation", "one-off"):
            waste[kind], wait = paid(kind, seconds)
            yield Figure(f"{kind}: paid beyond the work", waste[kind], "worker-seconds")
            yield Figure(f"{kind}: mean wait", wait, "s")
        share = waste["one-off"] / waste["formation"]
        yield Figure("waste, one-off by formation", share, "x", limit="<= 0.6")


if __name__ == "__main__":
    command(__doc__, measure, hires=20, rounds=10, tasks=40)
