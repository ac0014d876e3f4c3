"""Decisions about a pool, case by case."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

import pytest

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.decision import (
    Decision,
    EarlierCalls,
    decide,
    hire_target,
    may_hire_now,
)
from celery_middle_management.core.fleet import BOOT_TIME
from celery_middle_management.core.traits import DOTTED

from .pools import DRAWN, NOW, cordon, fleet, presence, settle, unasked, view, workers

FIRS = tuple(f"worker-{letter * 5}-{letter * 5}" for letter in "abcd")


def test_enough_is_left_alone() -> None:
    assert decide(view(2, 2, *workers(1, 2))) == Decision(Cordon())


# -- hiring


def test_hires_what_is_missing() -> None:
    assert decide(view(2, 5, *workers(1, 2))) == Decision(Cordon(), quantity=5)


def test_hires_on_the_counters() -> None:
    assert decide(view(2, 5, fresh=False)).quantity == 5


def test_uncordons_before_it_hires() -> None:
    seen = view(3, 3, *workers(1, 2, 3), cordon=cordon(1), may_call=False, fresh=False)
    assert decide(seen) == Decision(Cordon())
    assert decide(replace(seen, needed=4)) == Decision(Cordon(), suppressed=True)


def test_hiring_waits_for_the_call_interval_but_not_from_zero() -> None:
    assert may_hire_now(0, may_call=False, blocked=False)
    assert not may_hire_now(1, may_call=False, blocked=False)
    assert decide(view(1, 2, may_call=False)) == Decision(Cordon(), suppressed=True)
    assert decide(view(0, 2, may_call=False)) == Decision(Cordon(), quantity=2)


def test_a_blocked_platform_is_not_called_from_zero_either() -> None:
    assert decide(view(0, 2, blocked=True)) == Decision(Cordon(), suppressed=True)


def test_below_the_minimum_hires_up_to_it() -> None:
    assert decide(view(1, 2, minimum=2, maximum=4)).quantity == 2


def hire_cases() -> list[list[str]]:
    """The rows of the table in the docstring of `hire_target`, without its last column."""
    _, _, body, _ = re.split(r"(?m)^ *=[ =]+$", hire_target.__doc__ or "")
    return [line.split()[:6] for line in body.strip().splitlines()]


def number(cell: str) -> int | None:
    return None if cell == "-" else int(cell)


@pytest.mark.parametrize("case", hire_cases(), ids=" ".join)
def test_the_table_of_hires(case: list[str]) -> None:
    quantity, needed, limits, hire, limit, target = case
    minimum, maximum = map(int, limits.split("-"))
    seen = view(
        int(quantity),
        int(needed),
        minimum=minimum,
        maximum=maximum,
        unconfirmed_hire=number(hire),
        hire_limit=number(limit),
    )
    decision = decide(seen)
    assert decision.quantity == number(target)
    assert decision.suppressed == (target == "-")


def test_the_table_of_hires_has_every_case() -> None:
    """An unconfirmed hire or none, a limit or none, hired or not: only a free hire cannot wait."""
    cases = {(hire != "-", limit != "-", to != "-") for *_, hire, limit, to in hire_cases()}
    assert cases == {*product((False, True), repeat=3)} - {(False, False, False)}


def test_the_platform_is_asked_about_those_that_may_have_died_at_work() -> None:
    lost = presence(FIRS[0], busy=2, seen=NOW - DOTTED.surely_killed)
    assert decide(unasked(view(1, 1, lost))).wants_running
    assert decide(unasked(view(1, 2, lost, may_call=False))).wants_running
    assert not decide(unasked(view(1, 1, *workers(1)))).wants_running


# -- firing


def test_a_fire_begins_with_a_cordon() -> None:
    current = Cordon(1, frozenset(), NOW, {"worker.2": NOW, "worker.3": NOW})
    assert decide(view(3, 1, *workers(1, 2, 3))) == Decision(current, draining=True)


def test_fires_the_drained() -> None:
    seen = view(3, 1, *workers(1), *workers(2, 3, stopped=DRAWN), cordon=cordon(1))
    decision = decide(seen)
    assert (decision.quantity, decision.cordon.at) == (1, DRAWN)


def test_no_worker_is_fired_before_the_platform_was_asked_which_run() -> None:
    seen = view(3, 1, *workers(1), *workers(2, 3, stopped=DRAWN), cordon=cordon(1))
    decision = decide(unasked(seen))
    assert (decision.quantity, decision.wants_running) == (None, True)
    assert not decide(replace(unasked(seen), fresh=False)).wants_running, "the count comes first"


def test_a_worker_that_is_up_and_never_reported_is_not_fired() -> None:
    reported = (*workers(1), *workers(2, stopped=DRAWN))
    for known in ({"running": ["worker.1", "worker.2", "worker.3"]}, {"missed": ["worker.3"]}):
        seen = view(3, 1, cordon=cordon(1), fleet=fleet(*reported, quantity=3, **known))
        assert decide(seen).quantity is None
        assert not decide(seen).wants_running


def test_fires_as_far_as_the_drained_reach() -> None:
    busy = presence("worker.2", stopped=DRAWN, busy=1)
    seen = view(4, 1, *workers(1), busy, *workers(3, 4, stopped=DRAWN), cordon=cordon(1))
    assert decide(seen).quantity == 2


@pytest.mark.parametrize("needed", [1, 3])
def test_the_drained_are_fired_even_if_the_number_needed_has_just_changed(needed: int) -> None:
    drained = workers(4, 5, stopped=DRAWN)
    seen = view(5, needed, *workers(1, 2, 3), *drained, cordon=cordon(2, worker_5=NOW - 9))
    decision = decide(seen)
    assert (decision.quantity, decision.cordon.above) == (3, needed)
    assert decision.cordon.since["worker.5"] == NOW - 9
    assert decide(replace(seen, may_call=False)).cordon == decision.cordon
    assert decide(replace(seen, may_call=False)).suppressed
    assert decide(replace(seen, fresh=False)) == Decision(
        seen.cordon, wants_count=True, draining=True
    )


def test_those_that_are_only_now_cordoned_are_not_fired() -> None:
    # They take no tasks for another reason, and might take some again.
    idle = workers(2, 3, 4, 5, stopped=DRAWN)
    seen = view(5, 1, *workers(1), *idle, cordon=cordon(3))
    assert (decide(seen).quantity, decide(seen).cordon.above) == (3, 1)


def test_a_drained_worker_below_a_busy_one_stays() -> None:
    busy = presence("worker.3", stopped=DRAWN, busy=1)
    decision = decide(view(3, 1, *workers(1), *workers(2, stopped=DRAWN), busy, cordon=cordon(1)))
    assert decision.quantity is None
    assert decision.draining
    assert not decision.wants_count


def test_a_fire_waits_for_the_call_interval() -> None:
    seen = view(2, 1, *workers(1), *workers(2, stopped=DRAWN), cordon=cordon(1))
    for held_back in (replace(seen, may_call=False), replace(seen, blocked=True)):
        decision = decide(held_back)
        assert decision.quantity is None
        assert decision.suppressed
        assert decision.draining


@pytest.mark.parametrize("current", [cordon(1), Cordon()])
def test_nothing_is_cordoned_or_fired_without_a_fresh_count(current: Cordon) -> None:
    seen = view(2, 1, *workers(1), *workers(2, stopped=DRAWN), cordon=current, fresh=False)
    assert decide(seen) == Decision(current, wants_count=True, draining=bool(current))


def test_waiting_for_the_cordoned_needs_no_count() -> None:
    assert not decide(view(2, 1, *workers(1, 2), cordon=cordon(1), fresh=False)).wants_count


def test_the_platform_is_asked_about_workers_that_have_not_reported() -> None:
    booting = unasked(view(2, 1, *workers(1), cordon=cordon(1)))
    assert not decide(booting).wants_running
    late = replace(cordon(1), since={"worker.2": NOW - BOOT_TIME})
    seen = replace(booting, cordon=late)
    assert decide(seen).wants_running
    asked = replace(seen, fleet=fleet(*workers(1), quantity=2, running=frozenset({"worker.1"})))
    assert decide(asked).quantity == 1
    coming = replace(seen, fleet=replace(asked.fleet, running=frozenset({"worker.1", "worker.2"})))
    assert decide(coming).quantity is None
    assert not decide(coming).wants_running


def test_above_the_maximum_comes_back_by_draining_only() -> None:
    current = cordon(3)
    drained, busy = workers(5, 6, stopped=DRAWN), workers(4, stopped=DRAWN, busy=1)
    seen = view(6, 3, *workers(1, 2, 3), *busy, *drained, maximum=3, cordon=current)
    assert decide(seen).quantity is None
    assert decide(replace(seen, maximum=4)).quantity == 4
    assert settle(seen).quantity == 3


@pytest.mark.parametrize(("timeout", "quantity"), [(None, None), (20.0, 1), (21.0, None)])
def test_a_drain_timeout_ends_the_waiting(timeout: float | None, quantity: int | None) -> None:
    busy = workers(2, stopped=DRAWN, busy=1)
    current = cordon(1, worker_2=NOW - 20)
    seen = view(2, 1, *workers(1), *busy, cordon=current, drain_timeout=timeout)
    assert decide(seen).quantity == quantity


# -- an unconfirmed fire


def test_no_worker_above_an_unconfirmed_fire_is_uncordoned() -> None:
    current = cordon(2, worker_3=DRAWN)
    for needed in (2, 3, 9):
        decision = decide(view(3, needed, *workers(1, 2, 3), cordon=current, unconfirmed_fire=2))
        assert decision == Decision(replace(current, since={"worker.3": DRAWN}), draining=True)


def test_meanwhile_no_other_is_cordoned_and_those_needed_are_uncordoned() -> None:
    for needed, current, above in [(1, 2, 2), (1, None, 2), (1, 0, 1), (5, 0, 2), (0, 0, 0)]:
        decision = decide(
            view(3, needed, *workers(1, 2, 3), cordon=cordon(current), unconfirmed_fire=2)
        )
        assert (decision.cordon.above, decision.quantity) == (above, None)


# -- workers that the platform may still stop after it has said that it did


def test_a_worker_that_may_still_be_stopped_is_not_uncordoned() -> None:
    current = cordon(2)
    seen = view(2, 2, *workers(1, 2), *workers(3, stopped=DRAWN), cordon=current, stopping=2)
    assert decide(seen).cordon.same_as(current)
    assert decide(seen).draining
    assert decide(replace(seen, earlier=EarlierCalls())).cordon == Cordon()


def test_a_worker_above_the_quantity_is_not_uncordoned_however_late_it_is_stopped() -> None:
    three = fleet(*workers(1, 2, 3), quantity=2, quantity_at=NOW - 300)
    seen = view(2, 2, cordon=cordon(2), fleet=three)
    decision = decide(seen)
    assert (decision.cordon.above, decision.draining) == (2, True)
    assert decide(replace(seen, cordon=Cordon())).cordon.above == 2
    known_before = replace(three, quantity_at=NOW - 2000)
    assert decide(replace(seen, fleet=known_before)).cordon == Cordon()


def test_hiring_does_not_wait_until_those_are_stopped() -> None:
    decision = decide(view(0, 2, cordon=cordon(0), stopping=0, may_call=False))
    assert (decision.quantity, decision.cordon.above) == (2, 0)
    doomed = fleet(*workers(1, 2, 3), quantity=2, quantity_at=NOW)
    decision = decide(view(2, 4, cordon=cordon(2), fleet=doomed))
    assert (decision.quantity, decision.cordon.above) == (4, 2)


def test_the_lower_cordon_counts() -> None:
    seen = view(4, 1, *workers(1, 2, 3, 4), cordon=cordon(2), stopping=2)
    assert decide(seen).cordon.above == 1
    assert decide(replace(seen, needed=3)).cordon.above == 2


# -- platforms that stop any worker


def test_the_surplus_is_cordoned_by_name_while_a_worker_is_busy() -> None:
    workers = (
        presence(FIRS[0], since=1.0),
        presence(FIRS[1], since=3.0),
        presence(FIRS[2], since=2.0),
        presence(FIRS[3], since=4.0, busy=1),
    )
    decision = decide(view(4, 2, *workers))
    assert decision.cordon.names == {FIRS[1], FIRS[2]}
    assert decision.cordon.above is None
    assert (decision.quantity, decision.draining) == (None, True)


def test_the_surplus_stays_the_same_workers() -> None:
    workers = (presence(FIRS[0], busy=1), presence(FIRS[1]))
    assert decide(view(2, 1, *workers, cordon=cordon(None, FIRS[0]))).cordon.names == {FIRS[0]}


@pytest.mark.parametrize("held_back", [{"may_call": False}, {"blocked": True}])
def test_not_all_are_cordoned_for_a_call_that_cannot_be_made(
    held_back: dict[str, bool],
) -> None:
    workers = (presence(FIRS[0]), presence(FIRS[1]))
    assert len(decide(view(2, 1, *workers, **held_back)).cordon.names) == 1


def test_all_are_cordoned_once_none_is_busy() -> None:
    decision = decide(view(2, 1, presence(FIRS[0]), presence(FIRS[1])))
    assert decision.cordon == Cordon(0, frozenset(), NOW, dict.fromkeys(FIRS[:2], NOW))
    assert decision.quantity is None


def test_lowered_when_all_have_confirmed_it() -> None:
    stopped = [presence(name, stopped=DRAWN) for name in FIRS[:2]]
    seen = view(2, 1, *stopped, cordon=cordon(0))
    assert decide(seen).quantity == 1
    assert decide(replace(seen, may_call=False)).suppressed
    assert decide(replace(seen, fresh=False)).wants_count


def test_one_that_has_not_confirmed_it_is_waited_for() -> None:
    both = (presence(FIRS[0], stopped=DRAWN), presence(FIRS[1]))
    decision = decide(view(2, 1, *both, cordon=cordon(0)))
    assert (decision.quantity, decision.cordon.above) == (None, 0)


def test_no_worker_is_cordoned_without_a_fresh_count() -> None:
    idle = [presence(name) for name in FIRS[:2]]
    for seen in (view(2, 1, *idle), view(2, 1, *idle, presence(FIRS[2], busy=1))):
        assert decide(replace(seen, fresh=False)) == Decision(Cordon(), wants_count=True)


def test_the_platform_is_asked_about_missing_workers_and_those_up_are_waited_for() -> None:
    seen = unasked(view(2, 1, presence(FIRS[0], stopped=DRAWN), cordon=cordon(0)))
    assert decide(seen) == Decision(
        replace(seen.cordon, since={FIRS[0]: NOW}), draining=True, wants_running=True
    )
    for running, quantity in ((FIRS[:1], 1), (FIRS[:2], None)):
        asked = replace(seen, fleet=replace(seen.fleet, running=frozenset(running)))
        assert decide(asked).quantity == quantity
        assert not decide(asked).wants_running
    assert decide(asked).cordon.above is None, "the others must not wait for it"


def test_a_silent_worker_may_run_something() -> None:
    silent = presence(FIRS[1], seen=NOW - 10)
    decision = decide(view(2, 1, presence(FIRS[0], stopped=DRAWN), silent, cordon=cordon(0)))
    assert decision.cordon.above is None, "the others must not wait for it"
    assert not decision.wants_running


def test_the_platform_is_asked_about_a_worker_silent_for_long() -> None:
    silent = presence(FIRS[1], busy=1, seen=NOW - DOTTED.surely_killed)
    seen = unasked(view(2, 1, presence(FIRS[0]), silent))
    assert decide(seen).wants_running
    asked = replace(seen, fleet=replace(seen.fleet, running=frozenset(FIRS[:1])))
    assert decide(asked).cordon.above == 0
    assert not decide(asked).wants_running


@pytest.mark.parametrize("quantity", [0, 1, 4])
def test_unordered_settles(quantity: int) -> None:
    assert settle(view(4, quantity, *(presence(n) for n in FIRS))).quantity == quantity


# -- an unconfirmed hire


def test_an_unconfirmed_hire_is_sent_again_until_it_is_done() -> None:
    unconfirmed = view(1, 5, *workers(1), unconfirmed_hire=3)
    assert decide(unconfirmed).quantity == 3, "the same again does no harm"
    done = replace(unconfirmed, quantity=3)
    assert (decide(done).quantity, decide(done).suppressed) == (None, True)
    assert not decide(replace(done, needed=3)).suppressed


def test_workers_hired_by_hand_above_an_unconfirmed_hire_are_cordoned() -> None:
    for quantity, needed in ((5, 5), (5, 9), (1, 5)):
        seen = view(quantity, needed, *workers(*range(1, quantity + 1)), unconfirmed_hire=3)
        assert decide(seen).cordon.above == 3
        assert decide(seen).draining
    firs = view(2, 2, *(presence(name) for name in FIRS[:2]), unconfirmed_hire=1)
    assert decide(firs).cordon.above == 0
    assert not decide(replace(firs, earlier=EarlierCalls(unconfirmed_hire=2))).cordon
