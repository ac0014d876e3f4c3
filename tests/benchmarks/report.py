"""What a report costs, with the samples that reports take, relative to another checkout.

``python -m tests.benchmarks.report --other /path/of/the/other``: both are measured in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from celery import Celery

from celery_middle_management.core.batch import FINISHED, PUBLISHED, STARTED, Batch, Record
from celery_middle_management.core.demand import Held
from celery_middle_management.core.presence import Presence
from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.ledger.clocks import SYSTEM
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.settings.reading import read_settings
from tests.benchmarks.figures import Figure, median, ratio

POOLS, WORKERS = 10, 50
#: Reports of each kind in a round.
PLAIN, SAMPLING = 1500, 60
Figures = dict[str, float]


def one_round() -> Figures:
    """Measure this checkout: the time (ms) of a report, and that (µs) which Redis takes of it."""
    with RedisServer() as server:
        app = Celery(broker=server.url, set_as_current=False)
        app.conf.update(
            middle_management_enabled=True,
            middle_management_platform="local",
            middle_management_max_workers=10,
            middle_management_pools={
                f"pool{n}": {"queues": [f"queue{n}"]} if n else {} for n in range(POOLS)
            },
        )
        settings = read_settings(app)
        assert settings is not None
        ledger = RedisLedger(settings)
        client, state = ledger.redis, ledger.keys["state"]
        live = [_worker(n) for n in range(WORKERS)]
        for presence in live:
            ledger.report(_batch(settings.pool_name, presence), presence.id, presence)
        turn = iter(range(10**9))

        def report() -> None:
            presence = live[next(turn) % WORKERS]
            ledger.report(_batch(settings.pool_name, presence), presence.id, presence)

        def due(**fields: str) -> None:
            client.hset(state, mapping=fields)

        plain = _timed(client, report, PLAIN)
        sample = _timed(client, report, SAMPLING, lambda: due(minute="0"))
        summed = _timed(client, report, SAMPLING, lambda: due(minute="0", summed="0"))
        ledger.close()
    kinds = {"plain": plain, "sample": sample, "sum": summed}
    return {f"{kind} {what}": x for kind, its in kinds.items() for what, x in its.items()}


def _timed(
    client: Any, report: Callable[[], None], times: int, before: Callable[[], None] | None = None
) -> Figures:
    client.config_resetstat()
    took = []
    for _ in range(times):
        if before:
            before()
        began = time.perf_counter()
        report()
        took.append((time.perf_counter() - began) * 1000)
    stats = client.info("commandstats")["cmdstat_evalsha"]
    return {"ms": statistics.median(took), "redis": stats["usec"] / stats["calls"]}


def _worker(number: int) -> Presence:
    pool = f"pool{number % POOLS}"
    queue = f"queue{number % POOLS}" if number % POOLS else "celery"
    return Presence(
        *(f"{pool}.{number}", f"{pool}.{number}", pool),
        since=time.time(),
        seen=0.0,
        busy=1,
        queues=(queue,),
        held={queue: Held(waiting=4, running=1, unacknowledged=5)},
    )


def _batch(pool_of: Callable[[str], str | None], presence: Presence) -> Batch:
    batch = Batch(pool_of)
    for kind, value in ((PUBLISHED, 0.0), (STARTED, 0.0), (FINISHED, 0.3)):
        batch.add(Record(kind, presence.queues[0], time.monotonic(), value), SYSTEM.now())
    return batch


def measure(other: str | None, rounds: int) -> Iterator[Figure]:
    """Measure both checkouts in turn; without the *other* only this one."""
    ours: list[Figures] = []
    theirs: list[Figures] = []
    for turn in range(rounds):
        both = [(ours, os.getcwd())] + ([(theirs, other)] if other else [])
        for results, tree in both if turn % 2 else reversed(both):
            results.append(_in(tree))
    for kind, what in (
        ("plain", "a report"),
        ("sample", "the first of a minute"),
        ("sum", "the first of ten minutes"),
    ):
        yield median(what, [r[f"{kind} ms"] for r in ours], "ms")
        yield median(f"{what}: in Redis", [r[f"{kind} redis"] for r in ours], "µs")
    yield median("a worker's reports: in all", [*map(_mean_ms, ours)], "ms")
    if other:
        for what, mean in (("in all", _mean_ms), ("in Redis", _mean_redis)):
            name = f"a worker's reports, relative to the other's: {what}"
            yield ratio(name, [*map(mean, ours)], [*map(mean, theirs)], "<= 1.05")


def _in(tree: str) -> Figures:
    code = f"import runpy; runpy.run_path({__file__!r}, run_name='one round')"
    env = {**os.environ, "PYTHONPATH": tree}
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tree, env=env, stdout=subprocess.PIPE, check=True
    )
    figures: Figures = json.loads(told.stdout)
    return figures


def _mean(figures: Figures, what: str) -> float:
    """The mean of the reports of ten minutes, if only one process reports, every second."""
    plain, sample, summed = (figures[f"{kind} {what}"] for kind in ("plain", "sample", "sum"))
    return (590 * plain + 9 * sample + summed) / 600


def _mean_ms(figures: Figures) -> float:
    return _mean(figures, "ms")


def _mean_redis(figures: Figures) -> float:
    return _mean(figures, "redis")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--other", help="the other checkout")
    parser.add_argument("--rounds", type=int, default=7, help="default 7")
    options = parser.parse_args()
    for figure in measure(options.other, options.rounds):
        spread = f"{figure.spread[0]:.3g} … {figure.spread[1]:.3g}" if figure.spread else ""
        print(f"{figure.name:<60} {figure.value:.4g} {figure.unit}  {spread}  {figure.limit}")


if __name__ == "__main__":
    main()
elif __name__ == "one round":
    print(json.dumps(one_round()))
