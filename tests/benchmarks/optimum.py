"""``max_wait`` against the best that anyone could do who knew the few tasks of a load in advance.

    python -m tests.benchmarks.optimum

The tasks are shared among one-off dynos in every possible way. Each dyno is hired as late as its
tasks can wait, runs them in the order in which they come, and ends with the last. No task may start
late. That is a bound for every policy, as the tasks need not be begun in the order of one queue.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import cache
from math import inf
from random import Random
from typing import NamedTuple

from celery_middle_management.sim import Model, Trace, policy_named, simulate
from tests.benchmarks.figures import Figure, command, median

MODEL = Model(maximum=100, one_off=True)


class Task(NamedTuple):
    """When (s) a task is published, and how long (s) it runs."""

    published: float
    runtime: float


def paid_at_least(tasks: Sequence[Task], wait: float, model: Model) -> float:
    """Return the dyno-seconds of the best plan in which every task starts within *wait* (s).

    All partitions are gone through, so there should be no more than about twelve tasks. The dyno of
    the first task runs some of the others, too; the rest are planned in the same way.
    """
    besides = model.boot + model.shutdown

    @cache
    def one_dyno(members: int) -> float:
        mine = [task for i, task in enumerate(tasks) if members >> i & 1]
        return besides + _lasts(mine, wait)

    @cache
    def best(members: int) -> float:
        if not members:
            return 0.0
        first = members & -members
        others, least, mine = members ^ first, inf, members ^ first
        while True:
            least = min(least, one_dyno(first | mine) + best(others ^ mine))
            if not mine:
                return least
            mine = (mine - 1) & others

    return best((1 << len(tasks)) - 1)


def _lasts(tasks: Sequence[Task], wait: float) -> float:
    """Return how long (s) a dyno must be up for its tasks, in their order; inf if one is late."""
    begin, busy = inf, 0.0
    for task in tasks:
        # The latest begin with which this task, after those before it without a pause, is in time.
        begin = min(begin, task.published + wait - busy)
        busy += task.runtime
    if begin < tasks[0].published:
        return inf
    now = begin
    for task in tasks:
        now = max(now, task.published)
        if now > task.published + wait:
            return inf
        now += task.runtime
    return now - begin


def single(published: Sequence[float], runtime: float) -> list[Task]:
    return [Task(at, runtime) for at in published]


def drawn(seed: int, tasks: int, time: float, mean: float) -> list[Task]:
    """Draw tasks that come at any moment of a *time* (s)."""
    draw = Random(seed)
    times = sorted(draw.uniform(0, time) for _ in range(tasks))
    return [Task(at - times[0], draw.expovariate(1 / mean)) for at in times]


CASES: dict[str, tuple[list[Task], float]] = {
    "a task of 2 s, 30 s": (single([0], 2.0), 30.0),
    "a task of 60 s, 30 s": (single([0], 60.0), 30.0),
    "two tasks, 10 s apart, 30 s": (single([0, 10], 5.0), 30.0),
    "ten tasks of 2 s at once, 60 s": (single([0] * 10, 2.0), 60.0),
    "ten tasks of 10 s at once, 60 s": (single([0] * 10, 10.0), 60.0),
    "ten tasks of 60 s at once, 30 s": (single([0] * 10, 60.0), 30.0),
    "a task of 2 s every 5 s, 30 s": (single(range(0, 50, 5), 2.0), 30.0),
    "a task of 5 s every 20 s, 40 s": (single(range(0, 160, 20), 5.0), 40.0),
    "a task of 5 s every 60 s, 40 s": (single(range(0, 480, 60), 5.0), 40.0),
}


def measure(draws: int) -> Iterator[Figure]:
    ratios = []
    for name, (tasks, wait) in CASES.items():
        ratio, late = _compared(tasks, wait)
        ratios.append(ratio)
        yield Figure(f"{name}: paid / the least possible", ratio, "x", limit="<= 1.1")
        yield Figure(f"{name}: late", late, limit="== 0")
    others = []
    for seed in range(draws):
        draw = Random(seed)
        tasks = drawn(seed, draw.randint(1, 9), draw.choice((5, 60, 600)), draw.choice((1, 10, 60)))
        others.append(_compared(tasks, draw.choice((20.0, 60.0, 200.0))))
    yield median("cases drawn: paid / the least possible", [r for r, _ in others], "x", "<= 1.1")
    yield Figure("cases drawn: the worst", max(r for r, _ in others), "x", limit="<= 1.1")
    yield Figure("cases drawn: those within 1.1", sum(r <= 1.1 for r, _ in others))
    yield Figure("cases drawn: tasks that were late", sum(late for _, late in others))


def _compared(tasks: Sequence[Task], wait: float) -> tuple[float, int]:
    times, runtimes = zip(*tasks, strict=True)
    trace = Trace("a few tasks", array("d", times), array("d", runtimes))
    outcome = simulate(trace, policy_named(f"max_wait:{wait:g}"), MODEL)
    late = sum(w > wait for w in outcome.longest_waits)
    return outcome.paid / paid_at_least(tasks, wait, MODEL), late


if __name__ == "__main__":
    command(__doc__, measure, draws=100)
