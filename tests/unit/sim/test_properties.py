"""Properties of every simulation, and simulations of which queueing theory knows the result."""

from __future__ import annotations

from array import array
from dataclasses import replace
from heapq import heapreplace
from itertools import pairwise
from math import ceil, factorial, inf
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_middle_management.sim import Model, Outcome, Trace, policy_named, simulate
from celery_middle_management.sim.floor import floor, floor_of
from celery_middle_management.sim.queues import Queues

OURS = ("jobs_per_worker:10", "jobs_per_worker:1")
RIVALS = ("hirefire:2", "hirefire:3@15", "judoscale", "keda:2", "aws:1", "original:2")
SLACK = 1e-6

derandomized = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow],
)
#: Times (s) that often coincide, and that leave pools idle for long enough to shrink.
gaps = st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0, 7.25, 60.0, 400.0]) | st.integers(0, 80).map(float)
run_times = st.sampled_from([0.0, 0.5, 1.0, 10.0, 29.0, 200.0]) | st.floats(0, 200, width=32)


@st.composite
def traces(draw: st.DrawFn, most: int = 60, queues: int = 3, least: int = 1) -> Trace:
    names = ("a", "b", "c")[: draw(st.integers(1, queues))]
    tasks = draw(
        st.lists(
            st.tuples(gaps, run_times, st.integers(0, len(names) - 1)),
            min_size=least,
            max_size=most,
        )
    )
    now, published = 0.0, array("d")
    for number, (gap, _, _) in enumerate(tasks):
        now += gap if number else 0.0
        published.append(now)
    of = array("H", [queue for _, _, queue in tasks]) if len(names) > 1 else None
    return Trace("random", published, array("d", [task[1] for task in tasks]), names, of)


@st.composite
def models(draw: st.DrawFn) -> Model:
    minimum = draw(st.integers(0, 3))
    return Model(
        minimum=minimum,
        maximum=draw(st.integers(max(minimum, 1), 8)),
        boot=draw(st.sampled_from([0.0, 3.5, 12.0, 45.0])),
        concurrency=draw(st.integers(1, 3)),
        prefetch=draw(st.sampled_from([1, 1, 4])),
        latency=draw(st.sampled_from([0.0, 0.5, 3.0])),
        grace=draw(st.sampled_from([0.0, 10.0, 30.0])),
        shutdown=draw(st.sampled_from([0.0, 2.0])),
        call_interval=draw(st.sampled_from([1.0, 10.0, 30.0])),
        one_off=draw(st.booleans()),
        seed=draw(st.integers(0, 1000)),
    )


def statistics(waits: list[float]) -> tuple[float, ...]:
    ordered = sorted(waits)
    at = (ordered[ceil(len(waits) * part / 100) - 1] for part in (50, 95, 99))
    return (sum(waits) / len(waits), *at, ordered[-1])


def random_trace(tasks: int, rate: float, fixed: bool) -> Trace:
    """Tasks that come at random, with run times of 1 s, or of 1 s on average (exponential)."""
    chance = Random(5)
    now, published, runtimes = 0.0, array("d"), array("d")
    for _ in range(tasks):
        published.append(now)
        now += chance.expovariate(rate)
        runtimes.append(1.0 if fixed else chance.expovariate(1))
    return Trace("theory", published, runtimes)


@pytest.mark.parametrize("policy", ["fixed:1", *RIVALS, *OURS])
def test_a_trace_without_tasks_costs_nothing(policy: str) -> None:
    outcome = simulate(Trace("none", array("d"), array("d")), policy_named(policy), Model())
    assert (outcome.paid, outcome.waits.max, outcome.killed) == (0, 0, 0)


@pytest.mark.parametrize("policy", [*OURS, *RIVALS, "fixed:2"])
@derandomized
@given(trace=traces(), model=models())
def test_every_task_is_done_once_and_what_is_paid_for_accounts_for_it(
    policy: str, trace: Trace, model: Model
) -> None:
    done: list[float] = []
    outcome = simulate(trace, policy_named(policy), model, done.append)
    assert done[-1] == 1
    slots = outcome.paid * model.concurrency
    assert slots + SLACK >= trace.work
    assert 0 <= outcome.efficiency <= 1 + SLACK
    assert outcome.efficiency * slots == pytest.approx(trace.work)
    assert 0 <= outcome.waits.p50 <= outcome.waits.p95 <= outcome.waits.p99 <= outcome.waits.max
    assert outcome.hires >= outcome.peak_workers >= 1
    assert outcome.killed == 0 or policy in RIVALS
    check_the_end(trace, model, outcome, policy)
    check_moments(trace, model, outcome)


