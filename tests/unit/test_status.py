"""The document of `mm status` for a ledger, and its screen."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from celery_middle_management.cli.status_screen import ASLEEP
from celery_middle_management.core.deafness import Suspicion
from celery_middle_management.core.history import Sample, Totals
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.codec import pack_suspicions
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.views.measured import measured_line
from celery_middle_management.views.status import asleep, status_of
from celery_middle_management.views.words import ago, span
from tests.unit.snapshots import (
    NOW,
    PDF,
    WORKER,
    Holds,
    looked,
    presence,
    settings,
    shown,
    snapshot,
)


def only_pool(snapshot: Snapshot) -> dict[str, Any]:
    (pool,) = status_of(settings(), snapshot, ["celery"])["pools"]
    return dict(pool)


def untouched(name: str, queues: list[str], least: int, most: int, jobs: int) -> dict[str, Any]:
    """A pool of which the ledger knows nothing."""
    return {
        "name": name,
        "platform": "local",
        "dynos": "formation",
        "queues": queues,
        "queues_left_out": False,
        "workers": {
            **{"current": None, "needed": least, "min": least, "max": most, "longest": None},
            "schedule": None,
            **{name: [] for name in ("draining", "live", "drains", "old")},
            **{name: [] for name in ("unheard", "silent", "wrong", "deaf")},
        },
        "tasks": {
            **dict.fromkeys(("outstanding", "waiting", "running", "reserved", "reckoned"), 0),
            **{"in_broker": None, "scheduled": 0, "counted_at": None},
        },
        "policy": {
            "name": "jobs_per_worker",
            "jobs_per_worker": jobs,
            "why": f"0 tasks at {jobs} per worker need 0, limits {least} to {most}",
            "boot": 10.0,
            "measured": {"runtime": None, "slots": 1, "arrivals": 0.0, "jobs_per_worker": jobs},
        },
        "last_hour": {
            **{name: [0] * 60 for name in ("arrivals", "finishes", "workers")},
            **{"mean_wait": None, "mean_runtime": None},
        },
        "drift": 0,
        "totals": {
            **dict.fromkeys(("published", "started", "finished", "hired", "fired"), 0),
            **{"waits": 0.0, "runtime": 0.0},
        },
        **dict.fromkeys(("wish", "by_hand", "refused", "last_action", "next_call_at")),
    }


def test_nothing_is_known_yet() -> None:
    assert status_of(settings(WORKER, PDF), Snapshot(NOW, {}, {}, (), {}), ["celery", "pdf"]) == {
        "at": "2027-01-15T08:00:00.000+00:00",
        "paused": False,
        "pause": None,
        "dry_run": False,
        "inactive": None,
        "trouble": [],
        "evaluated_at": None,
        "next_evaluation_at": None,
        "queues": [],
        "pools": [
            untouched("worker", ["celery"], 0, 10, 10),
            untouched("pdf", ["pdf", "urgent"], 1, 3, 1),
        ],
    }


def test_queues_are_all_that_are_declared_published_to_or_consumed() -> None:
    assert only_pool(snapshot(presence("worker.1", queue="other")))["queues"] == [
        "celery",
        "mail",
        "other",
    ]


def test_tasks_are_the_count_and_what_was_reported_since() -> None:
    count = {"at": NOW - 12, "waiting": 9, "running": 3, "scheduled": 4, "drift": -2}
    pool = only_pool(
        snapshot(
            presence("worker.1", running=3, waiting=1),
            due={int(NOW) - 10: 2, int(NOW) + 50: 4},
            count=count,
            published=25,
            base_published=20,
            finished=11,
            base_finished=10,
            quantity=3,
        )
    )
    assert pool["tasks"] == {
        "outstanding": 18,
        "waiting": 15,
        "running": 3,
        # Only its holder can begin it.
        "reserved": 1,
        "in_broker": None,
        "reckoned": 18,
        "scheduled": 4,
        "counted_at": "2027-01-15T07:59:48.000+00:00",
    }
    assert pool["drift"] == -2
    assert pool["workers"]["current"] == 3
    assert pool["workers"]["needed"] == 2


def test_totals_are_the_ledgers_counters() -> None:
    counters = {"published": 9, "started": 8, "finished": 7, "hired": 3, "fired": 2}
    totals = only_pool(snapshot(**counters, waits="1.25", runtime="70.0004"))["totals"]
    assert totals == {**counters, "waits": 1.25, "runtime": 70.0}


@pytest.mark.parametrize(
    ("changed", "name", "value"),
    [
        ({}, "jobs_per_worker", 10),
        ({"jobs_per_worker": None}, "jobs_per_worker", "auto"),
        ({"max_wait": 30.0}, "max_wait", 30.0),
        ({"jobs_per_worker": None, "max_wait": 2.5}, "max_wait", 2.5),
    ],
)
def test_the_policy_is_that_of_the_settings(
    changed: dict[str, Any], name: str, value: object
) -> None:
    (pool,) = status_of(settings(replace(WORKER, **changed)), snapshot(), ["celery"])["pools"]
    policy = pool["policy"]
    del policy["measured"]
    assert {**policy, "why": ""} == {"name": name, name: value, "why": "", "boot": 10.0}


def test_what_is_measured_is_told() -> None:
    pace = {"seen": [0.0, 9, 9, 0, 9, 45.0], "finished": 9.0, "runtime": 36.0, "worked": 36.0}
    known = snapshot(pace=json.dumps({**pace, "slots": 4, "long": [60.0, 600.0]}), boot="12.0")
    (pool,) = status_of(settings(replace(WORKER, jobs_per_worker=None)), known, ["celery"])["pools"]
    measured = {"runtime": 3.6, "slots": 4, "arrivals": 0.1, "jobs_per_worker": 10}
    assert pool["policy"]["measured"] == measured
    assert measured_line(pool["policy"]) == "tasks take 3.6 s, 4 at once; a worker is up in 12 s"


def test_queues_are_those_that_were_counted() -> None:
    queues = looked(Holds(celery=3), snapshot(), WORKER, PDF)["queues"]
    assert queues == [
        {"name": "celery", "pool": "worker", "ready": 3},
        {"name": "mail", "pool": "worker", "ready": 0},
        {"name": "pdf", "pool": "pdf", "ready": 0},
        {"name": "urgent", "pool": "pdf", "ready": 0},
    ]
    assert looked(Holds("broker"), snapshot())["queues"] == []


def test_running_tasks_are_certain_even_below_dead_reckoning() -> None:
    tasks = only_pool(snapshot(presence("worker.1", running=2)))["tasks"]
    assert (tasks["outstanding"], tasks["waiting"], tasks["running"]) == (2, 0, 2)


def test_scheduled_tasks_that_only_a_worker_knows_count() -> None:
    holder = Presence("a", "worker.1", "worker", 1, NOW, due={"celery": {int(NOW) + 60: 7}})
    assert only_pool(snapshot(holder))["tasks"]["scheduled"] == 7


def test_one_off_workers_and_the_old_among_them() -> None:
    members = {
        "a": {"at": NOW - 90, "name": "run.11", "release": 3, "since": NOW - 80, "seen": NOW},
        "b": {"at": NOW - 90, "name": "run.12", "release": 4, "since": NOW - 80, "seen": NOW},
        "c": {"at": NOW - 90, "name": "run.13", "release": 4, "listed": True},
    }
    leave = {"above": None, "names": ["run.11"], "at": NOW - 30, "since": {"run.11": NOW - 30}}
    ledger = snapshot(
        *(
            replace(presence(name, running=1), pool="worker", hire="x")
            for name in ("run.11", "run.12")
        ),
        quantity=3,
        formation=0,
        roster={"members": members, "newest": 4, "listed_at": NOW - 5},
        leave=leave,
    )
    document = status_of(settings(replace(WORKER, one_off=True)), ledger, ["celery"])
    [pool] = document["pools"]
    workers = pool["workers"]
    assert (pool["dynos"], workers["current"]) == ("one-off", 3)
    assert workers["live"] == ["run.11", "run.12"]
    assert workers["draining"] == workers["old"] == ["run.11"]
    assert [one["name"] for one in workers["unheard"]] == ["run.13"]
    assert "one-off dynos" in shown(document)
    assert "run.11: older release, or a day old: leaves when done" in shown(document)


def test_live_and_draining_workers_are_in_the_order_of_their_numbers() -> None:
    cordon = {"above": 1, "names": [], "at": NOW - 30, "since": {"worker.2": NOW - 30}}
    pool = only_pool(
        snapshot(
            presence("worker.10", running=1),
            presence("worker.2", running=2, waiting=1),
            presence("worker.1"),
            presence("worker.3", seen=NOW - 20),
            presence("worker.3", seen=NOW - 20),
            quantity=4,
            cordon=cordon,
        )
    )
    workers = pool["workers"]
    assert workers["live"] == ["worker.1", "worker.2", "worker.10"]
    assert workers["draining"] == ["worker.2", "worker.3", "worker.4", "worker.10"]
    assert workers["drains"][0] == {
        "name": "worker.2",
        "since": "2027-01-15T07:59:30.000+00:00",
        "running": 2,
        "waiting": 1,
        "busy": 0,
        "returning": 0,
        "tasks": [],
    }
    nothing = {"running": 0, "waiting": 0, "busy": 0, "returning": 0, "tasks": []}
    assert workers["drains"][2] == {"name": "worker.4", "since": None} | nothing


def test_a_worker_that_is_up_and_does_not_report_is_shown() -> None:
    ledger = snapshot(
        presence("worker.1"),
        quantity="3",
        missed={"at": NOW - 5, "since": {"worker.1": NOW - 90, "worker.3": NOW - 65}},
    )
    document = status_of(settings(), ledger)
    [worker] = document["pools"][0]["workers"]["unheard"]
    assert (worker["name"], worker["for"]) == ("worker.3", 65.0)
    [trouble] = document["trouble"]
    assert (trouble["pool"], trouble["since"]) == ("worker", worker["since"])
    assert "worker: worker.3 is up, and has not reported" in shown(document)
    assert "(for 65 s)" in " ".join(shown(document).split())
    ledger.state["worker/quantity"] = "0"  # type: ignore[index]
    assert not only_pool(ledger)["workers"]["unheard"]


def test_what_the_platform_refuses_is_shown_while_it_is_not_asked_again() -> None:
    refusal = {"why": "no process type", "at": NOW - 59, "until": NOW + 1, "limit": None}
    document = status_of(settings(), snapshot(refusal=refusal))
    assert document["pools"][0]["refused"]["why"] == "no process type"
    assert only_pool(snapshot(refusal=refusal | {"until": NOW}))["refused"] is None


def test_tasks_that_wait_beside_a_fire_without_an_answer_are_trouble() -> None:
    def troubles(**state: object) -> list[str]:
        document = status_of(settings(), snapshot(published=2, fire=fire, **state))
        return [trouble["what"] for trouble in document["trouble"]]

    fire = json.dumps({"to": 0, "until": NOW + 40, "done": False})
    assert troubles(quantity=0) == [
        "2 tasks wait, and no worker is hired for another 40 s: the last fire got no answer, and "
        "may still stop workers until then"
    ]
    fire = json.dumps({"to": 0, "until": NOW + 40, "done": True})
    assert troubles(quantity=0) == []


def test_a_limit_that_is_not_reached_is_no_trouble() -> None:
    refusal = {"why": "no more than 1", "at": NOW - 9, "until": NOW + 51, "limit": 1}
    known = {"refused worker": {"what": "no more than 1", "since": NOW - 9, "pool": "worker"}}
    known["refused worker"]["at"] = NOW - 9
    for published, wrong in ((25, True), (5, False)):
        ledger = snapshot(
            refusal=refusal, published=published, quantity=1, app_trouble=json.dumps(known)
        )
        assert bool(status_of(settings(), ledger)["trouble"]) is wrong


def test_a_worker_that_has_stopped_reporting_is_trouble() -> None:
    document = status_of(settings(), snapshot(presence("worker.1", seen=NOW - 61), quantity=1))
    assert document["pools"][0]["workers"]["silent"] == [
        {"name": "worker.1", "since": "2027-01-15T07:58:59.000+00:00"}
    ]
    assert "worker: worker.1 has stopped reporting" in shown(document)
    again = snapshot(presence("worker.1", seen=NOW - 61), presence("worker.1"), quantity=1)
    assert status_of(settings(), again)["trouble"] == []
    fired = snapshot(presence("worker.1", seen=NOW - 61), quantity=0)
    assert status_of(settings(), fired)["trouble"] == []


def test_a_worker_that_takes_nothing_is_trouble_until_it_takes_something() -> None:
    def suspected_since(since: float) -> dict[str, Any]:
        deaf = pack_suspicions({"worker.1": Suspicion(since, NOW)})
        heard = snapshot(presence("worker.1"), quantity=1, published=1, app_deaf=deaf)
        return status_of(settings(), heard)

    document = suspected_since(NOW - 121)
    assert document["pools"][0]["workers"]["deaf"] == [
        {"name": "worker.1", "since": "2027-01-15T07:57:59.000+00:00"}
    ]
    assert document["pools"][0]["workers"]["needed"] == 2
    assert "worker: worker.1 takes no task" in shown(document)
    assert suspected_since(NOW - 90)["trouble"] == []


def test_names_without_numbers_are_known_only_by_reports() -> None:
    cordon = {"above": 0, "names": [], "at": NOW, "since": {}}
    name = "worker-23z34x56y-w78k9"
    worker = Presence("a", name, "worker", 1, NOW)
    assert only_pool(snapshot(worker, quantity=3, cordon=cordon))["workers"]["draining"] == [name]


@pytest.mark.parametrize(
    ("called", "blocked", "quantity", "expected"),
    [
        (NOW - 4, 0, 2, "2027-01-15T08:00:06.000+00:00"),
        (NOW - 4, NOW + 20, 2, "2027-01-15T08:00:20.000+00:00"),
        (NOW - 11, NOW - 1, 2, None),
        # From zero, workers are hired at once.
        (NOW - 4, 0, 0, None),
        (NOW - 4, NOW + 20, 0, "2027-01-15T08:00:20.000+00:00"),
    ],
)
def test_when_the_pool_may_be_changed_again(
    called: float, blocked: float, quantity: int, expected: str | None
) -> None:
    app = {"app_called_at": called * 1000, "app_blocked_until": blocked * 1000}
    pool = only_pool(snapshot(quantity=quantity, **app))
    assert pool["next_call_at"] == expected


def test_the_screen_shows_everything_at_any_width() -> None:
    action = {"at": "2027-01-15T07:59:48+00:00", "action": "hire", "from": 0, "to": 3}
    document = status_of(
        settings(),
        snapshot(
            replace(presence("worker.3", running=1, waiting=2), returning=7),
            due={int(NOW) + 50: 4},
            count={"at": NOW - 12, "waiting": 12, "running": 0, "scheduled": 4, "drift": 5},
            quantity=3,
            cordon={"above": 2, "names": [], "at": 1.0, "since": {"worker.3": NOW - 300}},
            last_action={**action, "reason": "[red]because"},
            app_called_at=(NOW - 1) * 1000,
            app_next_at=(NOW + 3) * 1000,
        ),
    )
    text = shown(document)
    for part in (
        "3 workers, 2 needed, 1 reporting  (limits 0 to 10, local)",
        "12 tasks at 10 per worker need 2",
        "11 waiting (2 reserved), 1 running; 4 scheduled; counted 12 s ago",
        "hire 0 -> 3, 12 s ago: [red]because",
        "decides within 3 s; may hire and fire in 9 s",
        "worker.3 for 5 min: 1 running, 2 waiting, 7 scheduled to give back",
    ):
        assert part in text
    assert "\x1b" not in text
    assert ASLEEP[:40] not in text  # it lives
    for width in (40, 60, 80):
        assert max(map(len, shown(document, width).splitlines())) <= width


def test_the_screen_says_when_no_process_wakes_the_pool_for_scheduled_tasks() -> None:
    sleeping = status_of(settings(), snapshot(due={int(NOW) + 50: 4}, quantity=0))
    assert asleep(sleeping)
    assert ASLEEP in shown(sleeping, width=500)
    another = presence("pdf.1", queue="pdf")
    watched = snapshot(another, due={int(NOW) + 50: 4}, quantity=0)
    assert not asleep(status_of(settings(WORKER, PDF), watched))
    assert not asleep(status_of(settings(), snapshot()))


def test_trouble_comes_first_with_its_age() -> None:
    known = {"platform": {"what": "the key is refused", "since": NOW - 300, "at": NOW - 4}}
    document = status_of(settings(), snapshot(app_trouble=json.dumps(known)))
    assert document["trouble"] == [
        {
            "pool": None,
            "what": "the key is refused",
            "since": "2027-01-15T07:55:00.000+00:00",
            "kind": "platform",
        }
    ]
    assert shown(document).startswith("WRONG  the key is refused (for 5 min)")


def test_the_last_hour() -> None:
    minute = NOW // 60 * 60
    samples = [
        Sample(minute - 120, {"worker": Totals(published=10, started=10, waits=5.0)}),
        Sample(minute - 60, {"worker": Totals(published=40, started=30, waits=25.0, quantity=2)}),
    ]
    ledger = snapshot(published=41, started=40, waits=55, finished=0, quantity=3)
    document = status_of(settings(), ledger, samples=samples)
    hour = document["pools"][0]["last_hour"]
    assert hour["arrivals"][-4:] == [0, 30, 1, 0]
    assert hour["workers"][-4:] == [0, 2, 3, 3]
    assert hour["mean_wait"] == pytest.approx(50 / 30, abs=0.001)
    text = shown(document)
    assert "31 in an hour, mean wait 1.7 s" in text
    assert "by the minute" in text


def test_times_in_words() -> None:
    assert [span(s) for s in (0, 119, 120, 7200, 259_200)] == [
        "0 s",
        "119 s",
        "2 min",
        "2 h",
        "3 days",
    ]
    now = datetime.fromtimestamp(NOW, timezone.utc)
    assert ago("2027-01-15T08:00:05+00:00", now) == "in 5 s"
