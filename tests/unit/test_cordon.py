"""Who is cordoned, since when, and what a worker makes of it."""

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
    drawn = cordon(2)
    assert [drawn.holds(f"worker.{n}") for n in (1, 2, 3, 10)] == [False, False, True, True]
    assert drawn.holds(FIR)
    assert drawn


def test_a_cordon_holds_names() -> None:
    drawn = cordon(None, FIR)
    assert drawn.holds(FIR)
    assert not drawn.holds("worker.1")
    assert drawn


def test_no_cordon_holds_nobody() -> None:
    assert not Cordon()
    assert not Cordon().holds("worker.1")
    assert not Cordon().holds(FIR)


def test_a_cordon_drawn_again_as_it_was_stays_the_same_one() -> None:
    drawn = cordon(1, worker_2=DRAWN - 5)
    again = drawn.redrawn(1, frozenset(), workers(3), NOW)
    assert again.at == DRAWN
    assert again.since == {"worker.2": DRAWN - 5, "worker.3": NOW}


def test_another_cordon_has_another_time_but_the_cordoned_keep_theirs() -> None:
    drawn = cordon(1, worker_2=DRAWN, worker_3=DRAWN)
    again = drawn.redrawn(2, frozenset(), workers(4), NOW)
    assert again.at == NOW
    assert again.since == {"worker.3": DRAWN, "worker.4": NOW}


def test_uncordoned_and_cordoned_again_counts_anew() -> None:
    lifted = cordon(1, worker_2=DRAWN).redrawn(None, frozenset(), workers(2), NOW)
    assert not lifted
    assert lifted.redrawn(1, frozenset(), workers(2), NOW + 9).since == {"worker.2": NOW + 9}


def test_names_under_a_cordon_keep_their_times_too() -> None:
    other = "worker-aaaaa-bbbbb"
    drawn = Cordon(None, frozenset({FIR}), DRAWN, {FIR: DRAWN})
    again = drawn.redrawn(None, frozenset({FIR, other}), [FIR, other], NOW)
    assert again.since == {FIR: DRAWN, other: NOW}


def test_what_is_packed_is_unpacked() -> None:
    for drawn in (cordon(3, worker_4=NOW), cordon(None, "b", "a"), Cordon()):
        assert unpack_cordon(pack_cordon(drawn)) == drawn
    assert unpack_cordon(None) == Cordon()


# -- what a worker obeys


def test_a_worker_obeys_the_cordon_that_holds_it() -> None:
    orders = Orders("worker.3", NOW)
    for told in (cordon(2), cordon(None, "worker.3")):
        orders.hear(told, NOW, lost=False)
        assert orders.cordon(NOW) == told
        orders.hear(cordon(3), NOW, lost=False)
        assert not orders.cordon(NOW)


def test_who_has_never_heard_of_the_ledger_waits_until_nothing_can_stop_it_unseen() -> None:
    orders = Orders("worker.3", NOW)
    for later in (0.0, LOCK_SECONDS + DOTTED.settles_within):
        cordoned = orders.cordon(NOW + later)
        assert cordoned.holds("worker.3")
        assert not cordoned.at, "it does not confirm any scaler's cordon"
    assert not orders.cordon(NOW + DOTTED.hears_within)
    orders.hear(Cordon(), NOW + 1, lost=False)
    assert not orders.cordon(NOW + 1)


def test_a_cordon_lost_with_the_ledger_is_kept_for_a_while() -> None:
    orders = Orders("worker.3", NOW)
    orders.hear(cordon(2), NOW, lost=False)
    for later in (0.0, KEEPS_CORDON - 0.1):
        orders.hear(Cordon(), NOW + later, lost=later == 0.0)
        assert orders.cordon(NOW + later) == cordon(2)
    redrawn = cordon(1, at=NOW + 1)
    orders.hear(redrawn, NOW + 1, lost=False)
    assert orders.cordon(NOW + 1) == redrawn
    orders.hear(Cordon(), NOW + KEEPS_CORDON, lost=False)
    assert not orders.cordon(NOW + KEEPS_CORDON)


def test_who_was_not_cordoned_when_the_ledger_was_lost_goes_on() -> None:
    orders = Orders("worker.3", NOW)
    orders.hear(Cordon(), NOW, lost=True)
    assert not orders.cordon(NOW)
