"""Which one-off workers to hire and which to let go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from celery_middle_management.core.choice import (
    Choice,
    Member,
    OneOffSituation,
    choose,
    only_replace,
)
from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.presence import Presence

NOW = 10_000.0


def member(name: str, busy: int = 0, age: float = 100.0, left: bool = False) -> Member:
    own = Presence(name, name, "worker", NOW - age, NOW, busy=busy, hire=name)
    return Member(name, NOW - age, () if left else (own,), left=left)


def booting(name: str, age: float = 5.0) -> Member:
    return Member(name, NOW - age)


def situation(*members: Member, needed: int, **more: Any) -> OneOffSituation:
    known: Mapping[str, Any] = {
        "room": 10,
        "leave": Cordon(),
        "replaced": frozenset(),
        "fresh": True,
        "listed": True,
        "may_hire": True,
        **more,
    }
    return OneOffSituation(now=NOW, members=members, needed=needed, **known)


def cordon(*names: str) -> Cordon:
    return Cordon(None, frozenset(names), NOW - 3, dict.fromkeys(names, NOW - 3))


def chosen(seen: OneOffSituation) -> set[str]:
    return set(choose(seen).leave.names)


def test_what_is_missing_is_hired() -> None:
    assert choose(situation(member("a"), booting("b"), needed=5)) == Choice(Cordon(), hires=3)


def test_none_is_hired_before_the_platform_has_listed_its_workers() -> None:
    assert choose(situation(needed=2, listed=False)) == Choice(Cordon(), wants_list=True)


def test_a_hire_that_must_wait_is_suppressed() -> None:
    assert choose(situation(needed=2, may_hire=False)) == Choice(Cordon(), suppressed=True)


def test_a_leaving_worker_still_takes_room() -> None:
    gone = [member(name, left=True) for name in "abc"]
    assert choose(situation(*gone, needed=3, room=4)) == Choice(Cordon(), hires=1, suppressed=True)


def test_the_idle_go_first_then_those_with_less_to_do_then_the_oldest() -> None:
    workers = [
        member("busy", busy=3),
        member("less", busy=1),
        member("young", age=50),
        member("old", age=90),
    ]
    assert chosen(situation(*workers, needed=3)) == {"old"}
    assert chosen(situation(*workers, needed=2)) == {"old", "young"}
    assert chosen(situation(*workers, needed=1)) == {"old", "young", "less"}


def test_a_worker_that_does_not_report_is_not_relied_on_and_takes_room() -> None:
    silent = Presence("a", "a", "worker", NOW - 99, NOW - 31, busy=1, hire="a")
    for lost in (booting("a", age=100), Member("a", NOW - 100, (silent,))):
        assert choose(situation(lost, needed=1)) == Choice(Cordon(), hires=1)
        assert choose(situation(lost, needed=1, room=1)) == Choice(Cordon(), suppressed=True)
        assert chosen(situation(lost, member("b"), needed=1)) == set()
        assert chosen(situation(lost, member("b"), needed=1, leave=cordon("a"))) == {"a"}


def test_none_goes_in_favour_of_one_that_may_never_come() -> None:
    assert chosen(situation(Member("", NOW - 5), member("b"), needed=1)) == set()
    assert choose(situation(Member("", NOW - 5), member("b"), needed=3)).hires == 1


def test_leaving_workers_go_on_leaving_and_the_busy_are_called_back_first() -> None:
    workers = [member("a", busy=1), member("b"), member("c")]
    assert chosen(situation(*workers, needed=1, leave=cordon("a", "b"))) == {"a", "b"}
    assert chosen(situation(*workers, needed=2, leave=cordon("a", "b"))) == {"b"}


def test_none_is_cordoned_on_an_old_count_but_called_back_at_once() -> None:
    workers = [member("a", busy=1), member("b")]
    assert choose(situation(*workers, needed=1, fresh=False)) == Choice(Cordon(), wants_count=True)
    assert choose(situation(*workers, needed=2, fresh=False, leave=cordon("a"))).leave == Cordon(
        at=NOW
    )


def test_those_to_be_replaced_are_cordoned_at_once_and_others_hired() -> None:
    seen = situation(
        member("a", busy=1), member("b"), needed=1, fresh=False, replaced=frozenset({"a", "b"})
    )
    assert choose(seen).leave.names == {"a", "b"}
    assert choose(seen).hires == 1


MEMBERS = st.lists(
    st.tuples(st.integers(0, 3), st.booleans(), st.booleans(), st.floats(0, 200)), max_size=6
)


@given(
    workers=MEMBERS,
    needed=st.integers(0, 8),
    room=st.integers(0, 8),
    behind=st.sets(st.integers(0, 5)),
    replaced=st.sets(st.integers(0, 5)),
    fresh=st.booleans(),
    listed=st.booleans(),
)
def test_there_is_room_for_all_and_none_goes_that_is_needed(
    *,
    workers: list[tuple[int, bool, bool, float]],
    needed: int,
    room: int,
    behind: set[int],
    replaced: set[int],
    fresh: bool,
    listed: bool,
) -> None:
    members = [
        booting(str(n), age) if unheard and not left else member(str(n), busy, age, left)
        for n, (busy, left, unheard, age) in enumerate(workers)
    ]
    seen = situation(
        *members,
        needed=needed,
        room=room,
        leave=cordon(*map(str, behind)),
        replaced=frozenset(map(str, replaced)),
        fresh=fresh,
        listed=listed,
    )
    choice = choose(seen)
    assert choice.hires == 0 or len(members) + choice.hires <= room
    assert choice.hires == 0 or listed
    usable = {m.name for m in members if not m.leaves and not m.unreliable(NOW)} - seen.replaced
    staying = usable - choice.leave.names
    assert len(staying) >= min(needed, len(usable))
    assert len(staying) + choice.hires <= max(needed, len(usable))
    if not fresh:
        assert choice.leave.names <= seen.leave.names | seen.replaced
    again = choose(replace(seen, leave=choice.leave, fresh=False))
    assert choice.wants_count or again.leave == choice.leave


def test_where_others_decide_only_workers_to_be_replaced_are_cordoned() -> None:
    members = [member("old", busy=1), member("idle"), member("chosen"), member("gone", left=True)]
    choice = only_replace(members, cordon("chosen"), {"old", "gone"}, NOW)
    assert choice.leave.names == {"old", "chosen"}
    assert (choice.hires, choice.suppressed) == (0, False)
