"""Which workers are deaf, by counts and by their reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest

from celery_middle_management.core.choice import Member
from celery_middle_management.core.deafness import (
    AFTER,
    Renewals,
    Suspicion,
    counts_again,
    deaf_workers,
    suspected,
)
from celery_middle_management.core.policies.backlog import backlog
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.codec import (
    pack_presence,
    pack_suspicions,
    unpack_presences,
    unpack_suspicions,
)

from .pools import NOW, presence

WORKER = presence("worker.1", queues=("celery", "mail"), idle=1000.0)
TASKS = {"celery": 3, "mail": 0}
STEP = AFTER / 3


def counts(
    told: Presence,
    lying: Mapping[str, int] = TASKS,
    *,
    known: Mapping[str, Suspicion] | None = None,
    counts: int = 7,
    step: float = STEP,
) -> dict[str, Suspicion]:
    """After so many counts, between which the worker only went on as it was."""
    found = dict(known or {})
    began = max((s.last for s in found.values()), default=NOW - step) + step
    for n in range(counts):
        at = began + n * step
        idle = told.idle and told.idle + at - NOW
        found = suspected(found, [replace(told, seen=at, idle=idle)], lying, at)
    return found


def is_deaf(found: Mapping[str, Suspicion]) -> bool:
    return any(suspicion.deaf for suspicion in found.values())


def test_a_worker_that_takes_nothing_from_count_to_count_is_deaf() -> None:
    found = counts(WORKER)
    assert found == {"worker.1": Suspicion(NOW, NOW + 2 * AFTER)}
    assert is_deaf(found)
    assert counts_again(found) == inf
    assert not is_deaf(counts(WORKER, counts=6))
    assert counts_again(counts(WORKER, counts=6)) == pytest.approx(NOW + 2 * AFTER)


@pytest.mark.parametrize(
    "said",
    [
        {"idle": 0.0},  # all slots are taken, or the prefetch count is used up
        {"queues": ("mail",)},  # those that wait are for others, or it was told not to consume
        {"stopped": NOW},
        {"closing": True},
        {"full": True},
        {"seen": NOW - 60},
    ],
)
def test_a_worker_that_could_not_take_what_waits_is_not_suspected(said: dict[str, object]) -> None:
    told = replace(WORKER, **said)  # type: ignore[arg-type]
    assert suspected({}, [told], TASKS, NOW) == {}


def test_an_empty_queue_clears_a_suspected_worker() -> None:
    found = counts(WORKER, counts=4)
    assert counts(WORKER, {"celery": 0, "mail": 0}, known=found, counts=1) == {}


def test_a_message_that_came_clears_any_worker() -> None:
    for before in (counts(WORKER, counts=4), counts(WORKER)):
        at = before["worker.1"].last + 30
        told = replace(WORKER, seen=at, idle=20.0)
        assert suspected(before, [told], {"celery": 0, "mail": 0}, at) == {}
        # With others that wait, all begins anew.
        assert suspected(before, [told], TASKS, at) == {"worker.1": Suspicion(at, at)}


def test_counts_that_are_far_apart_tell_nothing_of_what_was_in_between() -> None:
    assert counts(WORKER, counts=5, step=AFTER + 1) == {
        "worker.1": Suspicion(NOW + 4 * (AFTER + 1), NOW + 4 * (AFTER + 1))
    }


def test_a_queue_that_cannot_be_read_neither_clears_nor_convicts() -> None:
    found = counts(WORKER, counts=4)
    assert counts(WORKER, {"mail": 0}, known=found, counts=3) == found


def test_a_deaf_worker_stays_so_while_nothing_waits_and_while_it_is_cordoned() -> None:
    found = counts(WORKER)
    assert counts(WORKER, {"celery": 0, "mail": 0}, known=found) == found
    assert counts(replace(WORKER, stopped=NOW), known=found) == found


def test_a_worker_that_has_gone_is_forgotten() -> None:
    assert suspected(counts(WORKER), [], TASKS, NOW) == {}


def test_only_a_worker_that_is_up_is_deaf() -> None:
    found, at = counts(WORKER), NOW + 1
    assert deaf_workers(found, [WORKER], at) == {"worker.1": found[WORKER.id].since}
    assert deaf_workers(found, [replace(WORKER, closing=True)], at) == {}
    assert deaf_workers(found, [replace(WORKER, seen=NOW - 60)], at) == {}
    assert deaf_workers(counts(WORKER, counts=4), [WORKER], at) == {}


def test_renewals_that_do_not_help_come_ever_more_rarely() -> None:
    renewals, tried = Renewals(), []
    for second in range(4 * 3600):
        if renewals.due(float(second), 1000.0 + second):
            tried.append(second)
    assert tried[:5] == [60, 120, 240, 480, 960]
    assert max(b - a for a, b in pairwise(tried)) == 1800
    # Something has come: the next time begins anew.
    assert not renewals.due(0.0, 100_000.0)
    assert renewals.due(AFTER, 100_000.0)


def test_a_new_connection_is_not_renewed_before_its_time() -> None:
    renewals = Renewals()
    renewals.connected(1000.0)
    assert not renewals.due(10 * AFTER, 1000.0 + AFTER - 1)
    assert renewals.due(10 * AFTER, 1000.0 + AFTER)
    renewals.connected(1000.0 + AFTER + 30)
    assert not renewals.due(10 * AFTER, 1000.0 + 2 * AFTER + 29)
    assert renewals.due(10 * AFTER, 1000.0 + 2 * AFTER + 30)


def test_a_deaf_worker_is_no_capacity_within_the_limits() -> None:
    state = PoolState(Pool("worker", None, 1, 3, 10), NOW, published=15)
    assert state.needed == 2
    assert replace(state, deaf=frozenset({"worker.1"})).needed == 3
    assert replace(state, deaf=frozenset({"worker.1", "worker.2"})).needed == 3
    assert "plus 1 taking no tasks" in replace(state, deaf=frozenset({"a"})).advice.why
    # At rest, no other worker is paid for beside it.
    assert replace(state, published=0, deaf=frozenset({"worker.1"})).needed == 1
    assert backlog(0, 10).beside(1).workers == 0


def test_a_one_off_worker_that_is_deaf_is_relied_on_no_more() -> None:
    member = Member("run.1", NOW - 100, (presence("run.1"),))
    assert not member.unreliable(NOW)
    assert replace(member, deaf=True).unreliable(NOW)


def test_what_is_packed_is_unpacked() -> None:
    found = counts(WORKER)
    assert unpack_suspicions(pack_suspicions(found)) == found
    assert unpack_suspicions(None) == {}
    [told] = unpack_presences({WORKER.id: f"{NOW * 1000:.0f} {pack_presence(WORKER)}"})
    assert told == WORKER
