"""Traces made from an app's own history, which tells what the pool did in each minute."""

from __future__ import annotations

from array import array
from itertools import pairwise
from random import Random

import pytest

from celery_middle_management.core.history import MINUTE, Sample, Totals, activity
from celery_middle_management.sim import Trace
from celery_middle_management.sim.history import trace_of

NOON = 1_800_000_000.0 // MINUTE * MINUTE


def sample(minute: float, published: float, finished: float = 0, runtime: float = 0.0) -> Sample:
    """The counters of the pool `worker` when a minute begins."""
    totals = Totals(published, finished, finished, 0.0, runtime, 1)
    return Sample(NOON + minute * MINUTE, {"worker": totals})


def made(*samples: Sample, variation: float = 0.0, seed: int = 0) -> Trace:
    return trace_of("worker", samples, variation, seed)


def bursts(trace: Trace) -> list[list[float]]:
    """Group the tasks: between two groups nothing was published for two minutes or longer."""
    groups: list[list[float]] = []
    for before, at in pairwise([-1000.0, *trace.published]):
        if at - before >= 2 * MINUTE:
            groups.append([])
        groups[-1].append(at)
    return groups


def random_day(seed: int) -> list[Sample]:
    """Samples of 200 minutes, a few missing, in which the counters were lost now and then."""
    random = Random(seed)
    published, finished, runtime = 0, 0, 0.0
    found = []
    for minute in range(200):
        if random.random() < 0.02:
            published, finished, runtime = 0, 0, 0.0
        published += random.choice([0, 0, 1, 2, 30])
        ended = random.randint(0, published - finished)
        finished, runtime = finished + ended, round(runtime + ended * 1.5, 1)
        if random.random() < 0.9:
            found.append(sample(minute, published, finished, runtime))
    return found


# -- how many, and when


def test_tasks_are_published_in_their_minutes() -> None:
    samples = [sample(0, 5), sample(1, 8), sample(2, 8), sample(30, 9), sample(31, 9)]
    trace = trace_of("worker", reversed(samples), variation=0.0, seed=0)
    assert trace.tasks == 4
    apart = [b - a for a, b in zip(trace.published, trace.published[1:], strict=False)]
    assert sum(apart[:2]) <= 60
    # The last was published in the third minute: a minute without a sample had no reports.
    assert 60 <= apart[2] <= 180


def test_bursts_are_published_in_their_minutes() -> None:
    growing = [(0, 0), (1, 3), (10, 3), (11, 8), (29, 8), (30, 10)]
    found = bursts(made(*(sample(minute, tasks) for minute, tasks in growing)))
    assert [len(tasks) for tasks in found] == [3, 5, 2]
    for tasks in found:
        assert tasks[-1] - tasks[0] < MINUTE
    for (first, *_), minute in zip(found, (0, 10, 29), strict=True):
        assert abs(first - minute * MINUTE) < MINUTE


def test_in_minutes_without_a_sample_nothing_was_published() -> None:
    """What has grown by the next sample was published in the last minute that has one."""
    [early] = bursts(made(sample(0, 2), sample(1, 5), sample(61, 9)))
    assert (len(early), early[-1] < 2 * MINUTE) == (7, True)
    early, late = bursts(made(sample(0, 0), sample(1, 5), sample(61, 5), sample(62, 9)))
    assert (len(early), len(late)) == (5, 4)
    assert 60 * MINUTE < late[0] < late[-1] < 62 * MINUTE


@pytest.mark.parametrize("seed", range(5))
def test_every_task_of_the_history_is_there_and_no_other(seed: int) -> None:
    samples = random_day(seed)
    done = activity(samples, "worker", NOON + 200 * MINUTE, minutes=201)
    trace = made(*samples)
    assert trace.tasks == len(trace.runtimes) == sum(one.arrivals for one in done) > 100


def test_samples_are_given_in_any_order() -> None:
    samples = random_day(1)
    ordered, reverse = made(*samples), made(*reversed(samples))
    assert (ordered.published, ordered.runtimes) == (reverse.published, reverse.runtimes)


def test_counters_that_were_lost_begin_again() -> None:
    samples = [sample(0, 1000), sample(1, 3), sample(2, 5)]
    assert trace_of("worker", samples, variation=0.0, seed=0).tasks == 5


def test_counters_that_fell_a_little_lack_the_latest_reports() -> None:
    given = [(100, 100, 50.0), (98, 98, 49.0), (101, 101, 50.5)]
    trace = made(*(sample(minute, *totals) for minute, totals in enumerate(given)))
    assert list(trace.runtimes) == [0.5] * 3


