"""Requests by hand, and their effect on a pool."""

from __future__ import annotations

import pytest

from celery_middle_management.core.due_times import wakes_at
from celery_middle_management.core.intents import ManualRequest, Pause
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
    assert ManualRequest(NOW, least=4, who="ann").applied_to(advice) == (
        4,
        "2 tasks; ann wants at least 4",
    )
    assert ManualRequest(NOW, most=1, who="ann").applied_to(advice) == (
        1,
        "2 tasks; ann wants at most 1",
    )
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
