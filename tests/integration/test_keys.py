"""The ledger's keys, as other programs see them that read the same Redis database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from celery_middle_management.core.bill import KEPT_DAYS
from celery_middle_management.ledger.model import BILL_EXPIRY, HISTORY, Changes
from tests.integration.office import Office, office

PREFIX = "{middle-management:local}"


@pytest.fixture
def it(redis_url: str) -> Iterator[Office]:
    with office(redis_url) as made:
        yield made


def act(it: Office, *actions: str) -> None:
    """Write into the history as an evaluation does."""
    entries = [json.dumps({"pool": "worker", "at": at}) for at in actions]
    it.ledger.commit(it.lease(), Changes(history=entries), next_in=0.0)


def test_no_key_of_ours_is_taken_for_a_queue(it: Office) -> None:
    """Judoscale takes every list for a Celery queue."""
    it.publish(queue="celery")
    it.publish(queue="other", due_in=60.0)
    it.report()
    act(it, "2026-11-28T10:00:00")
    it.ledger.intend({}, {"pause": None}, {"id": "1"})
    keys: Any = it.redis.keys("{middle-management:*")
    kinds = {key.rpartition(":")[2]: it.redis.type(key) for key in keys}
    assert kinds.keys() >= {"state", "due", "queues", "actions", "samples"}
    assert "list" not in kinds.values()


def test_no_latest_action_is_lost(it: Office) -> None:
    act(it, *(f"2026-11-28T10:{n // 60:02}:{n % 60:02}" for n in range(HISTORY + 30)))
    told = [json.loads(entry)["at"] for entry in it.ledger.actions()]
    assert told == sorted(told, reverse=True)
    assert len(told) == HISTORY
    assert told[0] == "2026-11-28T10:17:09"


def test_the_bill_expires_and_forgets_old_days(it: Office) -> None:
    days = [*(f"worker/2026-10-{n:02}/basic" for n in range(1, 32)), "pdf/2026-10-01/basic"]
    new = "worker/2026-11-29/basic"
    it.ledger.commit(it.lease(), Changes(bill=dict.fromkeys(days, 5) | {new: 7}), next_in=0.0)
    it.ledger.commit(it.lease(), Changes(bill={new: 1}, bill_days=[31]), next_in=0.0)
    assert it.ledger.billed()[1] == {**dict.fromkeys(days[1:-1], "5"), new: "8"}
    left: Any = it.redis.ttl(f"{PREFIX}:bill")
    assert BILL_EXPIRY - 60 < left <= BILL_EXPIRY


@pytest.mark.parametrize("wrong", ["1970-01-01", "2106-02-07"])
def test_a_wrong_date_of_redis_does_not_erase_the_bill(it: Office, wrong: str) -> None:
    days = {f"worker/2026-11-{n:02}/basic": n for n in range(1, 30)}
    it.ledger.commit(it.lease(), Changes(bill=days), next_in=0.0)
    strange = Changes(bill={f"worker/{wrong}/basic": 1}, bill_days=[KEPT_DAYS])
    it.ledger.commit(it.lease(), strange, next_in=0.0)
    it.ledger.commit(it.lease(), Changes(bill_days=[KEPT_DAYS]), next_in=0.0)
    assert it.ledger.billed()[1].items() >= {day: str(n) for day, n in days.items()}.items()
