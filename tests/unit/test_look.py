"""A look at the broker, carried on by what is reported after it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from celery_middle_management.brokers.base import Broker
from celery_middle_management.evaluation.ports import Queues
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.views.look import Look, carried_on, look_at
from celery_middle_management.views.status import status_of
from tests.unit.snapshots import NOW, PDF, WORKER, Holds, presence, settings, snapshot

GIVEN = settings(WORKER)
QUEUES = Queues(("celery",))


def looked(broker: Broker, ledger: Snapshot) -> Look:
    return look_at(broker, GIVEN, ledger, QUEUES)


def later(ledger: Snapshot, *presences: Any, seconds: float = 5.0, **state: object) -> Snapshot:
    """The same ledger after some seconds, with other fields of the pool."""
    fields = {f"worker/{name}": str(value) for name, value in state.items()}
    workers = tuple(replace(p, seen=NOW + seconds) for p in presences)
    return replace(ledger, now=NOW + seconds, state={**ledger.state, **fields}, presences=workers)


def tasks(look: Look, ledger: Snapshot) -> tuple[int, ...]:
    """What is waiting, running and in the broker by an earlier look."""
    carried = carried_on(look, GIVEN, ledger, QUEUES)
    [pool] = status_of(GIVEN, ledger, QUEUES.declared, look=carried)["pools"]
    return tuple(pool["tasks"][name] for name in ("waiting", "running", "in_broker"))


def test_at_once_it_tells_what_it_saw() -> None:
    ledger = snapshot(presence("worker.1", waiting=1, running=2), published=12)
    assert tasks(looked(Holds(celery=9), ledger), ledger) == (10, 2, 9)


def test_reports_since_then_count() -> None:
    ledger = snapshot(presence("worker.1", running=2), published=11)
    look = looked(Holds(celery=9), ledger)
    now = later(ledger, presence("worker.1", running=1), published=14, finished=6)
    # 11 + 3 - 6, of which one runs.
    assert tasks(look, now) == (7, 1, 7)


def test_what_it_saw_before_it_was_reported_counts_once() -> None:
    ledger = snapshot(published=4)
    look = looked(Holds(celery=9), ledger)
    assert tasks(look, later(ledger, published=7)) == (9, 0, 9)
    assert tasks(look, later(ledger, published=9)) == (9, 0, 9)
    assert tasks(look, later(ledger, published=12)) == (12, 0, 12)


def test_what_falls_due_counts() -> None:
    ledger = snapshot(published=3, due={int(NOW) - 10: 2, int(NOW) + 5: 4})
    # No worker consumes, so those of later lie in the queue, too.
    look = looked(Holds(celery=9), ledger)
    assert tasks(look, later(ledger, seconds=4.0)) == (5, 0, 5)
    assert tasks(look, later(ledger, seconds=6.0)) == (9, 0, 9)
    # An evaluation takes them out of their buckets.
    evaluated = replace(later(ledger, seconds=6.0, published=9), due={"worker": {}})
    assert tasks(look, evaluated) == (9, 0, 9)


@pytest.mark.parametrize(("age", "waiting"), [(-1.0, 9), (1.0, 30)])
def test_a_newer_count_of_an_evaluation_is_better(age: float, waiting: int) -> None:
    ledger = snapshot(published=9)
    look = looked(Holds(celery=9), ledger)
    count = json.dumps({"at": NOW + age, "waiting": 30, "running": 0, "scheduled": 0, "drift": 0})
    assert tasks(look, later(ledger, count=count, base_published=9)) == (waiting, 0, waiting)


def test_after_a_loss_of_data_the_ledger_begins_anew() -> None:
    ledger = snapshot(published=500, finished=400)
    look = looked(Holds(celery=100), ledger)
    assert tasks(look, later(ledger, published=3, finished=0)) == (3, 0, 3)


def test_what_could_not_be_seen_stays_unknown() -> None:
    given = settings(WORKER, PDF)
    ledger, queues = snapshot(published=3), Queues(("celery", "pdf"))
    look = look_at(Holds("pdf", celery=3), given, ledger, queues)
    carried = carried_on(look, given, ledger, queues)
    assert carried.pools.keys() == {"worker"}
    assert carried.failed == look.failed
    assert carried.ready == look.ready
