"""``max_wait`` against a number of jobs per worker, with real workers on the emulator's dynos.

The same bursts of short tasks, and a trickle between them, are published live for each policy, as
in :mod:`tests.benchmarks.simulated`. Nothing else is set than the policy and a maximum of workers.
"""

from __future__ import annotations

from collections.abc import Iterator

from celery_middle_management.sim import RunTimes
from tests.benchmarks.figures import Figure, command
from tests.benchmarks.simulated import Live, Shape, live, make_trace

_SHAPE = Shape(RunTimes(0.5, 0.8), burst=80, apart=90.0, trickle=10.0)


def measure(minutes: int, wait: int, jobs: int, seed: int) -> Iterator[Figure]:
    trace = make_trace(_SHAPE, minutes, seed)
    yield Figure("tasks", trace.tasks)
    yield Figure("work", trace.work, "s")
    for kind in ("one-off", "formation"):
        ours = live(kind, trace, {"max_wait": wait})
        rival = live(kind, trace, {"jobs_per_worker": jobs})
        yield from _told(f"{kind}, max_wait = {wait}", ours)
        yield from _told(f"{kind}, jobs_per_worker = {jobs}", rival)
        yield Figure(f"{kind}: p95 wait", ours.waits.p95, "s", limit=f"<= {wait}")
        share = ours.paid / rival.paid
        yield Figure(f"{kind}: paid, max_wait / jobs_per_worker", share, "x", limit="< 1")
        yield Figure(f"{kind}: killed", ours.killed + rival.killed, limit="== 0")


def _told(name: str, real: Live) -> Iterator[Figure]:
    yield Figure(f"{name}: paid", real.paid, "worker-seconds")
    yield Figure(f"{name}: mean wait", real.waits.mean, "s")
    yield Figure(f"{name}: p95 wait", real.waits.p95, "s")
    yield Figure(f"{name}: workers hired", len(real.lives))


if __name__ == "__main__":
    command(__doc__, measure, minutes=10, wait=30, jobs=10, seed=1)
