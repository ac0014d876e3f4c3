"""What `mm status` calls wrong, and what it does not: a false alarm wakes a person at night."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from celery_middle_management.core.history import Sample
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.views.status import idle
from celery_middle_management.views.troubles import OVERDUE, may_pass
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

LATE = NOW - OVERDUE - 1
SATURDAY = NOW - 2 * 86400


def ms(at: float) -> float:
    return at * 1000


def the_one(document: dict[str, Any]) -> dict[str, Any]:
    [trouble] = document["trouble"]
    return dict(trouble)


def test_a_task_that_no_process_has_ever_told_of() -> None:
    """The import was forgotten where it is published."""
    document = looked(Holds(celery=1), Snapshot(NOW, {}, {}, (), {}))
    [pool] = document["pools"]
    assert (pool["tasks"]["waiting"], pool["tasks"]["in_broker"]) == (1, 1)
    assert pool["tasks"]["reckoned"] == 0
    trouble = the_one(document)
    assert (trouble["pool"], trouble["since"], trouble["kind"]) == ("worker", None, "unattended")
    assert trouble["what"].startswith("1 task waits. No process has told of it: import and enable ")
    assert "1 waiting, 0 running; never counted; 1 not told of yet" in shown(document)
    # Its publisher may be about to tell.
    assert may_pass(document)


def test_a_task_that_no_process_has_told_of_while_none_is_alive() -> None:
    told = snapshot(quantity=0, app_next_at=ms(SATURDAY), app_told_at=ms(SATURDAY))
    document = looked(Holds(celery=2), told)
    trouble = the_one(document)
    assert (
        "2 tasks wait, and no worker is hired: nothing that evaluates is alive" in trouble["what"]
    )
    assert "No process has told of them" in trouble["what"]
    assert may_pass(document)


@pytest.mark.parametrize(
    "state",
    [
        # A count that finds it is due within a minute.
        {"app_next_at": ms(NOW + 50)},
        # An evaluation is due, and may be under way.
        {"app_next_at": ms(NOW - OVERDUE + 1)},
        # The first process since Saturday has told of it, and evaluates.
        {"app_next_at": ms(SATURDAY), "published": 1},
        # One was alive a moment ago, and looks in again soon.
        {"app_next_at": ms(LATE), "app_told_at": ms(NOW - OVERDUE + 1), "published": 1},
    ],
)
def test_no_false_alarm_while_something_is_about_to_see_to_it(state: dict[str, Any]) -> None:
    document = looked(Holds(celery=1), snapshot(quantity=0, **state))
    assert document["trouble"] == []
    assert document["pools"][0]["tasks"]["waiting"] == 1


def test_what_is_alive_and_does_not_evaluate() -> None:
    def wrong(*presences: Presence, samples: tuple[Sample, ...] = (), next_at: float = LATE) -> Any:
        told = snapshot(*presences, quantity=1, published=20, app_next_at=ms(next_at))
        document = looked(Holds(celery=20), told, samples=samples)
        return [(t["kind"], t["since"]) for t in document["trouble"]]

    worker = presence("worker.1")
    late = [("unattended", "2027-01-15T07:59:29.000+00:00")]
    assert wrong(worker) == late
    assert wrong(worker, next_at=NOW - OVERDUE + 1) == []
    # Those of these are no reason to expect an evaluation.
    assert wrong(replace(worker, since=NOW - 5)) == []
    assert wrong(replace(worker, inactive=True)) == []
    # Publishers alone are alive: they told of something in that minute, after it was due.
    assert wrong(samples=(Sample(LATE, {}),)) == []
    due = NOW - 500
    assert [kind for kind, _ in wrong(samples=(Sample(NOW - 120, {}),), next_at=due)] == [
        "unattended"
    ]
    assert wrong(samples=(Sample(due - 1, {}),), next_at=due) == []


def test_a_scheduled_task_that_is_overdue_while_nothing_is_alive() -> None:
    due = int(NOW) - 540
    told = snapshot(
        due={due: 1}, quantity=0, app_told_at=ms(NOW - 3600), app_next_at=ms(NOW - 3500)
    )
    document = looked(Holds(celery=1), told)
    trouble = the_one(document)
    assert trouble["what"].startswith("1 task waits, and no worker is hired: nothing that eval")
    assert "told of" not in trouble["what"]
    assert trouble["since"] == "2027-01-15T07:51:00.000+00:00"
    assert "celery mm run" in trouble["what"]
    assert "(for 9 min)" in " ".join(shown(document).split())
    assert not may_pass(document)
    # Until then it is only a note.
    ahead = looked(Holds(celery=1), replace(told, due={"worker": {int(NOW) + 540: 1}}))
    assert ahead["trouble"] == []
    assert ahead["pools"][0]["tasks"]["in_broker"] == 0
    assert ahead["pools"][0]["tasks"]["scheduled"] == 1


def test_workers_that_take_what_waits_are_enough() -> None:
    def wrong(seen: float) -> list[str]:
        worker = presence("worker.1", seen=seen)
        told = snapshot(worker, quantity=1, published=1, app_told_at=ms(LATE), app_next_at=ms(LATE))
        return [t["kind"] for t in looked(Holds(celery=1), told)["trouble"]]

    assert wrong(NOW) == []
    assert wrong(LATE) == ["unattended"]


def test_a_change_without_tasks_that_is_not_made() -> None:
    def wrong(quantity: int, told_at: float = LATE) -> list[str]:
        told = snapshot(quantity=quantity, app_told_at=ms(told_at), app_next_at=ms(LATE))
        return [t["kind"] for t in looked(Holds(), told)["trouble"]]

    assert wrong(2) == ["evaluation"]
    assert wrong(2, told_at=NOW) == []
    assert wrong(0) == []


def test_tasks_that_are_left_to_wait_are_told_of_once() -> None:
    pause = json.dumps(
        {"hires": True, "fires": True, "since": NOW - 60, "until": None, "who": "me"}
    )
    told = snapshot(quantity=0, published=1, app_told_at=ms(LATE), app_pause=pause)
    assert the_one(looked(Holds(celery=1), told))["kind"] == "not-hired"


def test_tasks_wait_for_a_fire_by_hand_to_end() -> None:
    wish = json.dumps({"until": NOW + 300, "most": 0, "who": "me"})
    told = snapshot(quantity=0, published=1, app_told_at=ms(NOW), wish=wish)
    document = looked(Holds(celery=1), told)
    trouble = the_one(document)
    assert trouble["kind"] == "not-hired"
    assert "another 5 min: `mm fire` asked for that" in trouble["what"]
    assert "at most 0 workers, by me, ends in 5 min" in shown(document)


def test_the_number_that_waits_is_the_brokers_and_what_workers_hold() -> None:
    count = {"at": NOW - 12, "waiting": 34, "running": 0, "scheduled": 0}
    worker = presence("worker.1", running=1, waiting=3)
    told = snapshot(worker, quantity=4, count=count, app_next_at=ms(NOW + 5))
    document = looked(Holds(celery=22), told)
    tasks = document["pools"][0]["tasks"]
    assert (tasks["waiting"], tasks["in_broker"], tasks["reserved"]) == (25, 22, 3)
    assert (tasks["running"], tasks["outstanding"], tasks["reckoned"]) == (1, 26, 34)
    assert "25 waiting (3 reserved), 1 running" in shown(document)
    assert "reckoned 34" in " ".join(shown(document).split())
    # What is decided is decided on that.
    assert document["pools"][0]["workers"]["needed"] == 4


def test_a_broker_that_cannot_be_read() -> None:
    told = snapshot(quantity=0, published=3, app_next_at=ms(NOW + 5))
    document = looked(Holds("broker"), told)
    trouble = the_one(document)
    assert (trouble["pool"], trouble["kind"]) == (None, "count")
    assert "the broker could not be read" in trouble["what"]
    # The ledger is all that is known then.
    tasks = document["pools"][0]["tasks"]
    assert (tasks["waiting"], tasks["in_broker"]) == (3, None)


def test_one_queue_that_cannot_be_read_is_its_pools_trouble_and_told_once() -> None:
    document = looked(Holds("pdf", celery=1), snapshot(app_next_at=ms(NOW + 5)), WORKER, PDF)
    worker, pdf = document["pools"]
    assert the_one(document)["pool"] == "pdf"
    assert (worker["tasks"]["in_broker"], pdf["tasks"]["in_broker"]) == (1, None)
    known = json.dumps({"count queue pdf": {"what": "met before", "since": NOW - 9}})
    document = looked(
        Holds("pdf"), snapshot(app_next_at=ms(NOW + 5), app_trouble=known), WORKER, PDF
    )
    assert the_one(document)["what"] == "met before"


def test_idle_is_what_ledger_and_broker_agree_on() -> None:
    def told(broker: Holds, **state: Any) -> bool:
        return idle(looked(broker, snapshot(quantity=0, **state)))

    assert told(Holds())
    assert not told(Holds(celery=1))
    assert not told(Holds(), published=1)
    assert not told(Holds("broker"))
    assert not idle(looked(Holds(), snapshot(presence("worker.1"), quantity=0)))
    assert not idle(looked(Holds(), snapshot(quantity=1)))


def test_what_the_platform_refused_stays_wrong_until_it_was_asked_again() -> None:
    refusal = {"why": "no process type", "at": NOW - 300, "until": NOW - 240, "limit": None}
    known = json.dumps({"refused worker": {"what": "no process type", "since": NOW - 900}})
    told = snapshot(refusal=refusal, published=1, app_trouble=known, app_next_at=ms(NOW + 5))
    assert the_one(looked(Holds(celery=1), told))["kind"] == "refused"


@pytest.mark.parametrize(
    ("platform", "log"), [("heroku", "`heroku logs --ps worker`"), ("local", "/worker.1.log")]
)
def test_a_platform_whose_workers_are_never_heard_of(platform: str, log: str) -> None:
    unheard = {"since": NOW - 100, "times": 0}
    told = snapshot(quantity=3, published=30, unheard=unheard, app_next_at=ms(NOW + 5))
    given = replace(settings(), platform=platform)
    trouble = the_one(looked(Holds(celery=30), told, given=given))
    assert trouble["what"].startswith("no worker has been heard of since 3 were there to be")
    assert log in trouble["what"]
    known = {"unheard worker": {"what": "recorded", "since": NOW - 100, "pool": "worker"}}
    told = snapshot(
        quantity=3,
        published=30,
        unheard=unheard,
        app_trouble=json.dumps(known),
        app_next_at=ms(NOW),
    )
    [what] = [t["what"] for t in looked(Holds(celery=30), told, given=given)["trouble"]]
    assert (what == "recorded") == (platform == "heroku")


def test_what_evaluations_met_has_the_kind_of_what_they_tried() -> None:
    met = ("platform", "count", "count queues", "refused pdf", "unheard pdf", "lifetime run.7")
    told = json.dumps({kind: {"what": kind, "since": NOW - 9} for kind in met})
    given = replace(settings(), platform="heroku")
    document = looked(Holds(), snapshot(app_trouble=told, app_next_at=ms(NOW + 5)), given=given)
    assert {t["what"]: t["kind"] for t in document["trouble"]} == {k: k.split()[0] for k in met}
