"""Redis may lose its data while a change is under way: what may still happen is not forgotten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.model import Changes, LeaseLost
from celery_middle_management.ledger.pool import PoolWriter
from tests.integration.office import Office, office

#: Until what was sent is settled (s).
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
    """As who sends changes to the platform and gets no answer."""
    lease, state, changes = it.lease(), it.state(), Changes()
    writer = PoolWriter(state, changes)
    if fire is not None:
        writer.firing(fire, state.now + LONG)
    if hire is not None:
        writer.hiring(hire, state.now + LONG)
    it.ledger.commit(lease, changes, next_in=0.0)


def test_a_fire_under_way_is_told_anew_by_who_sent_it(it: Office) -> None:
    send(it, fire=1)
    it.redis.flushdb()
    it.report()
    state = it.state()
    assert state.unsettled == 1
    assert state.fire is not None
    assert LONG - 10 < state.fire.until - state.now <= LONG + 10


def test_a_hire_under_way_is_told_anew_by_who_has_heard_of_it(it: Office, other: Office) -> None:
    send(it, hire=4)
    other.report()
    it.redis.flushdb()
    other.report()
    assert it.state().ceiling == 4


def test_who_comes_first_and_knows_nothing_is_told_by_who_comes_later(
    it: Office, other: Office
) -> None:
    send(it, fire=2)
    it.redis.flushdb()
    other.report()
    assert it.state().unsettled is None
    it.report()
    assert it.state().unsettled == 2


def test_it_is_looked_at_at_once(it: Office, other: Office) -> None:
    send(it, fire=2)
    it.redis.flushdb()
    other.ledger.commit(other.lease(), Changes(), next_in=60.0)
    it.report()
    assert it.lease()


def test_of_two_fires_the_lower_one_counts_and_the_later_end(it: Office, other: Office) -> None:
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
def test_what_is_settled_is_not_told_anew(it: Office, other: Office) -> None:
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


def test_what_was_answered_is_not_told_anew_though_redis_could_not_write_it(it: Office) -> None:
    send(it, fire=1)
    lease, changes = it.lease(), Changes()
    PoolWriter(it.state(), changes).fire_settled()
    it.redis.flushdb()
    with pytest.raises(LeaseLost):
        it.ledger.commit(lease, changes)
    it.report()
    assert it.state().unsettled is None


def test_what_was_not_sent_for_it_could_not_be_announced_is_not_told(it: Office) -> None:
    lease, state, changes = it.lease(), it.state(), Changes()
    PoolWriter(state, changes).firing(1, state.now + LONG)
    it.redis.flushdb()
    with pytest.raises(LeaseLost):
        it.ledger.commit(lease, changes)
    it.report()
    assert it.state().unsettled is None


def test_only_who_has_lost_its_data_has_lost_it(it: Office) -> None:
    """Redis may evict single keys: a cordon that it has kept holds nobody longer than it lasts."""
    worker = Presence("a", "worker.1", "worker", since=0.0, seen=0.0)
    born = it.report(worker).born
    it.redis.delete(it.ledger.keys["workers"])
    assert it.report(worker).born == born
    it.redis.delete(it.ledger.keys["state"])
    again = it.report(worker).born
    assert again != born
    assert it.report(worker).born == again


def test_what_is_there_is_not_told_anew(it: Office) -> None:
    """Redis has lost nothing, and somebody else has settled it."""
    send(it, fire=1)
    it.redis.hdel(it.ledger.keys["state"], "worker/fire", "sent")
    it.report()
    assert it.state().unsettled is None


@pytest.mark.parametrize("sent", [{"fire": 1}, {"hire": 4}])
def test_whom_it_may_stop_is_cordoned_before_anybody_evaluates(
    it: Office, other: Office, sent: dict[str, int]
) -> None:
    """Who would evaluate may be dead, and another only comes when its lock has run out."""
    send(it, **sent)
    it.redis.flushdb()
    other.lease()
    reply = it.report(Presence("a", "worker.5", "worker", since=0.0, seen=0.0))
    assert reply.cordon.above in sent.values()
    assert it.state().cordon.holds("worker.5")


def test_a_cordon_drawn_since_is_drawn_where_it_must_be(it: Office, other: Office) -> None:
    send(it, fire=1, hire=5)
    it.redis.flushdb()
    lease, state, changes = other.lease(), other.state(), Changes()
    drawn = Cordon(3, frozenset({"worker.1"}), state.now, {"worker.4": state.now})
    PoolWriter(state, changes).cordon(drawn)
    other.ledger.commit(lease, changes, next_in=60.0)
    it.report()
    cordon = it.state().cordon
    assert (cordon.above, cordon.names, cordon.since.keys()) == (1, drawn.names, drawn.since.keys())
    assert cordon.at > drawn.at  # so that nobody's confirmation of the old one is taken for this


def test_a_cordon_that_is_wide_enough_stays(it: Office, other: Office) -> None:
    send(it, fire=3)
    it.redis.flushdb()
    lease, state, changes = other.lease(), other.state(), Changes()
    PoolWriter(state, changes).cordon(Cordon(above=2, at=state.now))
    other.ledger.commit(lease, changes, next_in=60.0)
    it.report()
    assert it.state().cordon == Cordon(above=2, at=state.now)
