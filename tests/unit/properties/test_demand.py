"""Counts and dead reckoning never invent work, nor forget any that is there."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from celery_middle_management.core.demand import (
    COARSE_BUCKET,
    FINE_BUCKET,
    FINE_HORIZON,
    Backlog,
    Buckets,
    Count,
    Held,
    bucket_of,
    corrected,
    due_by,
    end_of,
    reckon,
    take_count,
)
from celery_middle_management.core.policies.backlog import backlog
from celery_middle_management.core.pool_count import with_count
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.pools import Pool

NOW = 10_000.0
tasks = st.integers(0, 50)
times = st.floats(0, 2 * NOW)
buckets = st.dictionaries(st.integers(900, 1100).map(lambda n: n * FINE_BUCKET), st.integers(1, 9))
helds = st.builds(Held, tasks, tasks, tasks, tasks)
backlogs = st.lists(
    st.builds(Backlog, tasks, tasks, tasks, st.integers(-100, 100).map(float)), max_size=4
)
counts = st.builds(
    take_count, times, backlogs, helds, buckets, st.booleans(), passing=st.booleans()
)


@given(backlogs, helds, buckets, st.booleans(), st.booleans())
def test_a_count_accounts_for_every_task_once(
    queues: list[Backlog], held: Held, due: Buckets, consuming: bool, passing: bool
) -> None:
    count = take_count(NOW, queues, held, due, consuming, passing=passing)
    assert min(count.waiting, count.running, count.scheduled) >= 0
    back = sum(b.orphans for b in queues if b.restore_in <= 0)
    there = (
        sum(b.ready + b.scheduled for b in queues) + held.waiting + held.running + held.scheduled
    )
    assert count.outstanding + count.scheduled == there + back
    assert count.running == held.running
    coming = [b for b in queues if b.orphans and b.restore_in > 0]
    assert (count.restore_at is not None) == bool(coming)
    assert count.restore_at is None or count.restore_at > NOW


@given(st.none() | counts, tasks, tasks, tasks)
def test_reckoning_is_never_negative(
    count: Count | None, published: int, finished: int, due: int
) -> None:
    reckoned = reckon(count, published, finished, due)
    assert reckoned >= 0
    assert reckon(count, published + 1, finished, due) >= reckoned
    assert reckon(count, published, finished + 1, due) <= reckoned


@given(counts, tasks, tasks, tasks)
def test_reckoning_is_exact_when_every_task_is_told_of(
    count: Count, published: int, finished: int, due: int
) -> None:
    done = min(finished, count.outstanding + published + due)
    assert reckon(count, published, done, due) == count.outstanding + published + due - done


states = st.builds(
    PoolState,
    pool=st.just(Pool("worker", None, 0, 10, 1)),
    now=st.just(NOW),
    published=tasks,
    finished=tasks,
    base_published=tasks,
    base_finished=tasks,
    count=st.none() | counts,
    buckets=buckets.map(lambda due: {when: n for when, n in due.items() if when > NOW}),
)


@given(states, counts, tasks)
def test_one_count_heals_whatever_was_told(state: PoolState, truth: Count, later: int) -> None:
    published = state.published + later
    state = with_count(state, truth, seen=True)
    assert state.outstanding == truth.outstanding
    assert replace(state, published=published).outstanding == truth.outstanding + later


@given(buckets, buckets, times, st.booleans())
def test_due_times_are_corrected_towards_what_workers_hold(
    known: Buckets, held: Buckets, now: float, empty: bool
) -> None:
    held = {when: n for when, n in held.items() if when > now}
    changes = corrected(known, held, {}, now, empty)
    after = {when: known.get(when, 0) + changes.get(when, 0) for when in {*known, *changes}}
    ahead = {when: n for when, n in after.items() if when > now}
    assert min(after.values(), default=0) >= 0
    assert all(after[when] == n for when, n in known.items() if when <= now)
    if empty:
        assert sum(ahead.values()) == sum(held.values())
    else:
        assert sum(ahead.values()) >= sum(held.values())
        assert all(after[when] >= n for when, n in known.items()), "it may lie in a queue"
    assert not corrected(after, held, {}, now, empty)


@given(buckets, buckets, buckets, st.booleans())
def test_what_will_be_told_yet_is_not_added_and_never_taken_for_gone(
    known: Buckets, old: Buckets, recent: Buckets, empty: bool
) -> None:
    now = 0.0
    held = {when: old.get(when, 0) + recent.get(when, 0) for when in {*old, *recent}}
    changes = corrected(known, held, recent, now, empty)
    with_all = corrected(known, held, {}, now, empty)
    for when in {*changes, *with_all}:
        kept_back = with_all.get(when, 0) - changes.get(when, 0)
        assert 0 <= kept_back <= recent.get(when, 0)


def test_neighbouring_buckets_are_one_task() -> None:
    assert corrected({100: 1}, {110: 1}, {}, now=0, empty=False) == {}
    assert corrected({120: 1}, {110: 1}, {}, now=0, empty=True) == {}
    assert corrected({60: 2}, {110: 1}, {}, now=0, empty=True) == {60: -1}
    assert corrected({60: 1}, {180: 1}, {}, now=0, empty=True) == {60: -1, 180: 1}


@given(buckets, times, times)
def test_more_falls_due_as_time_passes(due: Buckets, one: float, other: float) -> None:
    sooner, later = sorted((one, other))
    assert due_by(due, sooner) <= due_by(due, later) <= sum(due.values())


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_a_bucket_is_never_later_than_what_is_due(due: float, now: float) -> None:
    bucket = bucket_of(due, now)
    size = FINE_BUCKET if due - now <= FINE_HORIZON else COARSE_BUCKET
    assert bucket <= due < end_of(bucket)
    assert end_of(bucket) % size == 0
    assert end_of(bucket) - bucket <= size + 1


@given(st.integers(0, 10**6), st.integers(1, 100), st.integers(0, 20), st.integers(0, 20))
def test_just_enough_workers_within_limits(
    outstanding: int, jobs: int, minimum: int, more: int
) -> None:
    maximum = minimum + more
    needed = backlog(outstanding, jobs).within(minimum, maximum).workers
    assert minimum <= needed <= maximum
    assert needed == maximum or needed * jobs >= outstanding
    assert needed == minimum or (needed - 1) * jobs < outstanding
