"""Redis loses its data while a call is in flight: it is not forgotten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.model import Changes, LeaseLost
from celery_middle_management.ledger.pool import PoolWriter
from tests.integration.office import Office, office

#: A call can take effect for this long (s).
LONG = 60.0


@pytest.fixture
def it(redis_url: str) -> Iterator[Office]:
    """The process that evaluates."""
    with office(redis_url) as found:
        yield found


@pytest.fixture
def other(redis_url: str) -> Iterator[Office]:
    """Another process of the app."""
    with office(redis_url) as found:
        yield found


def send(it: Office, *, fire: int | None = None, hire: int | None = None) -> None:
    """Send changes to the platform and get no answer."""
    lease, state, changes = it.lease(), it.state(), Changes()
    writer = PoolWriter(state, changes)
    if fire is not None:
        writer.firing(fire, state.now + LONG)
    if hire is not None:
        writer.hiring(hire, state.now + LONG)
    it.ledger.commit(lease, changes, next_in=0.0)


def test_a_fire_in_flight_is_reported_again_by_its_sender(it: Office) -> None:
    send(it, fire=1)
    it.redis.flushdb()
    it.report()
    state = it.state()
    assert state.unsettled == 1
    assert state.fire is not None
    assert LONG - 10 < state.fire.until - state.now <= LONG + 10


def test_a_hire_in_flight_is_reported_again_by_a_process_that_knows_of_it(
    it: Office, other: Office
) -> None:
    send(it, hire=4)
    other.report()
    it.redis.flushdb()
    other.report()
    assert it.state().ceiling == 4


def test_a_process_that_knows_of_the_call_may_report_after_one_that_does_not(
    it: Office, other: Office
) -> None:
    send(it, fire=2)
    it.redis.flushdb()
    other.report()
    assert it.state().unsettled is None
    it.report()
    assert it.state().unsettled == 2


def test_an_evaluation_is_due_at_once(it: Office, other: Office) -> None:
    send(it, fire=2)
    it.redis.flushdb()
    other.ledger.commit(other.lease(), Changes(), next_in=60.0)
    it.report()
    assert it.lease()


def test_of_two_fires_the_lower_quantity_and_the_later_end_count(it: Office, other: Office) -> None:
    send(it, fire=1)
    it.redis.flushdb()
    lease, state, changes = other.lease(), other.state(), Changes()
    PoolWriter(state, changes).firing(3, state.now + 2 * LONG)
    other.ledger.commit(lease, changes, next_in=60.0)
    it.report()
    state = it.state()
    assert state.unsettled == 1
    assert state.fire is not None
    assert state.fire.until - state.now > 1.5 * LONG


@pytest.mark.slow
def test_a_call_that_has_ended_is_not_reported_again(it: Office, other: Office) -> None:
    send(it, fire=1, hire=4)
    other.report()
    lease, state, changes = it.lease(), it.state(), Changes()
    writer = PoolWriter(state, changes)
    writer.fire_settled()
    changes.unset["worker/hire"] = None
    it.ledger.commit(lease, changes, next_in=0.0)
    assert "sent" not in it.ledger.snapshot().state
    other.report()
    it.redis.flushdb()
    other.report()
    it.report()
    state = it.state()
    assert state.unsettled is None
    assert state.ceiling is None


def test_an_answered_call_is_not_reported_again_though_redis_could_not_write_the_answer(
    it: Office,
) -> None:
    send(it, fire=1)
    lease, changes = it.lease(), Changes()
    PoolWriter(it.state(), changes).fire_settled()
    it.redis.flushdb()
    with pytest.raises(LeaseLost):
        it.ledger.commit(lease, changes)
    it.report()
    assert it.state().unsettled is None


def test_a_call_that_could_not_be_announced_is_not_reported(it: Office) -> None:
    lease, state, changes = it.lease(), it.state(), Changes()
    PoolWriter(state, changes).firing(1, state.now + LONG)
    it.redis.flushdb()
    with pytest.raises(LeaseLost):
        it.ledger.commit(lease, changes)
    it.report()
    assert it.state().unsettled is None


def test_the_ledger_has_lost_its_data_only_if_its_name_is_gone(it: Office) -> None:
    """If Redis evicts another key, workers do not keep a cordon longer than the ledger does."""
    worker = Presence("a", "worker.1", "worker", since=0.0, seen=0.0)
    born = it.report(worker).born
    it.redis.delete(it.ledger.keys["workers"])
    assert it.report(worker).born == born
    it.redis.delete(it.ledger.keys["state"])
    again = it.report(worker).born
    assert again != born
    assert it.report(worker).born == again


def test_a_call_is_not_reported_again_to_a_ledger_with_its_data(it: Office) -> None:
    """Redis has lost nothing: another process has found that the call has ended."""
    send(it, fire=1)
    it.redis.hdel(it.ledger.keys["state"], "worker/fire", "sent")
    it.report()
    assert it.state().unsettled is None


@pytest.mark.parametrize("sent", [{"fire": 1}, {"hire": 4}])
def test_workers_that_it_may_stop_are_cordoned_before_an_evaluation(
    it: Office, other: Office, sent: dict[str, int]
) -> None:
    """The holder of the lock may be dead, and another takes over only when it has run out."""
    send(it, **sent)
    it.redis.flushdb()
    other.lease()
    reply = it.report(Presence("a", "worker.5", "worker", since=0.0, seen=0.0))
    assert reply.cordon.above in sent.values()
    assert it.state().cordon.holds("worker.5")


def test_a_cordon_set_since_is_moved_to_where_it_must_be(it: Office, other: Office) -> None:
    send(it, fire=1, hire=5)
    it.redis.flushdb()
    lease, state, changes = other.lease(), other.state(), Changes()
    before = Cordon(3, frozenset({"worker.1"}), state.now, {"worker.4": state.now})
    PoolWriter(state, changes).cordon(before)
    other.ledger.commit(lease, changes, next_in=60.0)
    it.report()
    cordon = it.state().cordon
    assert (cordon.above, cordon.names, cordon.since.keys()) == (
        1,
        before.names,
        before.since.keys(),
    )
    # So that a worker's confirmation of the old one is not taken for one of this.
    assert cordon.at > before.at


def test_a_cordon_that_is_wide_enough_stays(it: Office, other: Office) -> None:
    send(it, fire=3)
    it.redis.flushdb()
    lease, state, changes = other.lease(), other.state(), Changes()
    PoolWriter(state, changes).cordon(Cordon(above=2, at=state.now))
    other.ledger.commit(lease, changes, next_in=60.0)
    it.report()
    assert it.state().cordon == Cordon(above=2, at=state.now)
