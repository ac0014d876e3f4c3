"""A pool whose limits change at certain times: whole evaluations, with the ledger in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from celery_middle_management.core.batch import Moment
from celery_middle_management.core.demand import Backlog
from celery_middle_management.core.due_times import wakes_at
from celery_middle_management.core.policies.schedule import Entry, Schedule
from celery_middle_management.core.pools import Pool
from celery_middle_management.evaluation.agreement import agreed, newest_maximum
from celery_middle_management.ledger.messages import counts_by_pool
from celery_middle_management.ledger.model import Changes, Snapshot
from celery_middle_management.ledger.pool_reading import read_pool
from tests.unit.properties.one_off_world import OneOffWorld
from tests.unit.properties.world import CALL_INTERVAL, World
from tests.unit.snapshots import NOW, WORKER, Holds, looked, presence, shown, snapshot
from tests.unit.test_schedule import BERLIN, at

DAY = (Entry("0 8 * * *", 2, 4), Entry("0 18 * * *", 0, 1))
MORNING, EVENING = at("2026-06-05T08:00"), at("2026-06-05T18:00")


class Office(World):
    """A world whose pool has a schedule. Its own limits are never in force."""

    def __init__(self, now: float, *entries: Entry, slow: float = 0.0) -> None:
        super().__init__(0, numbered=True)
        self.pool = replace(
            self._settings.pools[0], max_workers=3, schedule=Schedule(entries or DAY, BERLIN)
        )
        self._settings = replace(self._settings, pools=(self.pool,))
        self.now = now
        #: How long (s) each count takes.
        self.slow = slow
        self.publisher = self._new_publisher()

    @property
    def least(self) -> int:
        return self.pool.at(self.now).min_workers if hasattr(self, "pool") else 0

    def _judge(self, quantity: int) -> None:
        if quantity > self.pool.at(self.now).max_workers:
            self.wronged.append(f"set to {quantity} at {self.now}")
        super()._judge(quantity)

    def backlogs(
        self, queues: Sequence[str], unacknowledged: Mapping[str, int]
    ) -> dict[str, Backlog]:
        self.now += self.slow
        return super().backlogs(queues, unacknowledged)

    def until(self, when: float, length: int = 1000) -> None:
        """Let time pass, second by second; a task takes *length* seconds."""
        while self.now < when:
            self.second()
            self.work(length)


def test_when_the_minimum_rises_workers_are_hired_at_that_moment_though_nothing_happens() -> None:
    office = Office(MORNING - 600)
    office.until(MORNING - 1)
    assert (office.target, office.up) == (0, [])
    assert office.store.number("next_at") / 1000 <= MORNING
    office.until(MORNING + 2)
    assert office.target == 2
    assert office.wronged == []


def test_the_call_interval_is_kept_all_the_same() -> None:
    office = Office(MORNING - 600, Entry("0 8 * * *", 3, 4), Entry("0 18 * * *", 0, 2))
    office.until(MORNING - 4)
    office.publish(1)
    office.until(MORNING - 1)
    assert office.target == 1
    office.until(MORNING + CALL_INTERVAL - 5)
    assert office.target == 1
    office.until(MORNING + CALL_INTERVAL)
    assert office.target == 3
    assert office.wronged == []


def test_a_maximum_above_the_pools_own_is_used() -> None:
    office = Office(MORNING + 60)
    office.until(MORNING + 65)
    office.publish(100)
    office.until(MORNING + 100)
    assert office.target == 4
    assert office.wronged == []


def test_when_the_maximum_falls_workers_drain_and_no_task_is_killed() -> None:
    office = Office(EVENING - 300)
    office.publish(60)
    office.until(EVENING - 1)
    assert (office.target, len(office.up)) == (4, 4)
    assert all(worker.running for worker in office.up)
    office.until(EVENING + 60)
    cordon = json.loads(office.store.state["worker/cordon"])
    assert cordon["above"] == 1
    assert office.target == 4, "they are all busy"
    assert sum(worker.consuming for worker in office.up) == 1
    office.until(EVENING + 900, length=120)
    assert (office.target, len(office.up)) == (1, 1)
    assert office.wronged == []


def test_a_decision_that_is_carried_out_too_late_is_dropped() -> None:
    office = Office(EVENING - 300, Entry("0 8 * * *", 0, 4), Entry("0 18 * * *", 0, 1))
    office.until(EVENING - 30)
    office.slow = 3.0
    office.until(EVENING - 2)
    office.publish(60)
    office.evaluate()
    assert (office.now > EVENING, office.target) == (True, 0)
    office.slow = 0.0
    office.until(EVENING + 15)
    assert office.target == 1
    assert office.wronged == []


def test_without_a_maximum_no_worker_stays_and_none_is_hired() -> None:
    office = Office(EVENING - 120, Entry("0 8 * * *", 0, 4), Entry("0 18 * * *", 0, 0))
    office.publish(4)
    office.until(EVENING - 20)
    assert office.target == 1
    office.until(EVENING + 600, length=60)
    assert (office.target, office.workers) == (0, [])
    office.publish(4)
    office.until(EVENING + 900)
    assert office.target == 0
    assert office.wronged == []


def test_times_are_those_of_redis_clock_though_the_ledger_goes_on_evenly_when_it_steps() -> None:
    pool = Pool("worker", ("celery",), 0, 3, 1, schedule=Schedule(DAY, BERLIN))
    ledger = Snapshot(EVENING - 1 + 7, {}, {}, (), {}, offset=7.0)
    state = read_pool(ledger, pool)
    assert (state.pool.min_workers, state.pool.max_workers) == (2, 4)
    assert state.pool.limits_until == wakes_at(state) == EVENING + 7
    assert state.advice.why.endswith("limits 2 to 4")


def test_a_publisher_does_not_hold_back_what_a_higher_maximum_than_the_pools_own_allows() -> None:
    office = Office(MORNING)
    office.publish(1)
    counts = counts_by_pool(office.publisher.batch, office._settings, Moment(MORNING, MORNING))
    assert counts["worker"]["maximum"] == 4


def test_a_process_of_an_older_release_hires_none_that_the_schedule_may_forbid() -> None:
    """It does not know the schedule."""
    changes, ledger = Changes(), Snapshot(EVENING, {}, {}, (), {})
    pool = Pool("worker", None, 0, 9, 1, one_off=True, schedule=Schedule(DAY, BERLIN))
    agreed(pool, EVENING - 10, ledger, changes)
    old = replace(pool, schedule=None)
    assert newest_maximum(old, replace(ledger, state=changes.set)) == 1


def test_one_off_workers_follow_it_too() -> None:
    world = OneOffWorld(0)
    pool = replace(world._settings.pools[0], schedule=Schedule(DAY, BERLIN))
    world._settings = replace(world._settings, pools=(pool,))
    world.now = MORNING - 300
    world.publisher = world._new_publisher()

    def until(when: float) -> None:
        while world.now < when:
            world.second()
            world.work(length=100)

    until(MORNING - 1)
    assert world.singles == []
    until(MORNING + 15)
    assert len(world.singles) == 2
    world.now = EVENING - 1
    until(EVENING + 120)
    assert world.singles == []
    assert world.wronged == []


def test_one_off_workers_are_not_hired_by_limits_that_are_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = OneOffWorld(0)
    entries = Entry("0 8 * * *", 0, 4), Entry("0 18 * * *", 0, 1)
    pool = replace(world._settings.pools[0], schedule=Schedule(entries, BERLIN))
    world._settings = replace(world._settings, pools=(pool,))
    world.now = EVENING - 300
    world.publisher = world._new_publisher()
    while world.now < EVENING - 2:
        world.second()
    read = world.backlogs

    def slowly(*of: Any) -> Any:
        world.now += 3
        return read(*of)

    monkeypatch.setattr(world, "backlogs", slowly)
    world.publish(60)
    world.evaluate()
    assert world.now > EVENING, "the count took so long"
    assert world.singles == []
    monkeypatch.undo()
    while world.now < EVENING + 15:
        world.second()
    assert len(world.singles) == 1
    assert world.wronged == []


# -- what people see


SCHEDULED = replace(
    WORKER, schedule=Schedule((Entry("0 8 * * *", 3, 20), Entry("0 18 * * *", 0, 0)), BERLIN)
)
BEGAN, ENDS = at("2027-01-15T08:00"), at("2027-01-15T18:00")


def test_the_status_has_the_limits_in_force_and_until_when() -> None:
    assert BEGAN < NOW < ENDS
    document = looked(Holds(), snapshot(presence("worker.1"), quantity=3), SCHEDULED)
    workers = document["pools"][0]["workers"]
    assert (workers["min"], workers["max"], workers["needed"]) == (3, 20, 3)
    assert workers["schedule"] == {
        "cron": "0 8 * * *",
        "since": "2027-01-15T07:00:00.000+00:00",
        "until": "2027-01-15T17:00:00.000+00:00",
        "timezone": BERLIN,
    }
    screen = shown(document)
    assert "(limits 3 to 20, local)" in screen
    line = "'0 8 * * *' since 2027-01-15 08:00, until 2027-01-15 18:00 (Europe/Berlin)"
    assert f"  schedule  {line}" in screen


def test_tasks_that_wait_because_of_the_schedule_are_told_of() -> None:
    hours = replace(snapshot(quantity=0, published=1), now=ENDS + 3600)
    ledger = replace(hours, state={**hours.state, "told_at": f"{(ENDS + 3600) * 1000:.0f}"})
    (trouble,) = looked(Holds(celery=1), ledger, SCHEDULED)["trouble"]
    assert trouble["kind"] == "not-hired"
    assert trouble["what"] == (
        "1 task waits, and no worker is hired for another 13 h: until then max_workers is 0, by "
        "middle_management_schedule"
    )


@pytest.mark.parametrize("zone", [BERLIN, "UTC"])
def test_before_any_has_fired_the_screen_says_so(zone: str) -> None:
    never = Schedule((Entry("0 0 */15 * mon#2", 3, 20),), zone)
    document = looked(Holds(), snapshot(quantity=0), replace(WORKER, schedule=never))
    assert f"no entry yet ({zone})" in shown(document)
