"""Reports and evaluations that change nothing are left out of simulations: nothing else changes."""

from __future__ import annotations

from array import array
from dataclasses import replace
from random import Random
from typing import NamedTuple

import pytest

from celery_middle_management.core.presence import Presence
from celery_middle_management.evaluation.evaluation import Evaluation
from celery_middle_management.sim import Model, Trace
from celery_middle_management.sim.cluster import Cluster
from celery_middle_management.sim.managed import Managed


class Load(NamedTuple):
    """So many tasks in a time (s), how long (s) they run on average, and what the pool is given."""

    tasks: int
    span: float
    mean: float
    jobs_per_worker: int | None = None
    max_wait: float | None = None


TRICKLE = Load(60, 1500.0, 5.0, 1)
BUSY = Load(200, 600.0, 3.0, 3)
SHORT = Load(1000, 1000.0, 0.2, 10)
LONG = Load(300, 900.0, 20.0, 2)
LONGER = Load(60, 1200.0, 120.0, 1)
STEADY = Load(150, 600.0, 20.0, 10)
MANY = Load(300, 900.0, 6.0, 3)
NIGHTS = Load(15, 6000.0, 30.0, 10)
MEASURED = Load(100, 600.0, 4.0)
PROMPT = Load(100, 600.0, 4.0, max_wait=5.0)


class Ended(NamedTuple):
    """All that a simulation comes to."""

    at: float
    waits: array[float]
    paid: float
    hires: int
    calls: int
    peak: int


def trace_of(load: Load, seed: int) -> Trace:
    """Bursts, a trickle and pauses."""
    dice, at, published = Random(seed), 0.0, [0.0]
    while len(published) < load.tasks:
        at += dice.expovariate(load.tasks / load.span) * dice.choice([0.0, 0.0, 0.5, 1.0, 4.0])
        published.append(at)
    runtimes = array("d", (dice.expovariate(1 / load.mean) for _ in published))
    return Trace("", array("d", published), runtimes)


def ended(trace: Trace, load: Load, model: Model, *, every_report: bool) -> Ended:
    cluster = Cluster(trace, model, managed=True)
    managed = Managed(
        cluster, load.jobs_per_worker, max_wait=load.max_wait, every_report=every_report
    )
    while cluster.finished < trace.tasks or len(cluster.workers) > model.minimum:
        cluster.advance(managed.next_at)
        managed.act()
    paid = cluster.paid + sum(cluster.now - w.hired_at for w in cluster.workers.values())
    counts = paid, cluster.hires, managed.calls, cluster.peak
    return Ended(cluster.now, cluster.queues.waits, *counts)


@pytest.mark.parametrize("one_off", [False, True], ids=["formation", "one-off"])
@pytest.mark.parametrize(
    ("load", "seed"),
    [
        *((load, 0) for load in (TRICKLE, BUSY, MEASURED, PROMPT)),
        (MANY, 5),
        # Among others: workers that are cordoned while they boot, and when they are hired.
        *(pytest.param(MANY, seed, marks=pytest.mark.slow) for seed in (6, 12, 13, 19)),
        *(
            pytest.param(load, seed, marks=pytest.mark.slow)
            for load in (TRICKLE, BUSY, SHORT, LONG, LONGER, NIGHTS, MEASURED, PROMPT)
            for seed in range(1, 4)
        ),
    ],
)
def test_nothing_else_changes(load: Load, seed: int, one_off: bool) -> None:
    trace, model = trace_of(load, seed), model_of(seed, one_off=one_off)
    left_out = ended(trace, load, model, every_report=False)
    assert left_out == ended(trace, load, model, every_report=True)


def model_of(seed: int, *, one_off: bool) -> Model:
    dice = Random(seed)
    return Model(
        minimum=dice.choice([0, 0, 1]),
        maximum=dice.choice([3, 20]),
        boot=dice.choice([3.0, 12.0, 40.0]),
        concurrency=dice.choice([1, 4]),
        prefetch=dice.choice([1, 4]),
        call_interval=dice.choice([10.0, 25.0]),
        shutdown=dice.choice([0.0, 2.0]),
        one_off=one_off,
    )


#: What evaluations read of a pool: these counters, and what each worker reports.
COUNTERS = ("published", "started", "waits", "late", "finished", "runtime", "runtime_squares")
Readings = dict[float, tuple[dict[str, str], list[Presence]]]


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> Readings:
    """What each evaluation that is made has read, by its time (s)."""
    found: Readings = {}
    run = Evaluation.run

    def noted(evaluation: Evaluation) -> None:
        its = evaluation._snapshot
        state = {name: its.state.get(f"worker/{name}", "") for name in COUNTERS}
        # The ids of hires are random.
        presences = [replace(presence, hire="") for presence in its.presences]
        found[its.now] = state, sorted(presences, key=lambda presence: presence.id)
        run(evaluation)

    monkeypatch.setattr(Evaluation, "run", noted)
    return found


@pytest.mark.parametrize("one_off", [False, True], ids=["formation", "one-off"])
@pytest.mark.parametrize("seed", [3, 5])
def test_evaluations_that_are_made_read_the_same(
    one_off: bool, seed: int, readings: Readings
) -> None:
    trace, model = trace_of(MANY, seed), model_of(seed, one_off=one_off)
    ended(trace, MANY, model, every_report=False)
    fewer = readings.copy()
    readings.clear()
    ended(trace, MANY, model, every_report=True)
    both = fewer.keys() & readings.keys()
    assert len(both) > 0.9 * len(fewer)
    assert {at: fewer[at] for at in both} == {at: readings[at] for at in both}
    told = [presence for at in both for presence in fewer[at][1]]
    assert {presence.slots for presence in told} == {model.concurrency}
    assert len({presence.elapsed for presence in told}) > 20


def test_most_evaluations_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    run = Evaluation.run

    def noted(evaluation: Evaluation) -> None:
        made.append(evaluation)
        run(evaluation)

    monkeypatch.setattr(Evaluation, "run", noted)
    numbers = []
    for every_report in (False, True):
        ended(trace_of(STEADY, 0), STEADY, Model(), every_report=every_report)
        numbers.append(len(made))
        made.clear()
    assert 2 * numbers[0] < numbers[1]
