"""A pool is stuck if tasks wait because of its maximum; it is told once that has lasted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from celery_middle_management.cli.log import log_line
from celery_middle_management.core.demand import Count
from celery_middle_management.core.intents import ManualRequest
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.stuck import STUCK_AFTER, stuck_since, told_of
from celery_middle_management.evaluation.troubles import Troubles
from celery_middle_management.ledger.model import Changes, Snapshot
from celery_middle_management.ledger.pool import PoolWriter
from celery_middle_management.ledger.pool_reading import read_pool
from tests.unit.properties.processes import POOL as POOL_NAME
from tests.unit.properties.world import World

NOW = 1000.0
POOL = Pool("worker", None, 0, 5, 10)
LOGGED: list[Any] = []
STUCK = PoolState(POOL, NOW, formation=5, count=Count(NOW, 70, 5, 0))


@pytest.mark.parametrize(
    "other",
    [
        {"count": None},
        {"count": Count(NOW, 0, 75, 0)},  # all of them run
        {"count": Count(NOW, 45, 5, 0)},  # five workers are enough
        {"formation": 4},  # a worker can still be hired, or a pause or the platform forbids it
        {"formation": None},
    ],
)
def test_a_pool_is_stuck_if_tasks_wait_and_need_more_than_its_maximum(other: Any) -> None:
    assert stuck_since(STUCK) == NOW
    assert stuck_since(replace(STUCK, **other)) is None
    assert stuck_since(replace(STUCK, stuck_since=NOW - 60, **other)) is None


def test_it_stays_stuck_since_it_was_first_found_so() -> None:
    assert stuck_since(replace(STUCK, stuck_since=NOW - 60)) == NOW - 60


def test_a_request_by_hand_does_not_hide_it() -> None:
    wish = ManualRequest(until=NOW + 60, who="ann", most=5)
    assert stuck_since(replace(STUCK, wish=wish)) == NOW


def test_one_off_workers_count() -> None:
    assert stuck_since(replace(STUCK, formation=2, one_offs=3)) == NOW


def test_it_is_told_after_five_minutes() -> None:
    assert told_of(STUCK) is None
    assert told_of(replace(STUCK, stuck_since=NOW - STUCK_AFTER + 1)) is None
    told = told_of(replace(STUCK, stuck_since=NOW - STUCK_AFTER))
    assert told is not None
    assert (told.since, told.pool) == (NOW - STUCK_AFTER, "worker")
    assert told.what == (
        "75 tasks at 10 per worker need 8, and max_workers is 5: 70 tasks waited at the last count"
    )


def test_the_ledger_keeps_it() -> None:
    state: dict[str, str] = {}
    changes = Changes()
    stuck = PoolWriter(STUCK, changes).stuck(STUCK)
    assert stuck.stuck_since == NOW
    state |= changes.set
    assert read_pool(Snapshot(NOW, state, {}, (), {}), POOL).stuck_since == NOW
    changes = Changes()
    assert PoolWriter(stuck, changes).stuck(stuck) is stuck
    assert changes == Changes()
    PoolWriter(stuck, changes).stuck(replace(stuck, formation=4))
    assert [*changes.unset] == ["worker/stuck_since"]


def test_what_the_ledger_kept_while_another_release_evaluated_is_out_of_date() -> None:
    was = replace(STUCK, stuck_since=NOW - 600)
    changes = Changes()
    assert PoolWriter(was, changes).stuck(was, anew=True).stuck_since == NOW
    assert changes.set == {"worker/stuck_since": "1000000"}
    changes = Changes()
    was = replace(was, formation=4)
    assert PoolWriter(was, changes).stuck(was, anew=True).stuck_since is None
    assert [*changes.unset] == ["worker/stuck_since"]


@pytest.mark.parametrize("by_us", [True, False])
def test_after_a_release_that_does_not_look_for_it_a_pool_is_stuck_anew(by_us: bool) -> None:
    world = World(minimum=4, numbered=True)
    world.ready = 100
    evaluated_at = {"evaluated_at": "900000"} | ({"billed_at": "900000"} if by_us else {})
    world.store.state |= {f"{POOL_NAME}/stuck_since": "500000", **evaluated_at}
    world.evaluate()
    assert (world.store.state[f"{POOL_NAME}/stuck_since"] == "500000") is by_us


def evaluated(state: dict[str, str], now: float, since: float | None) -> list[dict[str, Any]]:
    """The new entries of the history after an evaluation that finds the pool so."""
    changes = Changes()
    pool = replace(STUCK, now=now, stuck_since=since)
    Troubles(Snapshot(now, state, {}, (), {}), changes, lambda *told: LOGGED.append(told)).write(
        [pool]
    )
    for name in changes.unset:
        state.pop(name, None)
    state |= changes.set
    return [json.loads(entry) for entry in changes.history]


def test_the_history_says_once_that_it_began_and_once_that_it_is_over() -> None:
    state: dict[str, str] = {}
    LOGGED.clear()
    assert evaluated(state, 1299.0, 1000.0) == []
    [begun] = evaluated(state, 1300.0, 1000.0)
    # Another process evaluates, and finds it as it was.
    assert evaluated(state, 1400.0, 1000.0) == []
    [over] = evaluated(state, 1600.0, None)
    assert evaluated(state, 1601.0, None) == []
    assert [e["action"] for e in (begun, over)] == ["stuck at max", "stuck at max over"]
    assert log_line(over) == (
        "1970-01-01 00:26:40Z  worker  stuck at max over  after 10 min  75 tasks at 10 per worker "
        "need 8, and max_workers is 5: 70 tasks waited at the last count"
    )
    # It is logged when it begins.
    assert len(LOGGED) == 1
    # It is no trouble: `mm status` and the release before do not see one.
    assert {*state} <= {"told_stuck"}
