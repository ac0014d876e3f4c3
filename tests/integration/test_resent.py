"""A client that got no answer sends its script again, though Redis has run it: it is done once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celery_middle_management.ledger.model import Changes, LeaseLost
from celery_middle_management.ledger.redis import RedisLedger
from tests.integration.office import Office, office

FIELD = "worker/2026-11-29/basic"
Resent = Callable[[str], None]


@pytest.fixture
def it(redis_url: str) -> Iterator[Office]:
    with office(redis_url) as found:
        yield found


@pytest.fixture
def resent(monkeypatch: pytest.MonkeyPatch) -> Resent:
    """Has every script of a name run twice, as if the first answer had been lost."""

    def twice(name: str) -> None:
        run = RedisLedger._run

        def run_twice(self: RedisLedger, script: str, *arguments: str | int) -> Any:
            if script == name:
                run(self, script, *arguments)
            return run(self, script, *arguments)

        monkeypatch.setattr(RedisLedger, "_run", run_twice)

    return twice


def change(n: int) -> Changes:
    return Changes(
        bill={FIELD: 1000}, add={"worker/hired": 1}, history=[json.dumps({"at": f"{n}"})]
    )


def test_a_commit_is_written_once(it: Office, resent: Resent) -> None:
    lease = it.lease()
    resent("commit")
    lease = it.ledger.commit(lease, change(1))
    it.ledger.commit(lease, change(2), next_in=60.0)
    snapshot, bill = it.ledger.billed()
    assert bill == {FIELD: "2000"}
    assert snapshot.state["worker/hired"] == "2"
    assert [json.loads(entry)["at"] for entry in it.ledger.actions()] == ["2", "1"]


def test_a_commit_that_arrives_after_the_next_one_is_not_written_again(it: Office) -> None:
    lease = it.lease()
    sent: list[Any] = []
    commit = it.ledger._commit

    def noted(token: str, message: Any) -> bool:
        sent.append((token, message))
        return commit(token, message)

    it.ledger._commit = noted  # type: ignore[method-assign]
    lease = it.ledger.commit(lease, change(1))
    it.ledger.commit(lease, change(2))
    assert commit(*sent[0])
    assert it.ledger.billed()[1] == {FIELD: "2000"}


def test_another_process_whose_lock_ran_out_still_fails(it: Office) -> None:
    lease = it.lease()
    it.ledger.commit(lease, change(1), next_in=0.0)
    with pytest.raises(LeaseLost):
        it.ledger.commit(lease, change(2))
    assert it.ledger.billed()[1] == {FIELD: "1000"}


def test_a_claim_gets_the_same_entries_until_it_is_answered(it: Office, resent: Resent) -> None:
    for n in range(5):
        it.ledger.commit(it.lease(), change(n), next_in=0.0)
    resent("claim")

    def claimed(id: str) -> list[str]:
        return [json.loads(entry)["at"] for entry in it.ledger.claim(id, 2)]

    assert claimed("a") == ["0", "1"]
    assert claimed("a") == ["0", "1"]
    assert claimed("b") == ["2", "3"]
    assert claimed("c") == ["4"]
    assert claimed("d") == []
