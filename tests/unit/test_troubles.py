"""The troubles in `mm status`, and the absence of false alarms, which wake people at night."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from celery_middle_management.core.deafness import Suspicion
from celery_middle_management.core.history import Sample
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.codec import pack_suspicions
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.platforms import local_dyno, local_files
from celery_middle_management.settings.model import Heroku
from celery_middle_management.settings.secret import Secret
from celery_middle_management.views.status import asleep, idle
from celery_middle_management.views.troubles import may_pass
from celery_middle_management.views.unattended import OVERDUE
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


def test_a_task_that_no_process_has_reported_before_any_report() -> None:
    """The import was forgotten where it is published."""
    document = looked(Holds(celery=1), Snapshot(NOW, {}, {}, (), {}))
    [pool] = document["pools"]
    assert (pool["tasks"]["waiting"], pool["tasks"]["in_broker"]) == (1, 1)
    assert pool["tasks"]["reckoned"] == 0
    trouble = the_one(document)
    assert (trouble["pool"], trouble["since"], trouble["kind"]) == ("worker", None, "unattended")
    assert trouble["what"].startswith(
        "1 task waits. No process has reported it: import and enable "
    )
    assert "1 waiting, 0 running; never counted; 1 not reported yet" in shown(document)
    # Its publisher may be about to report it.
    assert may_pass(document)


def test_a_task_that_no_process_has_reported_while_none_is_alive() -> None:
    ledger = snapshot(quantity=0, app_next_at=ms(SATURDAY), app_told_at=ms(SATURDAY))
    document = looked(Holds(celery=2), ledger)
    trouble = the_one(document)
    assert "2 tasks wait, and no worker is hired: no process of the app is alive" in trouble["what"]
    assert "No process has reported them" in trouble["what"]
    assert may_pass(document)


@pytest.mark.parametrize(
    "state",
    [
        # A count that finds it is due within a minute.
        {"app_next_at": ms(NOW + 50)},
        # An evaluation is due, and may be under way.
        {"app_next_at": ms(NOW - OVERDUE + 1)},
        # The first process since Saturday has reported it, and evaluates.
        {"app_next_at": ms(SATURDAY), "published": 1},
        # One was alive a moment ago, and reports again soon.
        {"app_next_at": ms(LATE), "app_told_at": ms(NOW - OVERDUE + 1), "published": 1},
    ],
)
def test_no_false_alarm_while_an_evaluation_is_about_to_come(state: dict[str, Any]) -> None:
    document = looked(Holds(celery=1), snapshot(quantity=0, **state))
    assert document["trouble"] == []
    assert document["pools"][0]["tasks"]["waiting"] == 1


def test_what_is_alive_and_does_not_evaluate() -> None:
    def wrong(*presences: Presence, samples: tuple[Sample, ...] = (), next_at: float = LATE) -> Any:
        ledger = snapshot(*presences, quantity=1, published=20, app_next_at=ms(next_at))
        document = looked(Holds(celery=20), ledger, samples=samples)
        return [(t["kind"], t["since"]) for t in document["trouble"]]

    worker = presence("worker.1")
    late = [("unattended", "2027-01-15T07:59:29.000+00:00")]
    assert wrong(worker) == late
    assert wrong(worker, next_at=NOW - OVERDUE + 1) == []
    # Such workers are no reason to expect an evaluation.
    assert wrong(replace(worker, since=NOW - 5)) == []
    assert wrong(replace(worker, inactive=True)) == []
    # Only publishers are alive: they reported in that minute, after the evaluation was due.
    assert wrong(samples=(Sample(LATE, {}),)) == []
    due = NOW - 500
    assert [kind for kind, _ in wrong(samples=(Sample(NOW - 120, {}),), next_at=due)] == [
        "unattended"
    ]
    assert wrong(samples=(Sample(due - 1, {}),), next_at=due) == []


def test_a_scheduled_task_that_is_overdue_while_nothing_is_alive() -> None:
    due = int(NOW) - 540
    ledger = snapshot(
        due={due: 1}, quantity=0, app_told_at=ms(NOW - 3600), app_next_at=ms(NOW - 3500)
    )
    document = looked(Holds(celery=1), ledger)
    trouble = the_one(document)
    assert trouble["what"].startswith("1 task waits, and no worker is hired: no process of")
    assert "has reported" not in trouble["what"]
    assert trouble["since"] == "2027-01-15T07:51:00.000+00:00"
    assert "`celery -A proj mm run`" in trouble["what"]
    assert "(for 9 min)" in " ".join(shown(document).split())
    assert not may_pass(document)
    # Until then it is only a note.
    ahead = looked(Holds(celery=1), replace(ledger, due={"worker": {int(NOW) + 540: 1}}))
    assert ahead["trouble"] == []
    assert ahead["pools"][0]["tasks"]["in_broker"] == 0
    assert ahead["pools"][0]["tasks"]["scheduled"] == 1


def test_between_due_and_overdue_the_screen_says_that_nothing_wakes_the_pool() -> None:
    def seen(told_at: float, next_at: float) -> dict[str, Any]:
        due = {int(NOW) - 2: 1}
        state = {"app_told_at": ms(told_at), "app_next_at": ms(next_at)}
        return looked(Holds(celery=1), snapshot(due=due, quantity=0, **state))

    just_due = seen(NOW - 20, NOW - 2)
    assert just_due["trouble"] == []
    assert asleep(just_due)
    # The process that scheduled it has had its time.
    late = seen(NOW - OVERDUE - 1, NOW - 2)
    assert the_one(late)["kind"] == "unattended"
    assert not asleep(late)
    # No process that is alive is about to evaluate.
    assert the_one(seen(NOW - OVERDUE - 1, NOW + 40))["kind"] == "unattended"
    waits = snapshot(quantity=0, published=1, app_told_at=ms(LATE), app_next_at=ms(NOW + 40))
    assert the_one(looked(Holds(celery=1), waits))["since"] == "2027-01-15T07:59:29.000+00:00"
    assert not asleep(seen(NOW - 1, NOW + 1))


def test_workers_that_take_what_waits_are_enough() -> None:
    def wrong(seen: float) -> list[str]:
        worker = presence("worker.1", seen=seen)
        ledger = snapshot(
            worker, quantity=1, published=1, app_told_at=ms(LATE), app_next_at=ms(LATE)
        )
        return [t["kind"] for t in looked(Holds(celery=1), ledger)["trouble"]]

    assert wrong(NOW) == []
    assert wrong(LATE) == ["unattended"]


def test_a_worker_that_boots_is_waited_for_while_nothing_else_is_alive() -> None:
    def wrong(hired_at: float, quantity: int = 1, published: int = 1) -> list[tuple[str, str]]:
        unheard = {"since": hired_at, "times": 0}
        state = {"quantity": quantity, "published": published, "unheard": unheard}
        ledger = snapshot(app_told_at=ms(LATE), app_next_at=ms(NOW + 5), **state)
        document = looked(Holds(celery=published), ledger)
        return [(t["kind"], t["what"]) for t in document["trouble"]]

    assert wrong(NOW - 31) == []
    [(kind, _)] = wrong(NOW - 90)
    assert kind == "unheard"
    # More would have to be hired.
    [(kind, what)] = wrong(NOW - 31, published=30)
    assert (kind, "and no worker that reports takes them: " in what) == ("unattended", True)


def test_a_change_without_tasks_that_is_not_made() -> None:
    def wrong(quantity: int, told_at: float = LATE) -> list[str]:
        ledger = snapshot(quantity=quantity, app_told_at=ms(told_at), app_next_at=ms(LATE))
        return [t["kind"] for t in looked(Holds(), ledger)["trouble"]]

    assert wrong(2) == ["evaluation"]
    assert wrong(2, told_at=NOW) == []
    # It is not due yet.
    ledger = snapshot(quantity=2, app_told_at=ms(LATE), app_next_at=ms(NOW + 5))
    assert looked(Holds(), ledger)["trouble"] == []
    assert wrong(0) == []


def test_tasks_that_are_left_to_wait_are_reported_once() -> None:
    pause = json.dumps(
        {"hires": True, "fires": True, "since": NOW - 60, "until": None, "who": "me"}
    )
    ledger = snapshot(quantity=0, published=1, app_told_at=ms(LATE), app_pause=pause)
    assert the_one(looked(Holds(celery=1), ledger))["kind"] == "not-hired"


def test_a_pool_that_may_have_no_worker() -> None:
    ledger = snapshot(quantity=0, published=1, app_next_at=ms(NOW + 5))
    trouble = the_one(looked(Holds(celery=1), ledger, replace(WORKER, max_workers=0)))
    assert "max_workers is 0. Raise middle_management_max_workers" in trouble["what"]


@pytest.mark.parametrize(
    ("hire", "end"),
    [("", "`heroku ps:restart worker.1 -a shop`"), ("a", "`heroku ps:stop worker.1 -a shop`")],
)
def test_how_to_end_a_worker_that_hangs(hire: str, end: str) -> None:
    heroku = Heroku("shop", Secret("key"), "https://api.heroku.com")
    given = replace(settings(), platform="heroku", heroku=heroku)
    hung = replace(presence("worker.1", seen=NOW - 61), hire=hire)
    trouble = the_one(looked(Holds(), snapshot(hung, quantity=1), given=given))
    assert trouble["kind"] == "silent"
    assert trouble["what"].endswith(
        f"Check its log, `heroku logs --ps worker.1 -a shop`. If it hangs, end it: {end}"
    )
    deaf = pack_suspicions({"worker.1": Suspicion(NOW - 121, NOW)})
    ledger = snapshot(replace(hung, seen=NOW), quantity=1, app_deaf=deaf)
    assert the_one(looked(Holds(), ledger, given=given))["what"].endswith(f"restart it: {end}")


def test_how_to_end_a_local_worker_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_files, "_directory", lambda _: tmp_path)
    ledger = snapshot(presence("worker.1", seen=NOW - 61), quantity=1)
    assert the_one(looked(Holds(), ledger))["what"].endswith(
        f"Check its log, {tmp_path}/worker.1.log. If it hangs, end it"
    )
    process = {"pid": os.getpid(), "started_at": local_dyno.started_at(os.getpid())}
    (tmp_path / "worker.1.json").write_text(json.dumps(process))
    assert the_one(looked(Holds(), ledger))["what"].endswith(f"end it: `kill {os.getpid()}`")


def test_a_command_that_starts_no_worker_is_reported_once() -> None:
    missed = {"at": NOW - 5, "since": {"worker.1": NOW - 95, "worker.2": NOW - 95}}
    unheard = {"since": NOW - 100, "times": 0}
    ledger = snapshot(quantity=2, unheard=unheard, missed=missed, app_next_at=ms(NOW + 5))
    trouble = the_one(looked(Holds(celery=30), ledger))
    assert trouble["what"].startswith("no worker has reported since the quantity was raised to 2")


def test_tasks_wait_for_a_fire_by_hand_to_end() -> None:
    wish = json.dumps({"until": NOW + 300, "most": 0, "who": "me"})
    ledger = snapshot(quantity=0, published=1, app_told_at=ms(NOW), wish=wish)
    document = looked(Holds(celery=1), ledger)
    trouble = the_one(document)
    assert trouble["kind"] == "not-hired"
    assert "another 5 min, as requested by `mm fire`" in trouble["what"]
    assert "at most 0 workers, by me, ends in 5 min" in shown(document)


def test_the_number_that_waits_is_the_brokers_and_what_workers_hold() -> None:
    count = {"at": NOW - 12, "waiting": 34, "running": 0, "scheduled": 0}
    worker = presence("worker.1", running=1, waiting=3)
    ledger = snapshot(worker, quantity=4, count=count, app_next_at=ms(NOW + 5))
    document = looked(Holds(celery=22), ledger)
    tasks = document["pools"][0]["tasks"]
    assert (tasks["waiting"], tasks["in_broker"], tasks["reserved"]) == (25, 22, 3)
    assert (tasks["running"], tasks["outstanding"], tasks["reckoned"]) == (1, 26, 34)
    assert "25 waiting (3 reserved), 1 running" in shown(document)
    assert "reckoned 34" in " ".join(shown(document).split())
    # Decisions rest on the reckoning.
    assert document["pools"][0]["workers"]["needed"] == 4


def test_what_waits_is_in_the_broker_or_in_the_hands_of_a_worker() -> None:
    hung = presence("worker.1", seen=NOW - 20, running=1, waiting=2)
    count = {"at": NOW - 12, "waiting": 2, "running": 2, "scheduled": 0}
    ledger = snapshot(hung, presence("worker.2", running=1), quantity=2, count=count)
    tasks = looked(Holds(celery=4), ledger)["pools"][0]["tasks"]
    assert (tasks["waiting"], tasks["in_broker"], tasks["reserved"]) == (7, 4, 3)
    assert (tasks["running"], tasks["outstanding"]) == (1, 8)
    # If the platform says that it is gone, the broker gives back what it had.
    gone = snapshot(replace(hung, seen=NOW - 700), presence("worker.1"), quantity=1)
    tasks = looked(Holds(celery=4), gone)["pools"][0]["tasks"]
    assert (tasks["waiting"], tasks["in_broker"], tasks["reserved"]) == (4, 4, 0)


def test_a_scheduled_task_is_one_until_it_is_due() -> None:
    begun, ahead = int(NOW) - 3, int(NOW) + 50
    holder = replace(
        presence("worker.1", scheduled=2), due={"celery": {begun: 1, ahead: 1}}, seen=NOW
    )
    ledger = snapshot(holder, due={begun: 1, ahead: 1}, quantity=1)
    tasks = looked(Holds(), ledger)["pools"][0]["tasks"]
    assert (tasks["scheduled"], tasks["outstanding"]) == (2, 0)
    # Dead reckoning has it as due.
    tasks = looked(Holds("broker"), ledger)["pools"][0]["tasks"]
    assert (tasks["scheduled"], tasks["outstanding"]) == (1, 1)


def test_a_broker_that_cannot_be_read() -> None:
    ledger = snapshot(quantity=0, published=3, app_next_at=ms(NOW + 5))
    document = looked(Holds("broker"), ledger)
    trouble = the_one(document)
    assert (trouble["pool"], trouble["kind"]) == (None, "count")
    assert "the broker could not be read" in trouble["what"]
    assert trouble["what"].endswith("Check that it is up, and that its user may read the queues")
    # The ledger is all that is known then.
    tasks = document["pools"][0]["tasks"]
    assert (tasks["waiting"], tasks["in_broker"]) == (3, None)


def test_one_queue_that_cannot_be_read_is_one_trouble_of_its_pool() -> None:
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
    def is_idle(broker: Holds, **state: Any) -> bool:
        return idle(looked(broker, snapshot(quantity=0, **state)))

    assert is_idle(Holds())
    assert not is_idle(Holds(celery=1))
    assert not is_idle(Holds(), published=1)
    assert not is_idle(Holds("broker"))
    assert not idle(looked(Holds(), snapshot(presence("worker.1"), quantity=0)))
    assert not idle(looked(Holds(), snapshot(quantity=1)))


def test_what_the_platform_refused_stays_wrong_until_it_was_asked_again() -> None:
    refusal = {"why": "no process type", "at": NOW - 300, "until": NOW - 240, "limit": None}
    known = json.dumps({"refused worker": {"what": "no process type", "since": NOW - 900}})
    ledger = snapshot(refusal=refusal, published=1, app_trouble=known, app_next_at=ms(NOW + 5))
    assert the_one(looked(Holds(celery=1), ledger))["kind"] == "refused"


@pytest.mark.parametrize(
    ("platform", "log"), [("heroku", "`heroku logs --ps worker`"), ("local", "/worker.1.log")]
)
def test_a_platform_whose_workers_never_report(platform: str, log: str) -> None:
    unheard = {"since": NOW - 100, "times": 0}
    ledger = snapshot(quantity=3, published=30, unheard=unheard, app_next_at=ms(NOW + 5))
    given = replace(settings(), platform=platform)
    trouble = the_one(looked(Holds(celery=30), ledger, given=given))
    assert trouble["what"].startswith("no worker has reported since the quantity was raised to 3")
    assert log in trouble["what"]
    known = {"unheard worker": {"what": "recorded", "since": NOW - 100, "pool": "worker"}}
    ledger = snapshot(
        quantity=3,
        published=30,
        unheard=unheard,
        app_trouble=json.dumps(known),
        app_next_at=ms(NOW),
    )
    [what] = [t["what"] for t in looked(Holds(celery=30), ledger, given=given)["trouble"]]
    assert (what == "recorded") == (platform == "heroku")


def test_what_evaluations_met_has_the_kind_of_what_they_tried() -> None:
    met = ("platform", "count", "count queues", "refused pdf", "unheard pdf", "lifetime run.7")
    recorded = json.dumps({kind: {"what": kind, "since": NOW - 9} for kind in met})
    given = replace(settings(), platform="heroku")
    document = looked(Holds(), snapshot(app_trouble=recorded, app_next_at=ms(NOW + 5)), given=given)
    assert {t["what"]: t["kind"] for t in document["trouble"]} == {k: k.split()[0] for k in met}
