"""What a dry run decides, and what it writes down."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from celery_middle_management.core.demand import Backlog
from celery_middle_management.core.presence import Presence
from celery_middle_management.evaluation.dry import DryPoolEvaluation
from celery_middle_management.evaluation.ports import Queues
from celery_middle_management.ledger.model import Changes, Snapshot

from .pools import NOW, presence
from .test_pool_evaluation import POOL, QUEUE, SETTINGS

DRY = replace(SETTINGS, dry_run=True)


def workers(quantity: int) -> tuple[Presence, ...]:
    return tuple(presence(f"worker.{n}", queues=(QUEUE,)) for n in range(1, quantity + 1))


def evaluated(
    waiting: int,
    state: dict[str, str],
    *,
    after: float = 0.0,
    may_call: bool = True,
    counted: bool = True,
) -> tuple[DryPoolEvaluation, Changes, dict[str, str]]:
    """One evaluation of the pool with that *state* of it, and what the state is then.

    *after* so many seconds.
    """
    now = NOW + after
    full = {f"worker/{name}": value for name, value in {"finished": "0", **state}.items()}
    live = [replace(one, seen=now) for one in workers(int(state["quantity"]))]
    snapshot = Snapshot(now, full, {}, tuple(live), {QUEUE: now})
    changes = Changes()
    pool = DryPoolEvaluation(POOL, DRY, snapshot, changes, Queues((QUEUE,)))
    if counted:
        backlog = Backlog(ready=waiting)
        pool.count(now, {QUEUE: backlog}, pool.fleet.living, pool.fleet.leaving)
    pool.decide(may_call=may_call, blocked=False)
    pool.write_decision()
    after = {**full, **changes.set}
    for name in changes.unset:
        after.pop(name, None)
    return pool, changes, {name.removeprefix("worker/"): value for name, value in after.items()}


def recorded(changes: Changes) -> list[tuple[Any, ...]]:
    entries = map(json.loads, changes.history)
    return [(e["action"], e["from"], e["to"], e["dry_run"]) for e in entries]


def test_a_decision_is_recorded_once() -> None:
    pool, changes, state = evaluated(3, {"quantity": "1"})
    assert recorded(changes) == [("hire", 1, 3, True)]
    assert pool.change == 3
    again, changes, state = evaluated(3, state)
    assert recorded(changes) == []
    assert again.change is None  # nor is the platform asked again
    _, changes, _ = evaluated(4, state, after=9.9)
    assert recorded(changes) == []  # a real run may not call the platform again so soon
    _, changes, _ = evaluated(4, state, after=10)
    assert recorded(changes) == [("hire", 1, 4, True)]


def test_it_is_recorded_anew_when_it_was_over_meanwhile() -> None:
    _, _, state = evaluated(3, {"quantity": "1"})
    _, _, state = evaluated(1, state, after=20)
    _, changes, _ = evaluated(3, state, after=40)
    assert recorded(changes) == [("hire", 1, 3, True)]


def test_or_when_it_was_scaled_by_hand() -> None:
    _, _, state = evaluated(5, {"quantity": "1"})
    _, changes, _ = evaluated(5, {**state, "quantity": "2"})
    assert recorded(changes) == [("hire", 2, 5, True)]


def test_what_waits_for_the_call_interval_is_not_over() -> None:
    _, _, state = evaluated(3, {"quantity": "1"})
    _, changes, state = evaluated(3, state, may_call=False)
    _, later, _ = evaluated(3, state)
    assert recorded(changes) == recorded(later) == []


def test_a_fire_is_recorded_where_it_would_begin_with_a_cordon() -> None:
    pool, changes, state = evaluated(0, {"quantity": "3"})
    assert recorded(changes) == [("fire", 3, 0, True)]
    assert "worker/cordon" not in changes.set
    assert pool.decision is not None
    assert not pool.decision.draining  # no worker has to be checked every second
    _, changes, state = evaluated(0, state)
    assert recorded(changes) == []
    _, changes, _ = evaluated(2, state, after=20)
    assert recorded(changes) == [("fire", 3, 2, True)]


def test_nothing_is_decided_on_a_count_that_was_not_taken() -> None:
    pool, changes, _ = evaluated(0, {"quantity": "3"}, counted=False)
    assert pool.worth_counting
    assert recorded(changes) == []


def test_a_fire_that_was_sent_before_still_cordons() -> None:
    sent = json.dumps({"to": 1, "until": NOW + 30, "done": False})
    _, changes, _ = evaluated(3, {"quantity": "3", "fire": sent})
    assert json.loads(changes.set["worker/cordon"])["above"] == 1


def test_a_cordon_of_before_is_lifted() -> None:
    cordon = json.dumps({"above": 1, "names": [], "at": NOW - 9, "since": {"worker.2": NOW - 9}})
    _, _, state = evaluated(0, {"quantity": "3", "cordon": cordon})
    assert "cordon" not in state
