"""Requests by hand, and their effect on a pool."""

from __future__ import annotations

import pytest

from celery_middle_management.core.due_times import wakes_at
from celery_middle_management.core.intents import (
    ManualRequest,
    Pause,
    asked_after,
    both_paused,
    ended_by,
    expected,
)
from celery_middle_management.core.policies import Advice
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.pools import Pool
from celery_middle_management.ledger.codec import pack_intent, unpack_pause, unpack_request

NOW = 1000.0
POOL = Pool("worker", None, 1, 5, 1)


@pytest.mark.parametrize(
    ("pause", "needed", "expected"),
    [
        (Pause(), 5, 2),
        (Pause(), 0, 2),
        (Pause(fires=False), 5, 2),
        (Pause(fires=False), 0, 0),
        (Pause(hires=False), 5, 5),
        (Pause(hires=False), 0, 2),
    ],
)
def test_a_pause_holds_the_quantity(pause: Pause, needed: int, expected: int) -> None:
    assert pause.held(needed, quantity=2) == expected


def test_a_request_limits_the_advice_and_is_named_in_it() -> None:
    advice = Advice(2, "2 tasks")
    more = ManualRequest(NOW, least=4, who="ann").applied_to(advice)
    assert more == Advice(4, "2 tasks; ann wants at least 4")
    fewer = ManualRequest(NOW, most=1, who="ann").applied_to(advice)
    assert fewer == Advice(1, "2 tasks; ann wants at most 1")
    assert ManualRequest(NOW, least=2, most=2).applied_to(advice) == advice


@pytest.mark.parametrize(
    ("asked", "needed"), [(ManualRequest(NOW, least=99), 5), (ManualRequest(NOW, most=0), 1)]
)
def test_a_request_cannot_exceed_the_limits(asked: ManualRequest, needed: int) -> None:
    assert PoolState(POOL, NOW - 1, published=2, wish=asked).needed == needed


def test_what_has_ended_is_ignored_and_an_evaluation_is_due_then() -> None:
    pause, request = pack_intent(Pause(until=NOW)), pack_intent(ManualRequest(until=NOW, least=1))
    assert unpack_pause(pause, NOW - 0.1) == Pause(until=NOW)
    assert unpack_pause(pause, NOW) is None
    assert unpack_request(request, NOW - 0.1) == ManualRequest(until=NOW, least=1)
    assert unpack_request(request, NOW) is None
    assert unpack_pause(pack_intent(Pause()), 1e12) == Pause()
    assert (unpack_pause(None, NOW), unpack_request(None, NOW)) == (None, None)
    state = PoolState(POOL, NOW - 5, pause=Pause(until=NOW), wish=ManualRequest(until=NOW + 1))
    assert wakes_at(state) == NOW


def test_a_later_release_may_say_more() -> None:
    assert unpack_pause('{"hires": false, "more": 1}', NOW) == Pause(hires=False)
    assert unpack_request('{"until": 2000, "more": 1}', NOW) == ManualRequest(until=2000)


def at(pause: Pause, now: float) -> tuple[bool, bool]:
    left = unpack_pause(pack_intent(pause), now)
    return (left.hires, left.fires) if left else (False, False)


HIRES, FIRES = {"fires": False}, {"hires": False}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("ann", "bob"),
    [
        (Pause(**HIRES, until=None, who="ann"), Pause(**FIRES, until=10, who="bob")),
        (Pause(**HIRES, until=5, who="ann"), Pause(**FIRES, until=10, who="bob")),
        (Pause(until=5, who="ann"), Pause(**FIRES, until=10, who="bob")),
        (Pause(until=10, who="ann"), Pause(**FIRES, until=5, who="bob")),
        (Pause(until=None, who="ann"), Pause(until=5, who="bob")),
        (Pause(**FIRES, until=5, who="ann"), Pause(**FIRES, until=5, who="bob")),
    ],
)
def test_no_pause_ends_another(ann: Pause, bob: Pause, turned: bool) -> None:
    one, other = (bob, ann) if turned else (ann, bob)
    both = both_paused(one, other)
    assert both is not None
    for now in (0, 4, 5, 6, 9, 10, 11, 1e9):
        stops = [at(pause, now) for pause in (ann, bob)]
        assert at(both, now) == (any(h for h, _ in stops), any(f for _, f in stops)), now
    assert both_paused(both, ann) == both, "again, it changes nothing"