def check_the_end(trace: Trace, model: Model, outcome: Outcome, policy: str) -> None:
    """Check what follows from when it begins and ends, and from how many there are at most."""
    finished = max(
        at + lasting for at, lasting in zip(trace.published, trace.runtimes, strict=True)
    )
    if policy == "fixed:2":
        assert outcome.paid + SLACK >= 2 * finished
        assert outcome.calls == 0
        return
    one_off = model.one_off and policy in OURS
    begun = 0.1 + model.latency if one_off else 0.0
    assert outcome.paid + SLACK >= model.minimum * (finished - begun)
    if model.minimum == 0:  # the first task waits for a boot, which is paid for
        assert outcome.waits.max + SLACK >= model.latency + model.boot
        assert outcome.paid + SLACK >= model.boot + trace.work / model.concurrency / model.maximum
    if not one_off and outcome.hires > model.minimum:  # there were more, and they are gone
        assert outcome.calls >= 2
    if not one_off and not outcome.calls:
        assert (outcome.hires, outcome.peak_workers) == (model.minimum, model.minimum)


def check_moments(trace: Trace, model: Model, outcome: Outcome) -> None:
    """Check the timeline, whose last moment is the end or the last before it."""
    moments = outcome.timeline
    step = max((b.at - a.at for a, b in pairwise(moments)), default=0.0)
    assert outcome.paid <= outcome.peak_workers * (moments[-1].at + 2 * step) + SLACK
    assert max(outcome.longest_waits) == pytest.approx(outcome.waits.max)
    for moment in moments:
        assert 0 <= moment.workers <= outcome.peak_workers
        assert 0 <= moment.running <= model.concurrency * moment.workers
        published = sum(at <= moment.at + SLACK for at in trace.published)
        assert 0 <= moment.waiting <= published - moment.running


