"""Tasks that start later than their pool's ``max_wait`` are counted, up to the pool's state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from time import time

import pytest

from celery_middle_management.core.batch import FINISHED, STARTED, Batch, Record, Started
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.pools import Pool
from celery_middle_management.ledger.clocks import SYSTEM
from celery_middle_management.ledger.memory import MemoryLedger
from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.ledger.pool_reading import read_pool
from tests.unit.snapshots import settings

QUICK = Pool("quick", ("quick",), 0, 5, 10, max_wait=30.0)
SLOW = Pool("slow", None, 0, 5, 10)
GIVEN = settings(QUICK, SLOW)


def batch_of(queue: str, waits: Iterable[float], batch: Batch | None = None) -> Batch:
    """A worker's batch after tasks of a queue have started, each after a wait (s)."""
    batch = Batch(GIVEN.pool_name, GIVEN.max_waits) if batch is None else batch
    for wait in waits:
        now = SYSTEM.now()
        batch.add(Record(STARTED, queue, now.monotonic, now.unix + batch.ahead - wait), now)
    return batch


def test_those_that_waited_for_longer_are_late() -> None:
    started = batch_of("quick", [0.0, 29.0, 31.0, 500.0]).started["quick"]
    assert (started.tasks, started.late) == (4, 2)
    assert started.waits == pytest.approx(560.0, abs=0.1)


def test_without_a_longest_wait_none_is_late() -> None:
    assert batch_of("any", [500.0]).started["slow"].late == 0


def test_one_of_which_it_is_unknown_when_it_could_start_is_not() -> None:
    batch = Batch(GIVEN.pool_name, GIVEN.max_waits)
    batch.add(Record(STARTED, "quick", 0.0, 0.0), SYSTEM.now())
    assert batch.started["quick"] == Started(1, 0.0, 0)


def test_the_ledgers_time_decides() -> None:
    for ahead in (-900.0, 900.0):
        batch = batch_of("quick", [29.0, 31.0], Batch(str, {"quick": 30.0}, ahead=ahead))
        assert batch.started["quick"].late == 1


def test_those_that_could_not_be_reported_are_kept() -> None:
    batch = batch_of("quick", [31.0, 0.0])
    part = batch.take(9)
    batch_of("quick", [32.0, 33.0], batch)
    batch.give_back(part)
    assert (batch.started["quick"].tasks, batch.started["quick"].late) == (4, 3)


def test_the_ledger_adds_them_up_and_knows_no_counter_where_there_is_none() -> None:
    store = Store(time)
    ledger = MemoryLedger(GIVEN, store)
    ledger.report(batch_of("quick", [31.0, 0.0]))
    ledger.report(batch_of("any", [500.0], batch_of("quick", [0.0])))
    assert store.state["quick/late"] == "1"
    assert "slow/late" not in store.state
    finished = Batch(GIVEN.pool_name)
    for runtime in (1.5, 2.0):
        finished.add(Record(FINISHED, "quick", 0.0, runtime), SYSTEM.now())
    ledger.report(finished)
    quick, slow = (read_pool(ledger.snapshot(), pool) for pool in (QUICK, SLOW))
    assert (quick.started, quick.late, quick.finished, quick.runtime) == (3, 1, 2, 3.5)
    assert (slow.started, slow.late, slow.finished, slow.runtime) == (1, 0, 0, 0.0)


def test_a_task_is_expected_to_run_for_as_long_as_a_boot_until_there_is_a_measure() -> None:
    state = PoolState(Pool("worker", None, 0, 50, None), 0.0)
    assert state.advised(21).workers == 21
    assert replace(state, pace=replace(state.pace, slots=4)).advised(21).workers == 6
