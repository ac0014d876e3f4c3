"""Pauses between hires of which no worker is heard."""

from __future__ import annotations

from celery_middle_management.core.backoff import LONGEST_PAUSE, Unheard, pause
from celery_middle_management.core.fleet import BOOT_TIME
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.pools import Pool

NOW, BOOT = 10_000.0, 10.0
FAILS = 2 * BOOT + BOOT_TIME


def test_pauses_grow_to_half_an_hour() -> None:
    assert [pause(n) / 60 for n in range(6)] == [1, 2, 4, 8, 16, 30]
    assert pause(10_000) == LONGEST_PAUSE


def test_hires_while_workers_boot_are_one() -> None:
    first = Unheard(NOW)
    assert first.again(NOW + FAILS - 1, BOOT) is first
    assert first.again(NOW + FAILS, BOOT) == Unheard(NOW + FAILS, 1)


def state(now: float, unheard: Unheard | None, quantity: int | None) -> PoolState:
    pool = Pool("worker", None, 0, 5, 1)
    return PoolState(pool, now, formation=quantity, unheard=unheard, boot=BOOT)


def test_more_are_hired_until_the_first_should_have_been_heard_of_and_after_the_pause() -> None:
    hired = Unheard(NOW, 1)
    assert state(NOW + FAILS - 1, hired, 1).hires_resume_at is None
    assert state(NOW + FAILS, hired, 1).hires_resume_at == NOW + FAILS + 120
    assert state(NOW + FAILS + 120, hired, 1).hires_resume_at is None
    assert state(NOW + FAILS, None, 1).hires_resume_at is None

    assert [state(NOW + s, hired, 1).more_at_most for s in (0, FAILS, FAILS + 120)] == [None, 0, 1]


def test_a_hire_from_zero_never_waits_and_nothing_is_wrong_where_no_worker_is_to_be() -> None:
    for quantity in (0, None):
        failed = state(NOW + FAILS, Unheard(NOW, 3), quantity)
        assert not failed.hire_failed
        assert failed.hires_resume_at is failed.more_at_most is None
