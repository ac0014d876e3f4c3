"""docs/status.md names every field of the document of `mm status`, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from celery_middle_management.core.deafness import Suspicion
from celery_middle_management.core.policies.schedule import Entry, Schedule
from celery_middle_management.core.presence import Run
from celery_middle_management.ledger.codec import pack_suspicions
from celery_middle_management.views.money import money_of
from tests.unit.snapshots import NOW, PAGE, WORKER, Holds, looked, presence, settings, snapshot

#: Objects that may be None.
OPTIONAL = {"pause", "longest", "wish", "by_hand", "refused", "last_action"}


def everything(max_wait: float | None = None) -> dict[str, Any]:
    """A document in which no field is None or empty."""
    who = "ada@laptop"
    change = {"at": "2027-01-15T07:59:48+00:00", "from": 0, "to": 3}
    worker = replace(
        presence("worker.1", running=1), runs=(Run("app.encode", NOW - 9),), wrong={"x": NOW - 9}
    )
    members = {"a": {"at": NOW - 90, "name": "worker.7", "release": 3, "since": NOW, "seen": NOW}}
    ledger = snapshot(
        worker,
        presence("worker.2", seen=NOW - 70),
        quantity=4,
        published=40,
        count={"at": NOW - 12, "waiting": 34, "running": 0, "scheduled": 0},
        cordon={"above": 0, "names": [], "at": 1.0, "since": {"worker.1": NOW - 30}},
        missed={"at": NOW - 5, "since": {"worker.3": NOW - 65}},
        roster={"members": members, "newest": 4, "listed_at": NOW - 5},
        wish={"least": 1, "most": 3, "until": NOW + 60, "who": who},
        by_hand={"action": "by hand", **change},
        refusal={"why": "full", "at": NOW - 5, "until": NOW + 55, "limit": 1},
        last_action={"action": "hire", **change, "reason": "so", "dry_run": True},
        app_deaf=pack_suspicions({"worker.1": Suspicion(NOW - 121, NOW)}),
        app_pause=json.dumps({"since": NOW - 9, "until": NOW + 60, "who": who}),
        app_called_at=NOW * 1000,
        app_billed_since=f"{(NOW - 7200) * 1000:.0f}",
        app_prices=json.dumps({"": 2500}),
        app_prices_at=NOW * 1000,
        app_next_at=(NOW + 5) * 1000,
        app_evaluated_at=(NOW - 3) * 1000,
    )
    bill = {f"worker/{ledger.iso(NOW)[:10]}/": 3_600_000}
    money = money_of(settings(), ledger, bill)
    schedule = Schedule((Entry("0 8 * * *", 0, 10),), "UTC")
    pool = replace(WORKER, schedule=schedule, max_wait=max_wait)
    return looked(Holds(celery=20), ledger, pool) | {"money": money}


def fields(document: Any, path: str = "") -> Iterator[str]:
    """The path of every field, but for objects that only hold others and are always there."""
    if isinstance(document, dict):
        for name, value in document.items():
            here = f"{path}.{name}".lstrip(".")
            holds = isinstance(value, dict)
            if not holds or name in (
                "pause",
                "longest",
                "schedule",
                "wish",
                "by_hand",
                "refused",
                "last_action",
            ):
                yield here
            yield from fields(value, here)
    elif isinstance(document, list):
        for value in document:
            yield from fields(value, f"{path}[]")


def test_it_names_every_field_and_no_other() -> None:
    text = PAGE.read_text().split("## The document")[1].split("## What may be wrong")[0]
    named = re.findall(r"^\| `([^`]+)` \|", text, re.M)
    assert len(named) == len(set(named))
    assert set(named) == {*fields(everything()), *fields(everything(max_wait=30.0))}
