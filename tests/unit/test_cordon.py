"""Cordons: which workers they hold and since when, and which cordon a worker follows."""

from __future__ import annotations

from celery_middle_management.core.cordon import Cordon, Orders
from celery_middle_management.core.timing import KEEPS_CORDON, LOCK_SECONDS
from celery_middle_management.core.traits import DOTTED
from celery_middle_management.ledger.codec import pack_cordon, unpack_cordon

from .pools import DRAWN, NOW, cordon

FIR = "worker-23z34x56y-w78k9"


def workers(quantity: int) -> list[str]:
    return [f"worker.{n}" for n in range(1, quantity + 1)]


def test_a_cordon_holds_those_numbered_above() -> None:
    current = cordon(2)
    assert [current.holds(f"worker.{n}") for n in (1, 2, 3, 10)] == [False, False, True, True]
    assert current.holds(FIR)
    assert current


def test_a_cordon_holds_names() -> None:
    current = cordon(None, FIR)
    assert current.holds(FIR)
    assert not current.holds("worker.1")
    assert current


def test_no_cordon_holds_no_worker() -> None:
    assert not Cordon()
    assert not Cordon().holds("worker.1")
    assert not Cordon().holds(FIR)


def test_a_cordon_moved_to_where_it_is_stays_the_same_one() -> None:
    current = cordon(1, worker_2=DRAWN - 5)
    again = current.move(1, frozenset(), workers(3), NOW)
    assert again.at == DRAWN
    assert again.since == {"worker.2": DRAWN - 5, "worker.3": NOW}


def test_a_moved_cordon_has_another_time_but_the_cordoned_keep_theirs() -> None:
    current = cordon(1, worker_2=DRAWN, worker_3=DRAWN)
    again = current.move(2, frozenset(), workers(4), NOW)
    assert again.at == NOW
    assert again.since == {"worker.3": DRAWN, "worker.4": NOW}


def test_a_worker_cordoned_again_has_a_new_time() -> None:
    lifted = cordon(1, worker_2=DRAWN).move(None, frozenset(), workers(2), NOW)
    assert not lifted
    assert lifted.move(1, frozenset(), workers(2), NOW + 9).since == {"worker.2": NOW + 9}


def test_cordoned_names_keep_their_times_too() -> None:
    other = "worker-aaaaa-bbbbb"
    current = Cordon(None, frozenset({FIR}), DRAWN, {FIR: DRAWN})
    again = current.move(None, frozenset({FIR, other}), [FIR, other], NOW)
    assert again.since == {FIR: DRAWN, other: NOW}


def test_what_is_packed_is_unpacked() -> None:
    for current in (cordon(3, worker_4=NOW), cordon(None, "b", "a"), Cordon()):
        assert unpack_cordon(pack_cordon(current)) == current
    assert unpack_cordon(None) == Cordon()


# -- which cordon a worker follows


def test_a_worker_follows_the_cordon_that_holds_it() -> None:
    orders = Orders("worker.3", NOW)
    for current in (cordon(2), cordon(None, "worker.3")):
        orders.receive(current, NOW, lost=False)
        assert orders.cordon(NOW) == current
        orders.receive(cordon(3), NOW, lost=False)
        assert not orders.cordon(NOW)


def test_a_worker_that_cannot_reach_the_ledger_waits_until_no_unseen_call_can_stop_it() -> None:
    orders = Orders("worker.3", NOW)
    for later in (0.0, LOCK_SECONDS + DOTTED.takes_effect_within):
        cordoned = orders.cordon(NOW + later)
        assert cordoned.holds("worker.3")
        assert not cordoned.at, "it does not confirm any scaler's cordon"
    assert not orders.cordon(NOW + DOTTED.waits_for_ledger)
    orders.receive(Cordon(), NOW + 1, lost=False)
    assert not orders.cordon(NOW + 1)


def test_a_cordon_lost_with_the_ledger_is_kept_for_a_while() -> None:
    orders = Orders("worker.3", NOW)
    orders.receive(cordon(2), NOW, lost=False)
    for later in (0.0, KEEPS_CORDON - 0.1):
        orders.receive(Cordon(), NOW + later, lost=later == 0.0)
        assert orders.cordon(NOW + later) == cordon(2)
    moved = cordon(1, at=NOW + 1)
    orders.receive(moved, NOW + 1, lost=False)
    assert orders.cordon(NOW + 1) == moved
    orders.receive(Cordon(), NOW + KEEPS_CORDON, lost=False)
    assert not orders.cordon(NOW + KEEPS_CORDON)


def test_a_worker_that_was_not_cordoned_when_the_ledger_was_lost_goes_on() -> None:
    orders = Orders("worker.3", NOW)
    orders.receive(Cordon(), NOW, lost=True)
    assert not orders.cordon(NOW)