@pytest.mark.parametrize("policy", [*OURS, *RIVALS, "fixed:2"])
@settings(derandomized, max_examples=8)
@given(trace=traces(), model=models())
def test_a_seed_gives_the_same_each_time(policy: str, trace: Trace, model: Model) -> None:
    one, other = (simulate(trace, policy_named(policy), model) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("policy", [*OURS, *RIVALS])
@settings(derandomized, max_examples=10)
@given(trace=traces(most=20), model=models(), workers=st.integers(1, 4))
def test_a_pool_that_may_not_change_is_a_fixed_one(
    policy: str, trace: Trace, model: Model, workers: int
) -> None:
    """All but the timeline is the same: it may show a moment before or after what happens then.

    Middle Management takes only as many long tasks as it has slots, whatever the prefetch count.
    """
    if policy in OURS:
        model = replace(model, prefetch=1)
    bound = replace(model, minimum=workers, maximum=workers, one_off=False)
    names = (policy, f"fixed:{workers}")
    one, fixed = (simulate(trace, policy_named(name), bound) for name in names)
    assert one == replace(fixed, policy=policy, timeline=one.timeline)


@derandomized
@given(trace=traces(queues=1), model=models(), workers=st.integers(1, 5))
def test_a_fixed_pool_works_its_queue_off_in_order(
    trace: Trace, model: Model, workers: int
) -> None:
    """Each task starts in the slot that is free first, when it is."""
    free = [0.0] * (workers * model.concurrency)
    waits, finished = [], 0.0
    for at, lasting in zip(trace.published, trace.runtimes, strict=True):
        began = max(at, free[0])
        waits.append(began - at)
        finished = max(finished, began + lasting)
        heapreplace(free, began + lasting)
    outcome = simulate(trace, policy_named(f"fixed:{workers}"), replace(model, prefetch=1))
    assert tuple(outcome.waits) == pytest.approx(statistics(waits), abs=SLACK)
    assert outcome.paid == pytest.approx(workers * finished)
    assert outcome.hires == outcome.peak_workers == workers


@derandomized
@given(trace=traces(queues=1, most=30), prefetch=st.integers(1, 4))
def test_one_worker_follows_lindley(trace: Trace, prefetch: int) -> None:
    """Also with prefetching, as there is nobody else to hold a task."""
    waits = [0.0]
    for number, (at, later) in enumerate(pairwise(trace.published)):
        waits.append(max(0.0, waits[-1] + trace.runtimes[number] - (later - at)))
    outcome = simulate(trace, policy_named("fixed:1"), Model(prefetch=prefetch))
    assert tuple(outcome.waits) == pytest.approx(statistics(waits), abs=SLACK)


@derandomized
@given(trace=traces(most=20), model=models())
def test_nothing_waits_if_there_are_as_many_workers_as_tasks(trace: Trace, model: Model) -> None:
    outcome = simulate(trace, policy_named(f"fixed:{trace.tasks}"), model)
    assert tuple(outcome.waits) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("policy", [*OURS, *RIVALS])
@derandomized
@given(trace=traces(), model=models())
def test_no_policy_goes_below_the_floor(policy: str, trace: Trace, model: Model) -> None:
    outcome = simulate(trace, policy_named(policy), model)
    assert not outcome.paid + SLACK < floor_of(trace, model, outcome)


@derandomized
@given(trace=traces(), workers=st.integers(1, 3), model=models())
def test_no_policy_goes_below_the_floor_of_another(
    trace: Trace, workers: int, model: Model
) -> None:
    """Fixed pools neither boot, nor have the minimum of the others."""
    names = (f"fixed:{workers}", "jobs_per_worker:2", "keda:1")
    outcomes = [simulate(trace, policy_named(name), model) for name in names]
    fixed, *others = outcomes
    for slow in outcomes:
        for fast in outcomes if fixed.least >= model.minimum else others:
            if fast.waits.p95 <= slow.waits.p95 and not fast.unfinished:
                assert not fast.paid + SLACK < floor_of(trace, model, slow)


def cheapest(published: list[float], wait: float, boot: float) -> float:
    """Return the least for which tasks that take no time can be done, 95 % within *wait*.

    One worker with slots for all of them has to be up at some moments. Between two it is paid, or
    boots again. The best moments are when a task comes and when one has waited for *wait*.
    """
    may_be_late = len(published) - ceil(len(published) * 95 / 100)
    moments = sorted({at + plus for at in published for plus in (0, wait)})
    #: For each moment, and number of tasks late by then: what had to be paid, at least.
    best: list[list[float]] = []
    for number, moment in enumerate(moments):
        costs = [inf] * (may_be_late + 1)
        for before in range(-1, number):
            since = moments[before] if before >= 0 else -inf
            late = sum(since < at and at + wait < moment for at in published)
            for had in range(may_be_late + 1 - late):
                earlier = best[before][had] if before >= 0 else (0.0 if had == 0 else inf)
                costs[had + late] = min(costs[had + late], earlier + min(moment - since, boot))
        best.append(costs)
    return min(min(best[n]) for n, at in enumerate(moments) if at >= published[-1])


@settings(derandomized, max_examples=40)
@given(
    between=st.lists(st.sampled_from([0.0, 1.0, 4.0, 9.0, 15.0, 40.0]), min_size=1, max_size=41),
    wait=st.sampled_from([0.0, 2.0, 10.0]),
)
def test_the_floor_is_not_above_what_is_best(between: list[float], wait: float) -> None:
    published = array("d", [0.0])
    for gap in between:
        published.append(published[-1] + gap)
    trace = Trace("instant", published, array("d", [0.0] * len(published)))
    assert floor(trace, Model(concurrency=100), wait) <= cheapest([*published], wait, 12.0) + SLACK


@pytest.mark.parametrize(("rate", "tasks"), [(0.5, 100_000), (0.7, 200_000)])
@pytest.mark.parametrize("fixed", [True, False], ids=["M/D/1", "M/M/1"])
def test_the_mean_wait_is_pollaczeks_and_khinchines(rate: float, tasks: int, fixed: bool) -> None:
    """It is rate x E(S^2) / 2(1 - load); E(S^2) is 1 if all run for 1 s, 2 if exponential."""
    expected = rate * (1 if fixed else 2) / (2 * (1 - rate))
    outcome = simulate(random_trace(tasks, rate, fixed), policy_named("fixed:1"), Model())
    assert outcome.waits.mean == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("workers", "concurrency"), [(4, 1), (2, 2), (1, 4)])
def test_the_mean_wait_of_four_slots_is_erlangs(workers: int, concurrency: int) -> None:
    """Three tasks come per second and run for 1 s: M/M/4 with a load of 3 / 4."""
    slots, load = 4, 3.0
    full = load**slots / factorial(slots) * slots / (slots - load)
    expected = full / (sum(load**n / factorial(n) for n in range(slots)) + full) / (slots - load)
    trace = random_trace(150_000, load, fixed=False)
    model = Model(concurrency=concurrency)
    outcome = simulate(trace, policy_named(f"fixed:{workers}"), model)
    assert outcome.waits.mean == pytest.approx(expected, rel=0.05)


def test_tasks_that_are_left_have_waited_until_the_end() -> None:
    queues = Queues(Trace("", array("d", [0.0, 5.0, 7.0]), array("d", [1.0, 1.0, 1.0])))
    queues.begin(0, 2.0)
    queues.put(1)
    queues.break_off(100.0, [2])
    assert [*queues.waits] == [2.0, 95.0, 93.0]
