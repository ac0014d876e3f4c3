"""The kind of dynos of a pool, when processes disagree."""

from __future__ import annotations

import json
from dataclasses import replace

from celery_middle_management.core.pools import Pool
from celery_middle_management.evaluation.agreement import agreed, newest_maximum
from celery_middle_management.ledger.model import Changes, Snapshot

NOW = 10_000.0
FORMATION = Pool("worker", None, 0, 9, 1)
ONE_OFF = Pool("worker", None, 0, 9, 1, one_off=True)


class Told:
    """The ledger, and processes that were started at some times."""

    def __init__(self) -> None:
        self.state: dict[str, str] = {}

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(NOW, self.state, {}, (), {})

    def evaluates(self, pool: Pool, started_at: float) -> bool:
        """Return whether a process with this setting evaluates one-off workers."""
        changes = Changes()
        heeded = agreed(pool, started_at, self.snapshot, changes)
        self.state |= changes.set
        return heeded.one_off


def test_the_process_started_last_decides() -> None:
    told = Told()
    assert not told.evaluates(FORMATION, NOW - 100)
    assert told.evaluates(ONE_OFF, NOW - 50)
    assert told.evaluates(FORMATION, NOW - 100)
    assert not told.evaluates(FORMATION, NOW - 10)
    assert not told.evaluates(ONE_OFF, NOW - 50)


def test_nothing_is_written_where_all_agree_on_the_formation() -> None:
    told = Told()
    assert not told.evaluates(FORMATION, NOW)
    assert told.state == {}


def test_processes_of_one_deploy_write_once() -> None:
    told = Told()
    assert told.evaluates(ONE_OFF, NOW - 50)
    written = dict(told.state)
    assert told.evaluates(ONE_OFF, NOW - 49.5)
    assert told.state == written
    assert json.loads(written["worker/dynos"])["one_off"] is True


def test_the_maximum_of_the_process_started_last_is_known() -> None:
    told = Told()
    told.evaluates(ONE_OFF, NOW - 100)
    told.evaluates(replace(ONE_OFF, max_workers=2), NOW - 50)
    told.evaluates(ONE_OFF, NOW - 100)
    assert newest_maximum(ONE_OFF, told.snapshot) == 2
    assert newest_maximum(FORMATION, Told().snapshot) == FORMATION.max_workers
