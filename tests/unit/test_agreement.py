"""The kind of dynos of a pool, when processes disagree."""

from __future__ import annotations

import json

from celery_middle_management.core.pools import Pool
from celery_middle_management.evaluation.agreement import agreed
from celery_middle_management.ledger.model import Changes, Snapshot

NOW = 10_000.0
FORMATION = Pool("worker", None, 0, 9, 1)
ONE_OFF = Pool("worker", None, 0, 9, 1, one_off=True)


class Told:
    """The ledger, and processes that were started at some times."""

    def __init__(self) -> None:
        self.state: dict[str, str] = {}

    def evaluates(self, pool: Pool, started_at: float) -> bool:
        """Return whether a process with this setting evaluates one-off workers."""
        changes = Changes()
        heeded = agreed(pool, started_at, Snapshot(NOW, self.state, {}, (), {}), changes)
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
