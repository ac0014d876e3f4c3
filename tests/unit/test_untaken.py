"""Tasks in queues that no worker consumes are trouble, unless that may change by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence
from celery_middle_management.views.troubles import may_pass
from tests.unit.snapshots import NOW, PDF, WORKER, Holds, looked, presence, shown, snapshot

TAKES_CELERY = presence("worker.1")
TAKES_MAIL = presence("worker.2", queue="mail")
LEAVE = {"above": None, "names": ["worker.1"], "at": NOW, "since": {"worker.1": NOW}}
MEMBERS = {"a": {"at": NOW - 90, "name": "worker.1", "release": 3, "since": NOW, "seen": NOW}}
NAMED = Pool("worker", ("celery",), 0, 10, 10)


def wrong(*presences: Presence, mail: int = 3, **state: Any) -> list[dict[str, Any]]:
    """The troubles of a pool that serves `celery` and `mail`; nothing else is wrong."""
    ledger = snapshot(*presences, quantity=1, app_next_at=(NOW + 5) * 1000, **state)
    document = looked(Holds(mail=mail), ledger, WORKER)
    return list(document["trouble"])


def test_the_workers_of_a_pool_do_not_consume_one_of_its_queues() -> None:
    [trouble] = wrong(TAKES_CELERY)
    assert (trouble["pool"], trouble["kind"]) == ("worker", "unconsumed")
    assert trouble["what"] == (
        "3 tasks wait in 'mail', which no worker consumes. Move the queue to another pool in "
        "middle_management_pools, or add it to the command of the workers: `-Q celery,mail,pdf`"
    )


def test_the_only_worker_consumes_no_queue_any_more() -> None:
    [trouble] = wrong(replace(TAKES_CELERY, queues=(), release="0.1.0"))
    assert trouble["kind"] == "unconsumed"
    assert trouble["what"].startswith("3 tasks wait in 'mail', which no worker consumes.")


@pytest.mark.parametrize(
    ("presences", "state"),
    [
        ((), {}),
        ((replace(TAKES_CELERY, queues=()),), {}),
        ((replace(TAKES_CELERY, closing=True),), {}),
        ((replace(TAKES_CELERY, stopped=NOW),), {}),
        ((replace(TAKES_CELERY, seen=NOW - 30),), {}),
        ((TAKES_CELERY,), {"cordon": {"above": 0, "names": [], "at": NOW, "since": {}}}),
        ((replace(TAKES_CELERY, hire="a"),), {"leave": LEAVE}),
        ((replace(TAKES_CELERY, hire="a"),), {"roster": {"members": MEMBERS, "newest": 4}}),
        ((TAKES_CELERY, TAKES_MAIL), {}),
        ((TAKES_CELERY, replace(TAKES_MAIL, pool=None)), {}),
    ],
)
def test_no_false_alarm_while_workers_come_and_go(
    presences: tuple[Presence, ...], state: dict[str, Any]
) -> None:
    assert "unconsumed" not in [trouble["kind"] for trouble in wrong(*presences, **state)]


def test_an_empty_queue_that_no_worker_consumes_is_no_trouble() -> None:
    assert wrong(TAKES_CELERY, mail=0) == []


def test_a_queue_that_no_pool_serves() -> None:
    ledger = snapshot(presence("worker.1"), quantity=1, app_next_at=(NOW + 5) * 1000)
    document = looked(Holds(mail=2), ledger, NAMED, PDF)
    [trouble] = [each for each in document["trouble"] if each["kind"] == "unserved"]
    assert (trouble["pool"], trouble["since"]) == (None, None)
    assert trouble["what"].startswith("2 tasks wait in 'mail', which no pool serves: no worker is")
    assert "middle_management_pools" in trouble["what"]
    # It may be another app's, whose workers are about to take them.
    assert may_pass(document)
    assert "WRONG  2 tasks wait in 'mail'" in shown(document)
    assert looked(Holds(), ledger, NAMED)["trouble"] == []
    taken = replace(ledger, presences=(TAKES_CELERY, TAKES_MAIL))
    assert looked(Holds(mail=2), taken, NAMED)["trouble"] == []


def test_many_queues_are_named_with_how_many_tasks_wait_in_each() -> None:
    queues = {f"user-{n}": NOW for n in range(7)}
    ledger = replace(snapshot(app_next_at=(NOW + 5) * 1000), queues=queues)
    [trouble] = looked(Holds(**dict.fromkeys(queues, 1)), ledger, NAMED, PDF)["trouble"]
    assert trouble["what"].startswith("7 tasks wait in 'user-0' (1), 'user-1' (1), ")
    assert "'user-4' (1) and 2 more queues, which no pool serves" in trouble["what"]


def test_tasks_that_wait_in_a_pause_are_a_trouble_of_that_kind() -> None:
    pause = json.dumps({"hires": True, "fires": True, "since": NOW - 60, "who": "me"})
    ledger = snapshot(quantity=0, app_pause=pause, app_next_at=(NOW + 5) * 1000)
    [trouble] = looked(Holds(mail=1), ledger)["trouble"]
    assert (trouble["kind"], trouble["since"]) == ("not-hired", None)
    assert "`celery -A proj mm resume`" in trouble["what"]
