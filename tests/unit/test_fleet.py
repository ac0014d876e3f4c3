"""Which workers are drained, which are gone, and which may be fired."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from celery_middle_management.core.fleet import BOOT_TIME, OUTLIVED
from celery_middle_management.core.timing import SILENT
from celery_middle_management.core.traits import DOTTED

from .pools import DRAWN, NOW, cordon, fleet, presence, workers

LONG_AGO = NOW - DOTTED.surely_killed
FIR = "worker-23z34x56y-w78k9"


# -- workers that are gone


def test_a_silent_worker_that_is_still_up_is_not_gone() -> None:
    assert not fleet(presence("worker.2", seen=NOW - 9999), quantity=2).gone


def test_no_worker_is_gone_before_the_platform_surely_killed_it() -> None:
    old = presence("worker.2", id="old", seen=LONG_AGO + 0.1)
    new = presence("worker.2", since=LONG_AGO + 0.2)
    assert old not in fleet(old, new, quantity=1, running=frozenset()).gone


def test_replaced_and_silent_is_gone() -> None:
    old = presence("worker.2", id="old", seen=LONG_AGO - 10)
    new = presence("worker.2", since=LONG_AGO)
    both = fleet(old, new, presence("worker.1"), quantity=2)
    assert old in both.gone
    assert new not in both.gone
    assert both.living == (new, presence("worker.1"))


def test_killed_after_its_successor_came_up_is_gone_too() -> None:
    old = presence("worker.2", id="old", since=NOW - 900, seen=LONG_AGO)
    new = presence("worker.2", since=LONG_AGO - 20)
    assert old in fleet(old, new, quantity=2).gone


def test_silent_but_its_successor_has_only_just_come_up() -> None:
    old = presence("worker.2", id="old", seen=NOW - 300)
    new = presence("worker.2", since=NOW - 5)
    assert old not in fleet(old, new, quantity=2).gone


@pytest.mark.parametrize(("silent_for", "gone"), [(OUTLIVED - 1, False), (OUTLIVED, True)])
def test_outlived_by_one_that_came_up_sooner_is_gone_in_the_end(
    silent_for: float, gone: bool
) -> None:
    lost = presence("worker.2", seen=NOW - silent_for, since=NOW - 800)
    both = fleet(lost, presence("worker.2", since=NOW - 900), quantity=2)
    assert (lost in both.gone) is gone
    assert lost not in fleet(lost, presence("worker.2", seen=LONG_AGO, since=1.0), quantity=2).gone
    assert lost not in fleet(lost, presence("worker.1"), quantity=2).gone


def test_replaced_by_another_name_is_not_replaced() -> None:
    old = presence("worker.2", seen=LONG_AGO - 10)
    assert old not in fleet(old, presence("worker.1", since=LONG_AGO), quantity=2).gone


def test_silent_and_not_running_is_gone() -> None:
    old = presence("worker.2", seen=LONG_AGO)
    assert old in fleet(old, quantity=2, running=frozenset({"worker.1"})).gone
    assert old not in fleet(old, quantity=2, running=frozenset({"worker.2"})).gone


def test_silent_and_above_the_quantity_is_gone() -> None:
    old = presence("worker.3", seen=LONG_AGO)
    assert old in fleet(old, quantity=2).gone
    assert old not in fleet(old).gone
    assert not fleet(presence(FIR, seen=LONG_AGO), quantity=0).gone


@pytest.mark.parametrize(
    ("said", "more"),
    [({}, True), ({"closing": True}, False), ({"seen": NOW - SILENT - 1}, False)],
)
def test_a_worker_at_work_above_the_quantity_was_hired_by_hand(
    said: dict[str, Any], more: bool
) -> None:
    by_hand = presence("worker.3", **said)
    assert fleet(by_hand, quantity=2).more_than_known() is more
    assert not fleet(by_hand, quantity=3).more_than_known()
    assert not fleet(by_hand).more_than_known()
    assert fleet(presence(FIR, **said), quantity=0).more_than_known() is more
    assert not fleet(presence(FIR, **said), quantity=1).more_than_known()


def test_a_worker_that_was_there_when_there_was_no_place_for_it_is_to_be_stopped() -> None:
    there = presence("worker.3", since=NOW - 60)
    for asked, doomed in ((NOW - 61, False), (NOW - 60, True), (NOW, True)):
        asked_then = fleet(there, quantity=2, quantity_at=asked)
        assert asked_then.doomed is doomed
        assert asked_then.more_than_known() is not doomed
    assert not fleet(there, quantity=3, quantity_at=NOW).doomed
    assert not fleet(presence(FIR), quantity=0, quantity_at=NOW).doomed
    gone = presence("worker.3", seen=LONG_AGO)
    assert not fleet(gone, quantity=2, quantity_at=NOW).doomed


def test_leaving_are_those_that_give_back_what_they_hold_and_those_that_may_have() -> None:
    stays, closes = presence("worker.1"), presence("worker.2", closing=True)
    fired, silent = presence("worker.3"), presence("worker.4", seen=NOW - SILENT - 1)
    gone = presence("worker.5", seen=LONG_AGO)
    assert fleet(stays, closes, fired, silent, gone, quantity=2).leaving == (closes, fired, silent)
    assert fleet(stays, closes, fired, silent).leaving == (closes, silent)
    # Without numbered names any worker may be stopped; with a quantity of 0, all are.
    assert fleet(presence(FIR), quantity=1).leaving == ()
    assert fleet(presence(FIR), quantity=0).leaving == (presence(FIR),)
    gives = presence("worker.1", returning=300)
    assert fleet(gives, closes).leaving == (gives, closes)


def test_no_worker_is_drained_before_it_has_given_back_what_it_holds_for_later() -> None:
    drawn = cordon(0)
    gives = fleet(presence("worker.1", stopped=DRAWN, returning=300))
    assert not gives.drained("worker.1", drawn)
    assert not gives.idle(drawn)
    # It runs nothing. Where any worker may be stopped, all are cordoned and return their tasks.
    assert not gives.busy()
    gave = fleet(presence("worker.1", stopped=DRAWN))
    assert gave.drained("worker.1", drawn)
    stops = fleet(presence("worker.1", closing=True, returning=300))
    assert stops.drained("worker.1", drawn), "it was told to stop already"


# -- names


def test_numbered_names_follow_from_the_quantity() -> None:
    assert fleet(*workers(1)).names(3) == ("worker.1", "worker.2", "worker.3")
    assert not fleet(*workers(1)).unordered


def test_other_names_are_those_heard_of() -> None:
    names = ("worker-ccccc-ddddd", "worker-aaaaa-bbbbb")
    heard = fleet(*(presence(n) for n in names), presence(names[0], id="again"))
    assert heard.unordered
    assert heard.names(5) == tuple(sorted(names))


# -- drained


def test_no_worker_outside_the_cordon_is_drained() -> None:
    idle = presence("worker.1", stopped=DRAWN)
    assert not fleet(idle).drained("worker.1", cordon(1))


@pytest.mark.parametrize(
    ("said", "drained"),
    [
        ({"stopped": DRAWN}, True),
        ({"stopped": 0.0}, False),  # still consumes
        ({"stopped": DRAWN - 9}, False),  # speaks of an earlier cordon
        ({"stopped": DRAWN, "busy": 1}, False),
        ({"stopped": DRAWN, "seen": NOW - SILENT}, True),
        ({"stopped": DRAWN, "seen": NOW - SILENT - 0.1}, False),  # it may have begun again
        ({"closing": True}, True),
        ({"closing": True, "busy": 1}, False),
        ({"closing": True, "seen": NOW - 9999}, False),
    ],
)
def test_a_worker_is_drained_that_says_while_cordoned_that_it_runs_nothing(
    said: dict[str, Any], drained: bool
) -> None:
    assert fleet(presence("worker.2", **said)).drained("worker.2", cordon(1)) is drained


def test_consuming_is_no_confirmation_of_a_cordon_without_a_time() -> None:
    assert not fleet(*workers(2)).drained("worker.2", cordon(1, at=0.0))


@pytest.mark.parametrize("other_busy", [0, 1])
def test_a_name_is_drained_when_every_process_with_it_is(other_busy: int) -> None:
    old = presence("worker.2", id="old", closing=True, busy=other_busy)
    new = presence("worker.2", id="new", stopped=DRAWN)
    assert fleet(old, new).drained("worker.2", cordon(1)) is not other_busy


def test_a_silent_bearer_forbids_it_until_it_is_surely_gone() -> None:
    new = presence("worker.2", since=LONG_AGO - 1, stopped=DRAWN)
    for seen, drained in ((LONG_AGO + 1, False), (LONG_AGO, True)):
        old = presence("worker.2", id="old", busy=1, seen=seen)
        assert fleet(old, new, quantity=2).drained("worker.2", cordon(1)) is drained


def test_a_worker_that_is_not_running_is_drained() -> None:
    up = frozenset({"worker.1"})
    assert fleet(running=up).drained("worker.2", cordon(1))
    assert not fleet(running=up | {"worker.2"}).drained("worker.2", cordon(1))


def test_a_worker_that_never_reported_may_be_busy_however_long_that_is() -> None:
    since = cordon(1, worker_2=NOW - 99_999)
    assert not fleet().drained("worker.2", since)
    assert not fleet(running=["worker.2"]).drained("worker.2", since)
    assert not fleet(missed=["worker.2"]).drained("worker.2", since)
    assert fleet(running=[]).drained("worker.2", since)


def test_an_idle_namesake_does_not_speak_for_one_that_was_never_heard_of() -> None:
    """A deploy replaces workers, and two bear the name for a while."""
    idle = presence("worker.2", stopped=DRAWN)
    assert fleet(idle, running=["worker.2"]).drained("worker.2", cordon(1))
    assert not fleet(idle, running=["worker.2"] * 2).drained("worker.2", cordon(1))
    leaving = replace(idle, closing=True)
    assert not fleet(leaving, running=["worker.2"]).drained("worker.2", cordon(1))
    assert fleet(leaving, running=[]).drained("worker.2", cordon(1))


def test_unheard_are_workers_that_are_up_and_have_not_reported() -> None:
    assert fleet(*workers(1), running=["worker.1", "worker.2"]).unheard == {"worker.2"}
    assert fleet(*workers(1), missed=["worker.1", "worker.2"]).unheard == {"worker.2"}
    assert not fleet(*workers(1), running=["worker.1"], missed=["worker.2"]).unheard
    assert fleet(running=["worker-0"]).unordered, "it bears another name than it should"


# -- what the platform may know


def test_the_platform_may_know_of_those_not_heard_of() -> None:
    heard = fleet(presence("worker.1"), presence("worker.2", seen=LONG_AGO))
    since = {"worker.3": NOW - BOOT_TIME, "worker.4": NOW}
    drawn = replace(cordon(0), since=since)
    assert not heard.unknown(["worker.1"], drawn)
    assert heard.unknown(["worker.2"], drawn)
    assert heard.unknown(["worker.1", "worker.3"], drawn)
    assert not heard.unknown(["worker.4"], drawn)
    assert not heard.unknown([], drawn)


def test_the_platform_is_not_asked_twice() -> None:
    assert not fleet(running=frozenset()).unknown(["worker.3"], cordon(0))


def test_those_known_to_be_up_are_not_asked_for_again_at_once() -> None:
    drawn = cordon(1, worker_2=NOW - BOOT_TIME)
    assert fleet().unknown(["worker.2"], drawn)
    assert not fleet(missed=["worker.2"]).unknown(["worker.2"], drawn)


def test_a_whole_fleet_idle_or_busy() -> None:
    stopped = presence("worker.1", stopped=DRAWN)
    assert fleet(stopped).idle(cordon(0))
    assert not fleet(stopped, presence("worker.2")).idle(cordon(0))
    assert not fleet(stopped).busy()
    assert fleet(stopped, presence("worker.2", busy=1)).busy()
    assert fleet(stopped, presence("worker.2", seen=NOW - SILENT - 1)).busy(), "it may be"
    assert fleet(stopped, running=["worker.1", "worker.2"]).busy(), "it may be, too"
