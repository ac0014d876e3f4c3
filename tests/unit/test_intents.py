"""What people ask for, and what a pool makes of it."""

from __future__ import annotations

import pytest

from celery_middle_management.core.due_times import wakes_at
from celery_middle_management.core.intents import Pause, Wish
from celery_middle_management.core.policies import Advice
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.pools import Pool
from celery_middle_management.ledger.codec import pack_intent, unpack_pause, unpack_wish

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


def test_a_wish_is_heeded_and_told() -> None:
    advice = Advice(2, "2 tasks")
    assert Wish(NOW, least=4, who="ann").heeded(advice) == (4, "2 tasks; ann wants 4 at least")
    assert Wish(NOW, most=1, who="ann").heeded(advice) == (1, "2 tasks; ann wants 1 at most")
    assert Wish(NOW, least=2, most=2).heeded(advice) == advice


@pytest.mark.parametrize(("wish", "needed"), [(Wish(NOW, least=99), 5), (Wish(NOW, most=0), 1)])
def test_nobody_can_wish_for_more_than_the_limits(wish: Wish, needed: int) -> None:
    assert PoolState(POOL, NOW - 1, published=2, wish=wish).needed == needed


def test_what_is_over_is_forgotten_and_looked_at_then() -> None:
    pause, wish = pack_intent(Pause(until=NOW)), pack_intent(Wish(until=NOW, least=1))
    assert unpack_pause(pause, NOW - 0.1) == Pause(until=NOW)
    assert unpack_pause(pause, NOW) is None
    assert unpack_wish(wish, NOW - 0.1) == Wish(until=NOW, least=1)
    assert unpack_wish(wish, NOW) is None
    assert unpack_pause(pack_intent(Pause()), 1e12) == Pause()
    assert (unpack_pause(None, NOW), unpack_wish(None, NOW)) == (None, None)
    state = PoolState(POOL, NOW - 5, pause=Pause(until=NOW), wish=Wish(until=NOW + 1))
    assert wakes_at(state) == NOW


def test_a_later_release_may_say_more() -> None:
    assert unpack_pause('{"hires": false, "more": 1}', NOW) == Pause(hires=False)
    assert unpack_wish('{"until": 2000, "more": 1}', NOW) == Wish(until=2000)
