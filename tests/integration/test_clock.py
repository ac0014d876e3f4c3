"""Redis' clock steps, back or forth (a failover, NTP), and nothing stops or is done too early."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from celery_middle_management.core.batch import Batch
from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.timing import LOCK_SECONDS
from celery_middle_management.ledger.model import Changes
from celery_middle_management.ledger.pool import PoolWriter
from celery_middle_management.ledger.redis import RedisLedger
from tests.integration.office import Office, office
from tests.redis_clock import RedisClock
from tests.servers import wait_for

STEPS = [-300, -3, 300, 14_400]
#: Longer (s) than any of these tests should take.
LONG = 100.0


@pytest.fixture
def clock(tmp_path: Path) -> RedisClock:
    if not RedisClock.available():
        pytest.skip("no C compiler for a clock that steps")
    return RedisClock(tmp_path)


@pytest.fixture
def url(clock: RedisClock) -> Iterator[str]:
    with clock.server() as server:
        yield server.url


@pytest.fixture
def it(url: str) -> Iterator[Office]:
    with office(url, call_interval=1) as made:
        yield made


def lock_left(it: Office) -> float:
    """Seconds until the lock runs out, by Redis' clock."""
    left: Any = it.redis.pttl(it.ledger.keys["lock"])
    return float(left) / 1000


def worker() -> Presence:
    return Presence("a", "worker.1", "worker", since=0.0, seen=0.0)


@pytest.mark.parametrize("step", STEPS)
def test_the_ledgers_time_goes_on_when_redis_clock_steps(
    it: Office, clock: RedisClock, step: float
) -> None:
    before = it.report().now
    clock.step(step)
    after = it.report().now
    # Back, it may stand still till the clock is where it was, if that is not far.
    assert 0 < after - before < LONG
    people = it.redis.time()[0]
    snapshot = it.ledger.snapshot()
    assert after <= snapshot.now < after + LONG
    assert people - 1 <= snapshot.now - snapshot.offset <= it.redis.time()[0] + 1


@pytest.mark.parametrize("step", STEPS)
def test_evaluations_go_on_when_redis_clock_steps(
    it: Office, clock: RedisClock, step: float
) -> None:
    it.publish(2)
    it.scaler.evaluate(it.lease())
    assert it.platform.quantity == {"worker": 2}
    clock.step(step)
    it.publish(2)
    it.scaler.evaluate(it.lease())
    # Twice, where the call interval has not passed by then.
    if it.platform.quantity != {"worker": 4}:
        it.scaler.evaluate(it.lease())
    assert it.platform.quantity == {"worker": 4}


@pytest.mark.parametrize("step", [0, *STEPS])
def test_a_newcomer_hires_from_zero_at_once_when_redis_clock_has_stepped(
    it: Office, clock: RedisClock, url: str, step: float
) -> None:
    it.report(worker())
    it.ledger.report(Batch(), worker().id)  # nobody works any more
    it.scaler.evaluate(it.lease())
    clock.step(step)
    with office(url, call_interval=1) as newcomer:
        newcomer.publish()
        newcomer.report()
        assert newcomer.leases


def test_a_dead_scalers_lock_does_not_outlast_a_clock_that_steps_back(
    it: Office, clock: RedisClock
) -> None:
    it.lease()  # and nobody evaluates
    clock.step(-300)
    it.publish()
    it.report()
    assert 0 < lock_left(it) <= LOCK_SECONDS


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("told", [True, False], ids=["before a report", "after the last one"])
def test_a_fire_of_unknown_outcome_is_no_sooner_settled_when_redis_clock_steps(
    it: Office, clock: RedisClock, step: float, told: bool
) -> None:
    lease, state, changes = it.lease(), it.state(), Changes()
    PoolWriter(state, changes).firing(1, state.now + LONG)
    it.ledger.commit(lease, changes, next_in=1.0)
    clock.step(step)
    if told:
        it.report()
    state = it.state()
    assert state.unsettled == 1
    assert state.fire is not None
    assert 0 < state.fire.until - state.now <= LONG + 10


@pytest.mark.parametrize("step", [-300, -3, 300])
def test_a_newcomer_takes_no_step_for_time_that_has_passed(
    it: Office, clock: RedisClock, url: str, step: float
) -> None:
    before = it.report(worker()).now
    clock.step(step)
    with office(url, call_interval=1) as newcomer:
        assert 0 <= newcomer.report().now - before < LONG
    assert 0 <= it.report().now - before < LONG


