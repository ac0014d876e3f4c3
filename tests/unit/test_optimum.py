"""The least that a few tasks can cost, which benchmarks compare with."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_middle_management.sim import Model, Trace, policy_named, simulate
from tests.benchmarks.optimum import Task, paid_at_least

#: A dyno boots for 12 s, and takes 2 s to end.
MODEL = Model(one_off=True, maximum=20)


@pytest.mark.parametrize(
    ("tasks", "wait", "least"),
    [
        ([Task(0, 5)], 30, 12 + 5 + 2),
        # One dyno that begins when the first task has waited for 30 s.
        ([Task(0, 5), Task(20, 5)], 30, 12 + 10 + 2),
        # It would idle for 10 s, which is less than another dyno costs, ...
        ([Task(0, 5), Task(45, 5)], 30, 12 + 20 + 2),
        # ... or for 30 s, which is more.
        ([Task(0, 5), Task(65, 5)], 30, 2 * (12 + 5 + 2)),
        # The last of eleven would wait for 50 s.
        ([Task(0, 5)] * 11, 49, 2 * (12 + 2) + 55),
        ([Task(0, 5)] * 11, 50, 12 + 2 + 55),
    ],
)
def test_cases_by_hand(tasks: list[Task], wait: float, least: float) -> None:
    assert paid_at_least(tasks, wait, MODEL) == least


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 200), st.floats(0.1, 60)), min_size=1, max_size=6),
    st.sampled_from(["max_wait:30", "jobs_per_worker:1", "jobs_per_worker:3", "max_wait:5"]),
)
def test_no_policy_pays_less(drawn: list[tuple[float, float]], policy: str) -> None:
    tasks = sorted(Task(*one) for one in drawn)
    first = tasks[0].published
    tasks = [Task(task.published - first, task.runtime) for task in tasks]
    times, runtimes = (array("d", column) for column in zip(*tasks, strict=True))
    outcome = simulate(Trace("drawn", times, runtimes), policy_named(policy), MODEL)
    wait = max(outcome.waits.max, 1e-6)
    assert outcome.paid >= paid_at_least(tasks, wait, MODEL) - 1e-6
