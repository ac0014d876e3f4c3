"""Which workers are on the roster, whatever the outcome of their hires."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.roster import (
    APPEARS,
    ASKS_AFTER,
    HANGS,
    LIFETIME,
    NOTICE,
    WELL,
    Roster,
    RosterEntry,
    crash_pause,
    let_go,
)

NOW = 10_000.0
NO_CORDON = Cordon()


def presence(name: str, hire: str = "", since: float = NOW - 5, **told: object) -> Presence:
    return replace(Presence(name, name, "worker", since, NOW, hire=hire), **told)  # type: ignore[arg-type]


def hired(*ids: str, at: float = NOW - 1) -> Roster:
    return Roster().with_hires(ids, at, at + 72)


def test_a_hire_counts_until_it_will_surely_not_come() -> None:
    roster = hired("a")
    assert len(roster.with_listing({}, (), NOW).roster.members) == 1
    gone = roster.with_listing({}, (), NOW + 72)
    assert not gone.roster.members
    assert len(gone.ended) == 1


def test_a_reporting_worker_gives_the_name_that_the_lost_answer_had() -> None:
    roster = hired("a").with_reports([presence("run.1", "a")], NO_CORDON, NOW)
    assert [m.name for m in roster.members.values()] == ["run.1"]


def test_a_listed_worker_may_be_one_whose_answer_was_lost() -> None:
    roster = hired("a").with_listing({"run.1": 3}, (), NOW).roster
    assert roster.members == {"a": RosterEntry(NOW - 1, NOW + 71, "run.1", release=3, listed=True)}


def test_a_hire_that_was_done_twice_makes_two() -> None:
    roster = hired("a").with_answer("a", "run.1", NOW + APPEARS)
    twice = [presence("run.1", "a"), presence("run.2", "a")]
    assert sorted(m.name for m in roster.with_reports(twice, NO_CORDON, NOW).members.values()) == [
        "run.1",
        "run.2",
    ]
    assert len(roster.with_listing({"run.1": 1, "run.2": 1}, (), NOW).roster.members) == 2


def test_processes_of_one_dyno_are_one() -> None:
    both = [replace(presence("run.1", "a"), id=name) for name in "xy"]
    assert len(hired("a").with_reports(both, NO_CORDON, NOW).members) == 1


def test_a_hire_that_was_refused_never_was() -> None:
    assert not hired("a").with_answer("a", None, NOW).members


def test_a_worker_that_said_goodbye_is_there_until_the_platform_lists_it_no_more() -> None:
    roster = hired("a").with_reports([presence("run.1", "a")], NO_CORDON, NOW)
    left = roster.with_reports([], NO_CORDON, NOW + 1)
    [member] = left.members.values()
    assert member.left_at == NOW + 1
    assert left.with_listing({"run.1": 1}, (), NOW + 2).roster.members
    assert not left.with_listing({}, (), NOW + 2).roster.members


def test_a_silent_worker_says_no_goodbye_and_is_never_stopped() -> None:
    """Others may have dropped its presence while it is at work."""
    roster = hired("a").with_reports([presence("run.1", "a")], NO_CORDON, NOW)
    [member] = roster.with_reports([], NO_CORDON, NOW + 40).members.values()
    assert not member.left_at
    assert not member.hangs(NOW + 40 + HANGS)


def test_a_worker_that_reports_is_there_even_if_it_is_not_listed() -> None:
    roster = hired("a").with_reports([presence("run.1", "a")], NO_CORDON, NOW)
    assert roster.with_listing({}, {"run.1"}, NOW).roster.members
    assert not roster.with_listing({}, (), NOW).roster.members


def test_a_worker_of_unknown_hire_is_new_when_it_first_reports() -> None:
    """Its first report does not say since when it is up."""
    told = Roster().with_reports([presence("run.1", "a", since=0.0)], NO_CORDON, NOW)
    assert [member.at for member in told.members.values()] == [NOW]
    assert not told.to_replace(NOW)


def test_a_worker_of_an_older_release_is_outdated_and_replaced_until_it_has_left() -> None:
    both = hired("a", "b").with_reports(
        [presence("run.1", "a"), presence("run.2", "b")], NO_CORDON, NOW
    )
    old = replace(both.with_listing({"run.1": 1, "run.2": 1}, (), NOW).roster, newest=2)
    assert old.outdated == old.to_replace(NOW) == {"run.1", "run.2"}
    assert not old.renewed
    left = old.with_reports([presence("run.2", "b")], NO_CORDON, NOW + 1)
    assert left.to_replace(NOW + 1) == {"run.2"}
    assert left.with_hires(["c"], NOW, NOW + 70).renewed, "it may come"


def test_a_worker_that_is_let_go_has_left() -> None:
    leave = Cordon(None, frozenset({"run.1"}), NOW - 1, {"run.1": NOW - 1})
    seen = presence("run.1", "a", stopped=NOW - 1)
    assert let_go(seen, leave)
    [member] = hired("a").with_reports([seen], leave, NOW).members.values()
    assert member.left_at == NOW


@pytest.mark.parametrize(
    "told",
    [{"stopped": 0.0}, {"stopped": NOW - 2}, {"busy": 1}, {"returning": 1}],
    ids=",".join,
)
def test_no_worker_is_let_go_that_may_have_a_task(told: dict[str, float]) -> None:
    leave = Cordon(None, frozenset({"run.1"}), NOW - 1, {"run.1": NOW - 1})
    assert not let_go(presence("run.1", **({"stopped": NOW - 1} | told)), leave)


def test_a_cordon_moved_for_others_lets_go_a_worker_that_stopped_before() -> None:
    leave = Cordon(None, frozenset({"run.1"}), NOW - 9, {"run.1": NOW - 9})
    names = frozenset({"run.1", "run.2"})
    moved = leave.move(None, names, names, NOW)
    assert moved.at == NOW
    assert let_go(presence("run.1", stopped=NOW - 9), moved)


def test_an_older_release_and_an_old_dyno_are_replaced() -> None:
    members = {
        "a": RosterEntry(NOW, name="run.1", release=3),
        "b": RosterEntry(NOW, name="run.2", release=4),
        "c": RosterEntry(NOW - LIFETIME + NOTICE - 1, name="run.3", release=4),
        "d": RosterEntry(NOW, name="run.4"),
    }
    assert Roster(members, newest=4).to_replace(NOW) == {"run.1", "run.3"}


def test_a_pool_of_long_tasks_gives_notice_earlier() -> None:
    def young(age: float, longest: float) -> bool:
        roster = Roster({"a": RosterEntry(NOW - age, name="run.1")})
        return not roster.to_replace(NOW, longest)

    assert young(LIFETIME - 2 * NOTICE, longest=NOTICE)
    assert not young(LIFETIME - 2 * NOTICE, longest=2.5 * NOTICE)
    assert young(LIFETIME / 2 - 1, longest=LIFETIME)  # and not at once


def test_crashes_are_forgotten_when_a_worker_has_come_up_well() -> None:
    crashed = replace(hired("a"), crashes=2)
    young = [presence("run.1", "a", since=NOW - WELL + 1)]
    assert crashed.with_reports(young, NO_CORDON, NOW).crashes == 2
    assert (
        crashed.with_reports([presence("run.1", "a", since=NOW - WELL)], NO_CORDON, NOW).crashes
        == 0
    )


def test_those_that_were_hired_together_crash_once() -> None:
    first = [RosterEntry(NOW - 20, name=f"run.{n}") for n in (1, 2, 3)]
    once = Roster().with_crashes(first[:2], NOW)
    assert once.crashes == 1
    assert once.with_crashes(first[2:], NOW + 15) == once
    assert once.with_crashes([], NOW + 15) == once
    twice = once.with_crashes([RosterEntry(NOW + 5, name="run.4")], NOW + 15)
    assert twice.crashes == 2
    assert twice.most == inf


def test_one_is_hired_alone_after_crashes_until_one_is_well() -> None:
    assert Roster(crashes=3).most == 1
    assert replace(hired("a"), crashes=3).most == 1
    assert replace(hired("a", "b"), crashes=3).most == 2
    assert hired("a", "b").most == inf


def test_crashes_are_forgotten_when_a_worker_is_let_go() -> None:
    crashed = replace(hired("a"), crashes=3)
    leave = Cordon(names=frozenset({"run.1"}), at=NOW - 1, since={"run.1": NOW - 1})
    idle = presence("run.1", "a", since=NOW - 5)
    assert crashed.with_reports([idle], leave, NOW).crashes == 3
    assert crashed.with_reports([replace(idle, stopped=leave.at)], leave, NOW).crashes == 0


def test_the_pauses_grow_and_have_an_end() -> None:
    assert [crash_pause(n) for n in (0, 2, 3, 4, 5, 8, 20)] == [0, 0, 60, 120, 240, 1800, 1800]


def test_the_platform_is_asked_about_workers_that_do_not_report() -> None:
    assert Roster().asks_at(NOW) is None
    assert hired("a").asks_at(NOW) == NOW + 71
    booting = hired("a").with_listing({"run.1": 1}, (), NOW).roster
    assert booting.asks_at(NOW) == NOW + ASKS_AFTER
    assert booting.asks_at(NOW + 90) is None
    heard = booting.with_reports([presence("run.1", "a")], NO_CORDON, NOW)
    assert heard.asks_at(NOW) is None
    assert heard.asks_at(NOW + 20) == NOW + ASKS_AFTER
    assert heard.with_reports([], NO_CORDON, NOW + 1).asks_at(NOW + 1) == NOW + 1 + HANGS
