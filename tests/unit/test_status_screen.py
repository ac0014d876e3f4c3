"""The screen of `mm status`: short, and complete without colour."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from celery_middle_management.cli.status_screen import status_screen
from celery_middle_management.core.history import Sample, Totals
from celery_middle_management.core.intents import Pause, both_paused
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Run
from celery_middle_management.ledger.codec import pack_intent
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.views.status import of_pools
from tests.unit.snapshots import NOW, PDF, WORKER, Holds, looked, presence, shown, snapshot

PAUSE = '{"hires": true, "fires": true, "since": 1, "until": null, "who": "me"}'
MANY = tuple(Pool(f"pool{n}", (f"q{n}",), 0, 5, 1) for n in range(40))


def busy(*pools: Pool, queues: int = 3) -> dict[str, Any]:
    """As much as two pools can show when all is well."""
    runs = (Run("app.encode", NOW - 840), Run("app.thumb", NOW - 2))
    cordon = {"above": 1, "names": [], "at": NOW - 300, "since": {"worker.2": NOW - 300}}
    why = "412 tasks at 10 per worker need 42, limits 0 to 10"
    action = {
        "at": "2027-01-15T07:59:48+00:00",
        "action": "hire",
        "from": 3,
        "to": 4,
        "reason": why,
    }
    ledger = snapshot(
        presence("worker.1", running=1, waiting=2),
        replace(presence("worker.2", running=2, waiting=1), runs=runs, busy=3),
        *(presence(f"worker.{n}", running=1) for n in (3, 4)),
        due={int(NOW) + 500: 4},
        count={"at": NOW - 12, "waiting": 400, "running": 9, "scheduled": 4, "drift": 5},
        quantity=4,
        cordon=cordon,
        last_action=action,
        app_called_at=(NOW - 1) * 1000,
        app_next_at=(NOW + 3) * 1000,
    )
    ledger = replace(ledger, queues={f"queue{n}": NOW for n in range(queues)})
    samples = [Sample(NOW // 60 * 60 - 60, {"worker": Totals(published=400, quantity=2)})]
    return looked(Holds(celery=403), ledger, *(pools or (WORKER,)), samples=samples)


def test_a_draining_worker_names_its_tasks_with_their_ages() -> None:
    document = busy()
    drain = document["pools"][0]["workers"]["drains"][0]
    assert [task["name"] for task in drain["tasks"]] == ["app.encode", "app.thumb"]
    assert drain["tasks"][0]["for"] == 840.0
    text = shown(document)
    assert "worker.2 for 5 min: app.encode for 14 min, app.thumb for 2 s, 1 waiting" in text
    # The longest task is among them, so it is not repeated.
    assert "longest" not in text


def test_the_tasks_of_a_draining_worker_fit_a_line() -> None:
    cordon = {"above": 0, "names": [], "at": NOW, "since": {"worker.1": NOW - 300}}
    runs = tuple(Run(f"shop.invoices.tasks.render_{n}", NOW - 840) for n in range(5))
    held = replace(presence("worker.1", running=6, waiting=2), runs=runs)
    text = shown(looked(Holds(), snapshot(held, quantity=1, cordon=cordon)), width=80)
    drains = text[text.index("drains") : text.index("  last")]
    named = "shop.invoices.tasks.render_0 for 14 min, 5 more running, 2 waiting"
    assert " ".join(drains.split()) == f"drains worker.1 for 5 min: {named}"
    assert drains.count("\n") == 2


def test_a_draining_worker_counts_what_is_not_named() -> None:
    def drains(**fields: Any) -> str:
        cordon = {"above": 0, "names": [], "at": 1.0, "since": {}}
        held = presence("worker.1", running=fields.pop("running", 0))
        document = looked(Holds(), snapshot(replace(held, **fields), quantity=1, cordon=cordon))
        return next(line for line in shown(document).splitlines() if "drains" in line).strip()

    # A worker of an older release names none.
    assert drains(running=2) == "drains   worker.1: 2 running"
    run = (Run("app.encode", NOW - 9),)
    assert drains(running=2, runs=run) == "drains   worker.1: app.encode for 9 s, 1 more running"
    # A batch is in none of Celery's sets.
    assert drains(busy=1) == "drains   worker.1: 1 to finish"
    assert drains() == "drains   worker.1: nothing left to do"
    assert drains(seen=NOW - 30) == "drains   worker.1: not reporting"


@pytest.mark.parametrize("pools", [(WORKER,), (WORKER, PDF)])
@pytest.mark.parametrize("queues", [3, 1000])
def test_one_and_two_pools_fit_a_terminal(pools: tuple[Pool, ...], queues: int) -> None:
    text = shown(busy(*pools, queues=queues), width=80)
    assert text.count("\n") <= 24
    assert max(map(len, text.splitlines())) <= 80
    if queues == 1000:
        assert re.search(r"queues +celery, .* and 99\d more +\n", text)


def test_of_many_pools_each_has_a_line_and_what_is_wrong_comes_first() -> None:
    ledger = Snapshot(
        NOW, {"told_at": str(NOW * 1000), "next_at": str((NOW + 5) * 1000)}, {}, (), {}
    )
    held = replace(presence("pool7.1", queue="q7", running=1), runs=(Run("app.encode", NOW - 840),))
    state = {**ledger.state, "pool9/published": "3", "pool9/quantity": "0", "pause": PAUSE}
    document = looked(Holds(q9=3), replace(ledger, state=state, presences=(held,)), *MANY)
    text = shown(document, width=80)
    lines = [line.split() for line in text.splitlines()]
    assert len(lines) < len(MANY) + 12
    rows = [words for words in lines if words and words[0].startswith("pool")]
    assert rows[0][:1] == ["pool"]
    assert rows[1][:5] == ["pool9", "0", "3", "3", "0"]
    assert rows[1][5:] == ["WRONG,", "see", "above"]
    assert [row[0] for row in rows[2:5]] == ["pool0", "pool1", "pool2"]
    assert "app.encode for 14 min" in text
    chosen = shown(of_pools(document, ["pool7", "pool9", "pool1"]), width=80, full=True)
    assert "pool7  ? workers, 0 needed" in chosen
    assert "longest  app.encode on pool7.1 for 14 min" in chosen
    assert "pool2" not in chosen


def test_of_two_pauses_each_switch_has_its_own_end_and_people() -> None:
    root = Pause(until=NOW + 10, who="root", since=NOW - 5)
    bob = Pause(hires=False, until=NOW + 3600, who="bob", since=NOW - 3)
    both = both_paused(root, bob)
    assert both is not None
    document = looked(Holds(), snapshot(quantity=0, app_pause=pack_intent(both)))
    said = "PAUSED  no hires, by root, ends in 10 s; no fires, by root and bob, ends in 60 min"
    assert said in shown(document)
    pause = document["pause"]
    assert (pause["hires_by"], pause["fires_by"]) == ("root", "root, bob")
    assert pause["hires_until"] == pause["until"] < pause["fires_until"]
    document = looked(Holds(), snapshot(quantity=0, app_pause=pack_intent(root)))
    assert "PAUSED  no hires and no fires, by root 5 s ago, ends in 10 s" in shown(document)
    document = looked(Holds(), snapshot(quantity=0, app_pause=pack_intent(bob)))
    assert "PAUSED  no fires, by bob 3 s ago, ends in 60 min" in shown(document)
    assert document["pause"]["hires_until"] is document["pause"]["hires_by"] is None


@pytest.mark.parametrize(("least", "said"), [(1, "at least 1 worker,"), (2, "at least 2 workers,")])
def test_one_worker_is_asked_for_in_the_singular(least: int, said: str) -> None:
    wish = {"until": NOW + 300, "least": least, "who": "me"}
    assert said in shown(looked(Holds(), snapshot(quantity=0, wish=wish)))


def test_many_troubles_are_counted() -> None:
    missed = {"at": NOW, "since": {f"worker.{n}": NOW - 90 for n in range(1, 31)}}
    text = shown(looked(Holds(), snapshot(quantity=30, missed=missed)))
    assert text.count("WRONG") == 9
    assert "WRONG  and 22 more: see --json" in text


def test_workers_that_do_not_report_are_said_in_words_and_never_green() -> None:
    def title(*names: str) -> tuple[str, str]:
        ledger = snapshot(*map(presence, names), quantity=3, published=30)
        console = Console(file=io.StringIO(), force_terminal=True, color_system="standard")
        document = looked(Holds(celery=30), ledger)
        console.print(status_screen(document))
        assert isinstance(console.file, io.StringIO)
        return shown(document).splitlines()[0], console.file.getvalue().splitlines()[0]

    green = "\x1b[32m"
    words, colours = title("worker.1", "worker.2", "worker.3")
    assert words == "worker  3 workers, 3 needed  (limits 0 to 10, local)"
    assert green in colours
    for names, reporting in (((), 0), (("worker.1",), 1)):
        words, colours = title(*names)
        assert (
            words == f"worker  3 workers, 3 needed, {reporting} reporting  (limits 0 to 10, local)"
        )
        assert green not in colours
