"""How long a simulated day takes, and how much memory; beside it, the plain queue in SimPy.

Each run is a process of its own. Its time is the processor time of the simulation alone, without
imports and without making the trace; its memory is the most that the process has had. With workers
that are always on, the day is a queue of the kind M/G/c. SimPy (``pip install simpy``) simulates
that too, with the same arrivals and run times, so the waits must be the same.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from itertools import accumulate
from math import isclose
from random import Random
from typing import Any, NamedTuple

from celery_middle_management.sim import Model, RunTimes, Trace, policy_named, simulate
from tests.benchmarks.figures import Figure, command, ratio
from tests.servers import ROOT

_DAY = 86_400.0
_RUN_TIMES = RunTimes(2.0, 1.0)
_UTILISATION = 0.8
_SEED = 1
_SIMPY, _ONE_OFF = "SimPy", " with one-off workers"
#: The most seconds for so many tasks, and the most memory (MB), if there is a limit.
_LIMITS = {100_000: ("<= 5", ""), 1_000_000: ("<= 60", "<= 1000")}


class Result(NamedTuple):
    """The processor time (s) of a run, its peak memory (MB), and the mean wait (s) of its tasks."""

    seconds: float
    peak: float
    wait: float


def make_trace(tasks: int) -> Trace:
    """A day with Poisson arrivals and lognormal run times."""
    draw = Random(_SEED)
    gaps = (draw.expovariate(tasks / _DAY) for _ in range(tasks - 1))
    return Trace("a day", array("d", accumulate(gaps, initial=0.0)), _RUN_TIMES.draw(tasks, draw))


def slots(tasks: int) -> int:
    """How many tasks must be able to run at the same time."""
    return max(round(tasks * _RUN_TIMES.mean / _DAY / _UTILISATION), 1)


def ours(trace: Trace, policy: str) -> float:
    """Simulate a policy; return the mean wait (s)."""
    name = policy.removesuffix(_ONE_OFF)
    return simulate(trace, policy_named(name), Model(one_off=name != policy)).waits.mean


def simpys(trace: Trace, capacity: int) -> float:
    """Have SimPy simulate so many slots that are always there; return the mean wait (s)."""
    import simpy

    waits: list[float] = []

    def task(runtime: float) -> Generator[simpy.Event, Any, None]:
        published = env.now
        with workers.request() as turn:
            yield turn
            waits.append(env.now - published)
            yield env.timeout(runtime)

    def publish() -> Generator[simpy.Event, Any, None]:
        for at, runtime in zip(trace.published, trace.runtimes, strict=True):
            yield env.timeout(at - env.now)
            env.process(task(runtime))

    env = simpy.Environment()
    workers = simpy.Resource(env, capacity)
    env.process(publish())
    env.run()
    return statistics.fmean(waits)


def run(what: str, tasks: int) -> None:
    """Make one run, and print its result."""
    trace = make_trace(tasks)
    began = time.process_time()
    wait = simpys(trace, slots(tasks)) if what == _SIMPY else ours(trace, what)
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([seconds, peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024), wait]))


def _run_apart(what: str, tasks: int) -> Result:
    code = f"from tests.benchmarks.simulator import run; run({what!r}, {tasks})"
    child = [sys.executable, "-c", code]
    done = subprocess.run(child, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Result(*json.loads(done.stdout))


def measure(tasks: int, rounds: int) -> Iterator[Figure]:
    if find_spec("simpy") is None:
        raise SystemExit("this benchmark compares with SimPy, which is missing: pip install simpy")
    capacity = slots(tasks)
    plain = f"fixed:{capacity}"
    managed = "jobs_per_worker:10"
    policies = (plain, "hirefire:5", managed, managed + _ONE_OFF)
    results: dict[str, list[Result]] = {what: [] for what in (_SIMPY, *policies)}
    for number in range(rounds):
        order = [*results] if number % 2 == 0 else [*reversed(results)]
        for what in order:
            results[what].append(_run_apart(what, tasks))
    _compare_waits(results[plain][0].wait, results[_SIMPY][0].wait)
    yield Figure("tasks", tasks)
    yield Figure("utilisation", tasks * _RUN_TIMES.mean / _DAY / capacity)
    yield Figure(f"{plain} and SimPy: mean wait", results[plain][0].wait, "s")
    times, most = _LIMITS[next((size for size in _LIMITS if tasks <= size), max(_LIMITS))]
    for what, runs in results.items():
        limits = ("", "") if what == _SIMPY else (times, most)
        yield _median(what, [one.seconds for one in runs], "s", limits[0])
        yield _median(f"{what}: peak memory", [one.peak for one in runs], "MB", limits[1])
    by_us, by_simpy = ([one.seconds for one in results[what]] for what in (plain, _SIMPY))
    yield _ratio(f"{plain}, ours / SimPy", by_us, by_simpy, "<= 2")


def _compare_waits(by_us: float, by_simpy: float) -> None:
    if not isclose(by_us, by_simpy, rel_tol=1e-6):
        raise AssertionError(f"the mean wait is {by_us} s, but by SimPy {by_simpy} s")


def _median(name: str, values: list[float], unit: str, limit: str) -> Figure:
    """The median, with its spread if there is more than one value."""
    spread = (min(values), max(values)) if values[1:] else None
    return Figure(name, statistics.median(values), unit, spread, limit)


def _ratio(name: str, by_us: list[float], by_simpy: list[float], limit: str) -> Figure:
    if by_us[1:]:
        return ratio(name, by_us, by_simpy, limit)
    return Figure(name, by_us[0] / by_simpy[0], "x", None, limit)


if __name__ == "__main__":
    command(__doc__, measure, tasks=100_000, rounds=3)