def test_what_was_before_the_first_sample_is_left_out() -> None:
    assert made(sample(0, 1_000_000), sample(1, 1_000_002)).tasks == 2


def test_a_pool_without_history_has_no_tasks() -> None:
    assert trace_of("worker", [], 0.0, 0).tasks == 0
    assert trace_of("pdf", [sample(0, 1), sample(1, 2)], 0.0, 0).tasks == 0


@pytest.mark.parametrize("samples", [[], [sample(0, 9)], [sample(0, 9), sample(1, 9)]])
def test_there_may_be_no_task(samples: list[Sample]) -> None:
    trace = made(*samples)
    assert (trace.tasks, trace.work, trace.span) == (0, 0.0, 0.0)


def test_it_is_of_one_pool_and_says_so() -> None:
    both = [Sample(NOON, {}), Sample(NOON + 60, {"pdf": Totals(5), "worker": Totals(9)})]
    trace = trace_of("pdf", both, 0.0, 0)
    assert (trace.tasks, trace.queues, trace.queue_of) == (5, ("celery",), None)
    assert "pdf" in trace.name
    assert trace_of("mail", both, 0.0, 0).tasks == 0


def test_it_is_as_a_trace_should_be() -> None:
    trace = made(*random_day(2), variation=1.0)
    assert (trace.published.typecode, trace.runtimes.typecode) == ("d", "d")
    assert trace.published[0] == 0.0
    assert trace.published == array("d", sorted(trace.published))
    assert min(trace.runtimes) > 0


def test_a_seed_gives_the_same_each_time() -> None:
    samples = [sample(0, 0), sample(1, 50, 50, 100.0)]
    one, same, other = (trace_of("worker", samples, 1.0, seed) for seed in (1, 1, 2))
    assert one.published == same.published
    assert one.runtimes == same.runtimes
    assert one.published != other.published


# -- how long they run


def test_a_task_runs_for_as_long_as_those_of_its_minute_did() -> None:
    samples = [sample(0, 0), sample(1, 2, 2, 10.0), sample(2, 3, 3, 11.0), sample(3, 4, 3, 11.0)]
    trace = trace_of("worker", samples, variation=0.0, seed=0)
    # In the last minute none was finished: it has the mean of all.
    assert [*trace.runtimes] == pytest.approx([5.0, 5.0, 1.0, 11 / 3])


def test_tasks_that_end_later_run_as_long_as_those_that_ended_then() -> None:
    trace = made(*(sample(0, 0), sample(1, 3, 3, 6.0), sample(2, 4, 3, 6.0), sample(3, 5, 5, 36.0)))
    assert list(trace.runtimes) == [2.0] * 3 + [15.0] * 2


def test_a_burst_that_ends_in_later_minutes_has_the_work_that_it_had() -> None:
    """A hundred tasks of a minute each are published at once; workers are up a minute later."""
    ended = [(0, 0), (100, 0), (100, 20), (100, 60), (100, 100)]
    trace = made(*(sample(m, tasks, done, done * 60.0) for m, (tasks, done) in enumerate(ended)))
    assert trace.tasks == 100
    assert trace.work == pytest.approx(6000)


def test_the_mean_of_all_is_that_of_the_tasks_that_ended() -> None:
    """One task was published when it was quiet, and then a hundred that ran for long."""
    ended = [(0, 0, 0.0), (1, 1, 1.0), (101, 1, 1.0), (101, 101, 6001.0)]
    trace = made(*(sample(minute, *totals) for minute, totals in enumerate(ended)))
    assert trace.work == pytest.approx(6001, rel=0.05)


def test_short_tasks_keep_their_work_although_samples_tell_tenths() -> None:
    """Ten hours with a task of 10 ms each minute."""
    given = [sample(m, m, m, int(m * 0.01 * 10 + 0.5) / 10) for m in range(601)]
    trace = made(*given)
    assert trace.tasks == 600
    assert trace.work == pytest.approx(6.0, rel=0.1)


def test_a_task_of_which_nothing_is_known_runs_for_a_second() -> None:
    assert list(made(sample(0, 0), sample(1, 2)).runtimes) == [1.0, 1.0]


def test_run_times_vary_as_told() -> None:
    samples = [sample(0, 0), sample(1, 20_000, 20_000, 40_000.0)]
    runtimes = trace_of("worker", samples, variation=1.5, seed=0).runtimes
    mean = sum(runtimes) / len(runtimes)
    deviation = (sum((r - mean) ** 2 for r in runtimes) / len(runtimes)) ** 0.5
    assert mean == pytest.approx(2.0, rel=0.05)
    assert deviation / mean == pytest.approx(1.5, rel=0.15)
