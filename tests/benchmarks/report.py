"""The processor time of a report, with the samples that reports take, relative to another checkout.

``python -m tests.benchmarks.report --other /path/of/the/other``: both are measured in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
#: Reports of each kind in a block: blocks of the two checkouts take turns.
BLOCKS = {"plain": 60, "sample": 6, "sum": 6}
#: Fields of the state that make the next report take a sample.
DUE = {"plain": {}, "sample": {"minute": "0"}, "sum": {"minute": "0", "summed": "0"}}
Figures = dict[str, float]


def serve() -> None:
    """Measure a block of each kind of reports whenever a line comes in."""
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
        live = [_worker(n) for n in range(WORKERS)]

        def report(number: int) -> None:
            presence = live[number % WORKERS]
            ledger.report(_batch(settings.pool_name, presence), presence.id, presence)

        for number in range(WORKERS):
            report(number)
        for _ in sys.stdin:
            told: Figures = {}
            for kind, times in BLOCKS.items():
                told |= _block(ledger, report, kind, times)
            print(json.dumps(told), flush=True)
        ledger.close()


def _block(ledger: RedisLedger, report: Callable[[int], None], kind: str, times: int) -> Figures:
    """The processor time (ms) of a report, which other work on the machine changes little."""
    client: Any = ledger.redis
    own, redis = 0.0, _processor_time_of(client)
    for number in range(times):
        if DUE[kind]:
            client.hset(ledger.keys["state"], mapping=DUE[kind])
        began = time.process_time()
        report(number)
        own += time.process_time() - began
    redis = _processor_time_of(client) - redis
    return {f"{kind} all": (own + redis) / times * 1000, f"{kind} redis": redis / times * 1000}


def _processor_time_of(client: Any) -> float:
    told = client.info("cpu")
    return float(told["used_cpu_user_main_thread"] + told["used_cpu_sys_main_thread"])


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


def measure(other: str | None, blocks: int) -> Iterator[Figure]:
    """Measure both checkouts in turn; without the *other* only this one."""
    ours: list[Figures] = []
    theirs: list[Figures] = []
    with ExitStack() as ending:
        both = [(ours, ending.enter_context(_serving(os.getcwd())))]
        if other:
            both.append((theirs, ending.enter_context(_serving(other))))
        for turn in range(blocks):
            for results, process in both if turn % 2 else reversed(both):
                assert process.stdin
                assert process.stdout
                print(file=process.stdin, flush=True)
                results.append(json.loads(process.stdout.readline()))
    for kind, what in (
        ("plain", "a report"),
        ("sample", "the first of a minute"),
        ("sum", "the first of ten minutes"),
    ):
        yield median(f"{what}, in the process and in Redis", [r[f"{kind} all"] for r in ours], "ms")
        yield median(f"{what}, in Redis", [r[f"{kind} redis"] for r in ours], "ms")
    if other:
        for what, where in (("all", "in both"), ("redis", "in Redis")):
            one, two = ([_mean(r, what) for r in results] for results in (ours, theirs))
            name = f"a worker's reports, relative to the other's: {where}"
            yield ratio(name, one, two, "<= 1.05")


@contextmanager
def _serving(tree: str) -> Iterator[subprocess.Popen[str]]:
    code = f"import runpy; runpy.run_path({__file__!r}, run_name='serve')"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": tree},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        yield process
        process.stdin.close()


def _mean(figures: Figures, what: str) -> float:
    """The mean of the reports of ten minutes, if only one process reports, every second."""
    plain, sample, summed = (figures[f"{kind} {what}"] for kind in ("plain", "sample", "sum"))
    return (590 * plain + 9 * sample + summed) / 600


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--other", help="the other checkout")
    parser.add_argument("--blocks", type=int, default=300, help="default 300")
    options = parser.parse_args()
    for figure in measure(options.other, options.blocks):
        spread = f"{figure.spread[0]:.3g} … {figure.spread[1]:.3g}" if figure.spread else ""
        print(f"{figure.name:<60} {figure.value:.4g} {figure.unit}  {spread}  {figure.limit}")


if __name__ == "__main__":
    main()
elif __name__ == "serve":
    serve()
