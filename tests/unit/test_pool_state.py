"""A pool's state in the ledger, read and written."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from celery_middle_management.core.backoff import Unheard
from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.demand import Count
from celery_middle_management.core.due_times import wakes_at
from celery_middle_management.core.pool_count import (
    TAKEN_WITHIN,
    nothing_new,
    scheduling,
    still_parked,
    with_count,
)
from celery_middle_management.core.pool_state import (
    BOOT_SECONDS,
    Parked,
    PoolState,
    Refusal,
    Sent,
)
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.roster import Roster, RosterEntry
from celery_middle_management.ledger.model import Changes, Snapshot, millis
from celery_middle_management.ledger.pool import PoolWriter
from celery_middle_management.ledger.pool_reading import read_pool

NOW = 10_000.0
POOL = Pool("worker", None, min_workers=0, max_workers=10, jobs_per_worker=2)


def pool_state(**known: Any) -> PoolState:
    return PoolState(**{"pool": POOL, "now": NOW} | known)


def snapshot(state: dict[str, str] | None = None, **known: Any) -> Snapshot:
    values = {"now": NOW, "state": state or {}, "due": {}, "presences": (), "queues": {}}
    return Snapshot(**values | known)


def written(changes: Changes, before: Snapshot) -> Snapshot:
    """The ledger once *changes* have been written to it."""
    state = {**before.state, **changes.set}
    for name, n in changes.add.items():
        state[name] = str(int(state.get(name, "0")) + n)
    due = dict(before.due.get("worker", {}))
    for name, n in changes.due.items():
        when = int(name.rpartition("/")[2])
        due[when] = due.get(when, 0) + n
    return replace(
        before,
        state={k: v for k, v in state.items() if k not in changes.unset},
        due={"worker": {when: n for when, n in due.items() if n > 0}},
    )


# -- what it says


def test_outstanding_is_dead_reckoning() -> None:
    told = pool_state(
        published=10,
        base_published=4,
        finished=5,
        base_finished=3,
        count=Count(NOW - 30, waiting=7, running=1, scheduled=4),
        buckets={int(NOW): 2, int(NOW) + 1: 1},
    )
    assert told.outstanding == 8 + 6 - 2 + 2


def test_demand_looks_ahead_by_the_time_that_a_boot_takes() -> None:
    told = pool_state(buckets={10_010: 1, 10_020: 2, 10_021: 4}, boot=20.0)
    assert (told.outstanding, told.demand, told.needed) == (0, 3, 2)
    assert wakes_at(told) == 10_001.0


def test_needed_stays_within_limits() -> None:
    assert pool_state().needed == 0
    assert pool_state(published=999).needed == 10
    assert pool_state(pool=replace(POOL, min_workers=3)).needed == 3


def test_a_count_that_found_more_than_was_reckoned_denies_a_fire_for_a_while() -> None:
    surprised = pool_state(count=Count(NOW - 4.9, 3, 0, 0), drift=-3)
    assert nothing_new(surprised)
    assert not nothing_new(replace(surprised, now=NOW + 0.1))
    assert not nothing_new(replace(surprised, drift=3))
    assert not nothing_new(replace(surprised, cordon=Cordon(above=2, at=NOW - 4.9)))
    assert not nothing_new(pool_state(drift=-3))


def test_a_count_that_found_fewer_is_repeated_once_workers_have_reported() -> None:
    fewer = pool_state(count=Count(NOW - 1.9, 3, 0, 0), drift=3)
    assert nothing_new(fewer)
    assert not nothing_new(replace(fewer, now=NOW + 0.1))


def test_wakes_for_what_comes_back() -> None:
    count = Count(NOW, 0, 0, 0, restore_at=NOW + 5)
    assert wakes_at(pool_state()) is None
    assert wakes_at(pool_state(count=replace(count, restore_at=None))) is None
    assert wakes_at(pool_state(count=count)) == NOW + 5
    assert wakes_at(pool_state(count=count, buckets={10_012: 1})) == 10_012 - BOOT_SECONDS


@pytest.mark.parametrize(
    ("fire", "unsettled", "stopping"),
    [
        (None, None, None),
        (Sent(2, NOW), None, None),
        (Sent(2, NOW + 1), 2, None),
        (Sent(0, NOW + 1), 0, None),
        (Sent(2, NOW, done=True), None, None),
        (Sent(0, NOW + 1, done=True), None, 0),
    ],
)
def test_a_fire_can_take_effect_until_its_time_is_up(
    fire: Sent | None, unsettled: int | None, stopping: int | None
) -> None:
    assert (pool_state(fire=fire).unsettled, pool_state(fire=fire).stopping) == (
        unsettled,
        stopping,
    )


def test_counted() -> None:
    told = pool_state(published=10, finished=3)
    after = with_count(told, Count(NOW, 4, 1, 0), seen=True)
    assert (after.drift, after.outstanding) == (2, 5)


def test_what_was_seen_to_be_parked_is_until_workers_have_come_to_it() -> None:
    first = with_count(pool_state(finished=3), Count(NOW, 4, 1, 20, parked=20), seen=True)
    assert first.parked == Parked(20, until=3 + 4 + 1)
    assert [still_parked(replace(first, finished=n)) for n in (3, 8, 9)] == [20, 20, 0]
    # It does not last longer for having been believed again.
    later = with_count(replace(first, finished=7), Count(NOW, 9, 1, 20, parked=15), seen=False)
    assert later.parked == Parked(15, until=8)


# -- how it is read


def test_an_empty_ledger() -> None:
    assert read_pool(snapshot(), POOL) == pool_state()


def test_no_quantity_is_not_none_at_all() -> None:
    assert read_pool(snapshot({"worker/quantity": "0"}), POOL).quantity == 0


def test_other_pools_are_not_read() -> None:
    other = snapshot({"pdf/quantity": "3", "pdf/published": "9"}, due={"pdf": {10: 1}})
    assert read_pool(other, POOL) == pool_state()


def test_what_is_written_is_read_again() -> None:
    changes = Changes()
    told = pool_state(
        formation=3,
        one_offs=2,
        quantity_at=NOW - 9,
        roster=Roster({"hire": RosterEntry(NOW - 5, NOW + 60, "run.1234", 7)}, newest=8),
        leave=Cordon(None, frozenset({"run.1234"}), NOW - 2, {"run.1234": NOW - 2}),
        base_published=7,
        base_finished=6,
        count=Count(NOW - 1, 1, 2, 3, restore_at=NOW + 4),
        drift=-2,
        buckets={11_000: 2},
        cordon=Cordon(None, frozenset({"b", "a"}), NOW - 2, {"a": NOW - 3}),
        fire=Sent(1, NOW + 30, done=True),
        raised_at=NOW - 8,
        unheard=Unheard(NOW - 8),
    )
    writer = PoolWriter(told, changes)
    writer.quantity(told)
    writer.roster(told.roster, told.leave)
    writer.count(told)
    writer.cordon(told.cordon)
    writer.firing(1, NOW + 30, done=True)
    writer.raised(replace(told, unheard=None, raised_at=None), NOW - 8)
    ledger = written(changes, snapshot(due={"worker": {11_000: 2}}))
    assert read_pool(ledger, POOL) == told
    assert ledger.time("worker/counted_at") == NOW - 1


def test_a_boot_is_measured_from_the_first_of_several_hires() -> None:
    changes = Changes()
    writer = PoolWriter(pool_state(), changes)
    first = writer.raised(pool_state(boot=12.0), NOW)
    second = writer.raised(first, NOW + 10)
    assert written(changes, snapshot()).time("worker/raised_at") == NOW
    measured = writer.boot_measured(second, NOW + 12)
    assert (measured.boot, measured.raised_at) == (12.0, None)


def test_a_hire_that_brought_no_worker_is_no_boot() -> None:
    changes = Changes()
    writer = PoolWriter(pool_state(), changes)
    state = writer.raised(writer.raised(pool_state(), NOW), NOW + 600)
    assert state.raised_at == NOW + 600
    assert written(changes, snapshot()).time("worker/raised_at") == NOW + 600


def test_what_is_over_is_unset() -> None:
    before = snapshot({"worker/cordon": "{}", "worker/fire": '{"to": 1, "until": 20000}'})
    assert read_pool(before, POOL).unsettled == 1
    changes = Changes()
    writer = PoolWriter(pool_state(), changes)
    writer.cordon(Cordon())
    writer.fire_settled()
    writer.count(pool_state())
    assert written(changes, before).state == {}


@pytest.mark.parametrize(("ago", "expected"), [(0.0, True), (TAKEN_WITHIN, False)])
def test_scheduled_tasks_are_on_their_way_for_a_while(ago: float, expected: bool) -> None:
    told = snapshot({"worker/scheduled_at": str(millis(NOW - ago))})
    assert scheduling(read_pool(told, POOL)) == expected
    assert not scheduling(read_pool(snapshot(), POOL))


# -- how it is written


def test_what_has_fallen_due_is_as_if_published() -> None:
    before = snapshot({"worker/published": "5"}, due={"worker": {9_990: 2, 10_000: 1, 10_010: 4}})
    changes = Changes()
    told = read_pool(before, POOL)
    after = PoolWriter(told, changes).fall_due(told)
    assert (after.published, after.buckets) == (8, {10_010: 4})
    assert after.outstanding == told.outstanding
    assert read_pool(written(changes, before), POOL) == after


def test_nothing_due_changes_nothing() -> None:
    changes, told = Changes(), pool_state(buckets={10_010: 1})
    assert PoolWriter(told, changes).fall_due(told) is told
    assert changes == Changes()


def test_due_times_are_corrected() -> None:
    before = snapshot(due={"worker": {11_000: 2, 12_000: 1}})
    changes = Changes()
    told = read_pool(before, POOL)
    after = PoolWriter(told, changes).correct_due(told, {11_000: 1, 12_000: -1, 13_000: 5})
    assert after.buckets == {11_000: 3, 13_000: 5}
    assert read_pool(written(changes, before), POOL) == after


def test_the_time_of_a_boot_is_measured_once_for_each_hire() -> None:
    before = snapshot({"worker/raised_at": "9970000"})
    changes = Changes()
    told = read_pool(before, POOL)
    assert told.raised_at == NOW - 30
    after = PoolWriter(told, changes).boot_measured(told, NOW - 10)
    assert (after.boot, after.raised_at) == (13.0, None)
    assert read_pool(written(changes, before), POOL) == after
    assert PoolWriter(after, changes).boot_measured(after, NOW) is after


def test_the_end_of_a_crash_loop_is_not_taken_for_a_boot() -> None:
    told = read_pool(snapshot({"worker/raised_at": "1000000"}), POOL)
    assert PoolWriter(told, Changes()).boot_measured(told, NOW).boot == 10.0 + 0.3 * 25.0


def test_an_action_is_the_last_one_and_history() -> None:
    changes = Changes()
    PoolWriter(pool_state(), changes).action({"action": "hire", "from": 0, "to": 2})
    assert json.loads(changes.set["worker/last_action"]) == {"action": "hire", "from": 0, "to": 2}
    assert [json.loads(entry)["pool"] for entry in changes.history] == ["worker"]


def test_hired_and_fired_workers_add_up_but_not_those_of_a_dry_run() -> None:
    changes = Changes()
    writer = PoolWriter(pool_state(), changes)
    writer.action({"action": "hire", "from": 0, "to": 2})
    writer.action({"action": "hire", "from": 2, "to": 5})
    writer.action({"action": "fire", "from": 5, "to": 1})
    writer.action({"action": "hire", "from": 1, "to": 9, "dry_run": True})
    assert changes.add == {"worker/hired": 5, "worker/fired": 4}


def test_a_hire_of_unknown_outcome_outlasts_a_later_one() -> None:
    before = snapshot({"worker/hire": json.dumps({"to": 3, "until": NOW + 30})})
    told = read_pool(before, POOL)
    assert told.ceiling == 3
    changes = Changes()
    writer = PoolWriter(told, changes)
    writer.hiring(2, NOW + 35)
    assert read_pool(written(changes, before), POOL).ceiling == 2
    writer.hire_settled(told)
    assert read_pool(written(changes, before), POOL).ceiling == 3


@pytest.mark.parametrize("state", [{}, {"worker/hire": json.dumps({"to": 3, "until": NOW})}])
def test_a_settled_hire_is_unset(state: dict[str, str]) -> None:
    told = read_pool(snapshot(state), POOL)
    assert told.ceiling is None
    changes = Changes()
    PoolWriter(told, changes).hire_settled(told)
    assert read_pool(written(changes, snapshot(state)), POOL) == pool_state()


def test_the_refusal_after_crashes_holds_until_a_worker_has_come_up_well() -> None:
    refusal = Refusal("they crash", NOW - 61, NOW - 1, limit=0)
    crashing = pool_state(published=1, last_refusal=refusal, roster=Roster(crashes=3))
    assert crashing.denied == refusal
    assert crashing.refusal is None, "another worker may be tried"
    assert replace(crashing, roster=Roster()).denied is None
    assert replace(crashing, published=0).denied is None