def test_a_newcomer_believes_that_time_has_passed_in_which_nobody_told(
    it: Office, clock: RedisClock, url: str
) -> None:
    it.report(worker())
    before = it.ledger.report(Batch(), worker().id).now  # it says goodbye
    clock.step(300)
    with office(url, call_interval=1) as newcomer:
        assert newcomer.report().now - before >= 300


@pytest.mark.parametrize("newcomer_first", [True, False])
@pytest.mark.parametrize("at_work", [True, False])
def test_what_may_still_take_effect_is_not_forgotten_for_a_long_step(
    it: Office, clock: RedisClock, url: str, newcomer_first: bool, at_work: bool
) -> None:
    """A newcomer cannot tell it from a silence of hours, and must not act on that either."""
    lease, state, changes = it.lease(), it.state(), Changes()
    PoolWriter(state, changes).firing(1, state.now + LONG)
    changes.set["called_at"] = str(round(state.now * 1000))
    it.ledger.commit(lease, changes, next_in=0.0)
    if at_work:
        it.report(worker())
    clock.step(14_400)
    with office(url, call_interval=LONG) as newcomer:
        for reporter in (newcomer, it) if newcomer_first else (it, newcomer):
            reporter.report()
            state = newcomer.state()
            assert state.unsettled == 1
            assert state.fire is not None
            assert 0 < state.fire.until - state.now <= LONG + 10
            called = newcomer.ledger.snapshot().time("called_at")
            assert state.now - called < LONG


def test_what_can_take_effect_no_more_is_settled_though_scripts_alone_come(
    it: Office, clock: RedisClock, url: str
) -> None:
    """Each is a newcomer, and most of the time nobody tells."""
    lease, state, changes = it.lease(), it.state(), Changes()
    PoolWriter(state, changes).firing(1, state.now + LONG)
    changes.set["called_at"] = str(round(state.now * 1000))
    it.ledger.commit(lease, changes, next_in=0.0)
    for unsettled in (1, None):
        clock.step(3600)
        with office(url, call_interval=LONG) as script:
            script.report()
            state = script.state()
            assert state.unsettled == unsettled
            fire = script.ledger.snapshot().document("worker/fire")
            assert fire.keys() <= {"to", "until", "done", "on_roster"}  # what old releases know
            # A reading of the quantity, say.
            script.redis.hset(script.ledger.keys["state"], "called_at", round(state.now * 1000))


def test_the_last_call_is_not_always_just_now_though_scripts_alone_come(
    it: Office, clock: RedisClock, url: str
) -> None:
    lease, now, changes = it.lease(), it.state().now, Changes()
    changes.set["called_at"] = str(round(now * 1000))
    it.ledger.commit(lease, changes, next_in=0.0)
    for recent in (True, False):
        clock.step(3600)
        with office(url, call_interval=LONG) as script:
            now = script.report().now
            called = script.ledger.snapshot().time("called_at")
            assert (now - called < LONG) == recent


def test_who_has_heard_the_time_puts_right_what_a_newcomer_took_for_a_step(
    it: Office, clock: RedisClock, url: str
) -> None:
    before = it.report(worker()).now
    key, away = it.ledger.keys["state"], 50.0
    # As if all that was told had been told so long ago, and they could not reach Redis since.
    heard = it.ledger._heard
    assert heard is not None
    it.ledger._heard = replace(heard, sent=heard.sent - away, received=heard.received - away)
    clock.step(int(away))
    with office(url, call_interval=1) as newcomer:
        newcomer.report()
    assert it.report().now - before >= away
    assert float(it.redis.hget(key, "clock") or 0) / 1000 < 1.0


@pytest.mark.parametrize("step", STEPS)
def test_the_next_evaluation_is_due_in_time_when_redis_clock_steps_during_one(
    it: Office, clock: RedisClock, step: float
) -> None:
    lease = it.lease()
    it.redis.pexpire(it.ledger.keys["lock"], 100_000_000)  # else it would run out by the step alone
    began = it.ledger.snapshot().now
    clock.step(step)
    it.ledger.commit(lease, Changes(), next_in=1.0)
    assert 0 < it.ledger.snapshot().time("next_at") - began < LONG