def test_a_pause_by_two_names_both_and_then_the_one_that_lasts() -> None:
    ann, bob = Pause(**HIRES, until=5, who="ann", since=1), Pause(**FIRES, who="bob", since=2)
    both = both_paused(ann, bob)
    assert both == Pause(True, True, 5, "ann, bob", 1, bob, hires_by="ann", fires_by="bob")
    assert both_paused(both_paused(both, ann), bob) == both
    assert both_paused(None, ann) == both_paused(ann, None) == ann


@pytest.mark.parametrize("turned", [False, True])
def test_each_switch_of_two_pauses_has_its_own_end_and_people(turned: bool) -> None:
    root, bob = Pause(until=15, who="root"), Pause(**FIRES, until=3600, who="bob")
    both = both_paused(bob, root) if turned else both_paused(root, bob)
    assert both is not None
    hires, fires = unpack_pause(pack_intent(both), 0).stops  # type: ignore[union-attr]
    assert hires == ("hires", 15, "root")
    assert fires == ("fires", 3600, "bob, root" if turned else "root, bob")
    later = unpack_pause(pack_intent(both), 15)
    assert later is not None
    assert later.stops == (("fires", 3600, "bob"),)


def test_a_pause_by_an_earlier_release_is_by_all_of_its_people() -> None:
    pause = unpack_pause('{"hires": true, "fires": true, "who": "ann, bob", "until": 9}', 0)
    assert pause is not None
    assert pause.stops == (("hires", 9, "ann, bob"), ("fires", 9, "ann, bob"))


def test_many_pauses_are_kept_as_two_at_most() -> None:
    pause: Pause | None = None
    for n in range(40):
        pause = both_paused(pause, Pause(n % 3 > 0, n % 3 < 2, 100.0 + n * 7 % 40, f"p{n % 5}"))
    assert pause is not None
    assert pause.then is None or pause.then.then is None


def test_hires_by_hand_add_up_each_for_its_own_time() -> None:
    hour = ManualRequest(3600, least=3, who="ann")
    minute = asked_after(hour, ManualRequest(60, least=4, who="bob"))
    document = pack_intent(minute)
    assert unpack_request(document, 59) == minute
    assert unpack_request(document, 60) == hour
    assert unpack_request(document, 3600) is None
    day = ManualRequest(86400, least=5)
    assert asked_after(minute, day) == day, "it asks for more, and lasts longer"


def test_to_fire_takes_back_what_was_hired_by_hand_and_the_other_way_round() -> None:
    hired, fired = ManualRequest(3600, least=3), ManualRequest(3600, most=1)
    assert asked_after(hired, ManualRequest(60, most=1)).then is None
    assert asked_after(fired, ManualRequest(60, least=1)).then is None


def test_what_a_request_takes_back_is_known() -> None:
    hired = asked_after(
        ManualRequest(3600, least=3, who="ann"), ManualRequest(60, least=4, who="bob")
    )
    assert ended_by(hired, ManualRequest(9, most=1)) == (3600, "bob, ann")
    assert ended_by(hired, ManualRequest(9, least=5)) is None
    assert ended_by(None, ManualRequest(9, least=5)) is None


@pytest.mark.parametrize(
    ("request_", "quantity", "there"),
    [
        (None, 2, 2),
        (ManualRequest(1, least=4), 2, 4),
        (ManualRequest(1, least=4), 5, 5),
        (ManualRequest(1, most=1), 2, 1),
        (ManualRequest(1, most=1), 0, 0),
    ],
)
def test_what_was_asked_for_counts_as_there(
    request_: ManualRequest | None, quantity: int, there: int
) -> None:
    assert expected(request_, quantity) == there
