"""The policies that measure, on whole simulated days."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_middle_management.sim import Model, Outcome, Trace, policy_named, simulate

DYNOS = pytest.mark.parametrize("one_off", [False, True], ids=["formation", "one-off"])


def outcome(policy: str, tasks: Iterable[tuple[float, float]], model: Model) -> Outcome:
    """Simulate *tasks*, each with the time (s) of its publication and its run time (s)."""
    ordered = sorted(tasks)
    begin = ordered[0][0]
    trace = Trace(
        "made up",
        array("d", (at - begin for at, _ in ordered)),
        array("d", (runs for _, runs in ordered)),
    )
    return simulate(trace, policy_named(policy), model)


@DYNOS
def test_lone_tasks_wait_for_a_worker_and_not_too_long(one_off: bool) -> None:
    tasks = [(1000.0 * n, 3.0) for n in range(20)]
    found = outcome("max_wait:60", tasks, Model(one_off=one_off))
    assert 30 < found.waits.p50 <= found.waits.max <= 60
    assert found.hires == 20
    assert found.peak_workers == 1


@DYNOS
def test_tasks_that_come_while_one_waits_share_its_worker(one_off: bool) -> None:
    tasks = [(1000.0 * n + 5 * m, 1.0) for n in range(10) for m in range(6)]
    found = outcome("max_wait:60", tasks, Model(one_off=one_off))
    assert found.waits.max <= 60
    assert found.hires == 10


@DYNOS
@pytest.mark.parametrize("concurrency", [1, 4])
def test_bursts_of_tasks_start_in_time(one_off: bool, concurrency: int) -> None:
    random = Random(5)
    tasks = [
        (900.0 * n + random.uniform(0, 10), random.uniform(4, 12))
        for n in range(12)
        for _ in range(80)
    ]
    model = Model(one_off=one_off, concurrency=concurrency)
    found = outcome("max_wait:60", tasks, model)
    assert found.waits.p95 <= 60
    assert (found.killed, found.unfinished) == (0, 0)
    ten = outcome("jobs_per_worker:1", tasks, model)
    assert found.paid < ten.paid


@pytest.mark.slow
@DYNOS
def test_a_stream_starts_in_time_though_a_boot_takes_longer(one_off: bool) -> None:
    random = Random(6)
    now, tasks = 0.0, []
    while now < 4 * 3600:
        now += random.expovariate(1.0)
        tasks.append((now, random.expovariate(0.5)))
    found = outcome("max_wait:5", tasks, Model(one_off=one_off))
    assert found.waits.p95 <= 5
    assert found.paid < 1.5 * 5 * 4 * 3600


@DYNOS
def test_workers_for_a_stream_go_when_it_has_ended(one_off: bool) -> None:
    random = Random(7)
    stream = [(random.uniform(0, 1800), 1.0) for _ in range(900)]
    found = outcome("max_wait:5", [*stream, (40_000.0, 1.0)], Model(one_off=one_off))
    assert found.paid < 3 * 1800 + 3600


@pytest.mark.slow
@DYNOS
def test_ten_thousand_tasks_at_once(one_off: bool) -> None:
    found = outcome("max_wait:300", [(0.0, 1.0)] * 10_000, Model(one_off=one_off, maximum=100))
    assert found.unfinished == 0
    assert found.waits.p95 <= 300
    assert found.peak_workers <= 100


@pytest.mark.slow
@DYNOS
def test_twenty_minutes_a_task(one_off: bool) -> None:
    tasks = [(200.0 * n, 1200.0) for n in range(100)]
    found = outcome("max_wait:60", tasks, Model(one_off=one_off))
    assert found.waits.p95 <= 60
    assert found.killed == 0


@DYNOS
@pytest.mark.parametrize("policy", ["max_wait:30", "max_wait:2", "jobs_per_worker:auto"])
def test_the_limits_hold(one_off: bool, policy: str) -> None:
    tasks = [(float(n), 10.0) for n in range(300)]
    model = Model(one_off=one_off, minimum=2, maximum=4)
    found = outcome(policy, tasks, model)
    assert found.peak_workers <= 4
    assert found.unfinished == 0
    assert min(moment.workers for moment in found.timeline[1:]) >= 2


def test_auto_has_a_worker_do_what_it_can_while_another_boots() -> None:
    # 12 s / 2 s, once that has been measured.
    alone = [(100.0 * n, 2.0) for n in range(50)]
    together = [(10_000.0 + 2000.0 * n, 2.0) for n in range(30) for _ in range(60)]
    found = outcome("jobs_per_worker:auto", [*alone, *together], Model())
    assert found.peak_workers in range(9, 17)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 5000), st.floats(0.01, 400)), min_size=1, max_size=40),
    st.sampled_from(["max_wait:0.5", "max_wait:13", "max_wait:100", "jobs_per_worker:auto"]),
    st.booleans(),
)
def test_every_task_is_done_and_none_is_killed(
    tasks: list[tuple[float, float]], policy: str, one_off: bool
) -> None:
    found = outcome(policy, tasks, Model(one_off=one_off, maximum=5))
    assert (found.killed, found.unfinished) == (0, 0)
    assert found.peak_workers <= 5