def test_nobody_looks_silent_when_redis_clock_steps_forth(it: Office, clock: RedisClock) -> None:
    since = it.report(worker()).now
    clock.step(300)
    it.publish()
    it.report()
    snapshot = it.ledger.snapshot()
    (presence,) = snapshot.presences
    assert snapshot.now - presence.seen < LONG
    assert snapshot.now - since < LONG


def test_no_silent_worker_is_taken_for_living_when_redis_clock_steps_back(
    it: Office, clock: RedisClock
) -> None:
    it.report(worker())
    seen = it.ledger.snapshot().presences[0].seen
    clock.step(-300)
    it.report()
    first = it.ledger.snapshot()
    assert first.presences[0].seen == seen <= first.now
    wait_for(lambda: it.report().now > first.now, message="time does not pass for it")


@pytest.mark.parametrize("step", STEPS)
def test_no_scheduled_task_is_late_because_redis_clock_steps(
    it: Office, clock: RedisClock, step: float
) -> None:
    it.publish(due_in=600)
    told = it.report().now
    clock.step(step)
    it.report()
    state = it.state()
    (due,) = state.buckets
    assert 580 - LONG < due - state.now <= 600 - (state.now - told) + 10


@pytest.mark.parametrize("step", [-0.5, -300.0])
def test_no_two_cordons_are_drawn_at_one_time(it: Office, clock: RedisClock, step: float) -> None:
    """A worker that has stopped for the first would be taken to have stopped for the second."""
    times = []
    for _ in range(4):
        lease = it.lease()
        snapshot = it.ledger.snapshot()
        cordon = Cordon().move(0, frozenset(), (), snapshot.now)
        times.append(cordon.at)
        changes = Changes(set={"evaluated_at": str(round(snapshot.now * 1000))})
        it.ledger.commit(lease, changes, next_in=0.0)
        clock.step(step)
    assert times == sorted(set(times))


@pytest.mark.parametrize("known", [True, False], ids=["all", "without told_at"])
def test_evaluations_go_on_in_a_new_process_when_all_times_are_ahead(
    redis_url: str, known: bool
) -> None:
    """The same without a stepping clock: what a clock that has stepped back leaves behind."""
    with office(redis_url, call_interval=1) as before:
        before.publish(2)
        before.report(worker())
        before.scaler.evaluate(before.lease())
        assert before.platform.quantity == {"worker": 2}
        # As if one of them had come up.
        before.redis.hdel(before.ledger.keys["state"], "worker/unheard")
        before.lease()  # and nobody evaluates
        move_times(before.ledger, 300, known=known)
    with office(redis_url, call_interval=1) as it:
        it.platform.quantity = {"worker": 2}
        counted_at: Any = it.redis.hget(it.ledger.keys["state"], "worker/counted_at")
        # Before that, the count would be believed to have seen what is published.
        wait_for(lambda: it.report().now > float(counted_at) / 1000)
        it.publish(2)
        wait_for(lambda: it.report() and lock_left(it) <= LOCK_SECONDS)
        it.redis.delete(it.ledger.keys["lock"])
        it.scaler.evaluate(it.lease())
        if it.platform.quantity != {"worker": 4}:
            it.scaler.evaluate(it.lease())
        assert it.platform.quantity == {"worker": 4}


def move_times(ledger: RedisLedger, seconds: float, *, known: bool) -> None:
    """Move all times that the ledger has so far ahead; without the newest if it is not *known*."""
    client, keys = ledger.redis, ledger.keys
    state: Any = client.hgetall(keys["state"])
    for name, value in state.items():
        if re.search("(_at|_since|_until)$", name) and (known or name != "told_at"):
            client.hset(keys["state"], name, str(int(value) + int(seconds * 1000)))
        elif value.startswith("{"):
            document = json.loads(value)
            for field in {"at", "until", "since", "restore_at"} & document.keys():
                if isinstance(document[field], float):
                    document[field] += seconds
            client.hset(keys["state"], name, json.dumps(document))
    workers: Any = client.hgetall(keys["workers"])
    for name, told in workers.items():
        seen, _, document = told.partition(" ")
        client.hset(keys["workers"], name, f"{int(seen) + int(seconds * 1000)} {document}")
    left: Any = client.pttl(keys["lock"])
    if left > 0:
        client.pexpire(keys["lock"], left + int(seconds * 1000))
