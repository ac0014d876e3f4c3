"""Traces made from an app's history."""

from __future__ import annotations

import pytest

from celery_middle_management.core.history import Sample, Totals
from celery_middle_management.sim.history import trace_of


def sample(minute: int, published: int, finished: int = 0, runtime: float = 0.0) -> Sample:
    totals = Totals(published=published, finished=finished, runtime=runtime)
    return Sample(minute * 60.0, {"worker": totals})


def test_tasks_are_published_in_their_minutes() -> None:
    samples = [sample(0, 5), sample(1, 8), sample(2, 8), sample(30, 9), sample(31, 9)]
    trace = trace_of("worker", reversed(samples), variation=0.0, seed=0)
    assert trace.tasks == 4
    apart = [b - a for a, b in zip(trace.published, trace.published[1:], strict=False)]
    assert sum(apart[:2]) <= 60
    # The last was published in the third minute: a minute without a sample had no reports.
    assert 60 <= apart[2] <= 180


def test_a_task_runs_for_as_long_as_those_of_its_minute_did() -> None:
    samples = [sample(0, 0), sample(1, 2, 2, 10.0), sample(2, 3, 3, 11.0), sample(3, 4, 3, 11.0)]
    trace = trace_of("worker", samples, variation=0.0, seed=0)
    # In the last minute none was finished: it has the mean of all.
    assert [*trace.runtimes] == pytest.approx([5.0, 5.0, 1.0, 11 / 3])


def test_run_times_vary_as_told() -> None:
    samples = [sample(0, 0), sample(1, 20_000, 20_000, 40_000.0)]
    runtimes = trace_of("worker", samples, variation=1.5, seed=0).runtimes
    mean = sum(runtimes) / len(runtimes)
    deviation = (sum((r - mean) ** 2 for r in runtimes) / len(runtimes)) ** 0.5
    assert mean == pytest.approx(2.0, rel=0.05)
    assert deviation / mean == pytest.approx(1.5, rel=0.15)


def test_counters_that_were_lost_begin_again() -> None:
    samples = [sample(0, 1000), sample(1, 3), sample(2, 5)]
    assert trace_of("worker", samples, variation=0.0, seed=0).tasks == 5


def test_a_seed_gives_the_same_each_time() -> None:
    samples = [sample(0, 0), sample(1, 50, 50, 100.0)]
    one, same, other = (trace_of("worker", samples, 1.0, seed) for seed in (1, 1, 2))
    assert one.published == same.published
    assert one.runtimes == same.runtimes
    assert one.published != other.published


def test_a_pool_without_history_has_no_tasks() -> None:
    assert trace_of("worker", [], 0.0, 0).tasks == 0
    assert trace_of("pdf", [sample(0, 1), sample(1, 2)], 0.0, 0).tasks == 0
