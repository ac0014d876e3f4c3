"""What the panel in Django's admin says of a status document."""

from __future__ import annotations

import pytest

pytest.importorskip("django")

from celery_middle_management.web.django.panel import panel_of
from tests.unit.snapshots import NOW, PDF, WORKER, Holds, looked, presence, snapshot

HIRE = {
    "at": "2027-01-15T07:59:48+00:00",
    "action": "hire",
    "from": 3,
    "to": 4,
    "reason": "39 tasks at 10 per worker need 4",
}


def test_a_pool_at_work() -> None:
    cordon = {"above": 3, "names": [], "at": NOW - 300, "since": {"worker.4": NOW - 300}}
    ledger = snapshot(
        *(presence(f"worker.{n}", running=1) for n in (1, 2, 3, 4)),
        due={int(NOW) + 500: 7},
        count={"at": NOW - 1, "waiting": 35, "running": 4, "scheduled": 7, "drift": 0},
        quantity=4,
        cordon=cordon,
        last_action=HIRE,
    )
    [pool] = panel_of(looked(Holds(celery=42), ledger, WORKER))["pools"]
    assert pool == {
        "name": "worker",
        "workers": 4,
        "needed": 4,
        "limits": "0 to 10",
        "draining": 1,
        "waiting": 35,
        "running": 4,
        "scheduled": 7,
        "last": "hire 3 → 4, 12 s ago: 39 tasks at 10 per worker need 4",
    }


def test_a_pool_of_which_nothing_is_known() -> None:
    *_, pool = panel_of(looked(Holds(), snapshot(), WORKER, PDF))["pools"]
    assert (pool["name"], pool["workers"], pool["last"]) == ("pdf", "?", None)


def test_what_is_wrong_comes_with_its_pool_and_since_when() -> None:
    ledger = snapshot(presence("worker.1", seen=NOW - 180, running=1), quantity=1)
    [trouble] = panel_of(looked(Holds(), ledger, WORKER))["troubles"]
    assert trouble.startswith("worker: worker.1 has stopped reporting.")
    assert trouble.endswith("(for 3 min)")


def test_the_panel_says_when_nothing_is_done() -> None:
    pause = '{"hires": true, "fires": false, "since": 1, "until": null, "who": "jo"}'
    document = looked(Holds(), snapshot(app_pause=pause), WORKER)
    document |= {"dry_run": True, "inactive": "it is a laptop"}
    assert panel_of(document)["notes"] == [
        "Dry run: decisions are recorded but not carried out.",
        "Paused: no hires, by jo.",
        "Inactive: this process neither hires nor fires, because it is a laptop.",
    ]
