"""The thread that evaluates after a request on the page."""

from __future__ import annotations

from typing import Any

import pytest

from celery_middle_management.reporting import attendant
from celery_middle_management.reporting.attendant import LASTS, Attendant
from celery_middle_management.reporting.reporter import RETRY


class Time:
    """Goes on by sleeping alone; the attendant's thread runs in the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        monkeypatch.setattr(attendant, "monotonic", lambda: self.now)
        monkeypatch.setattr(attendant.time, "sleep", self.sleep)
        monkeypatch.setattr(attendant.threads, "start", lambda _, target: target())

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def fail(error: BaseException) -> Any:
    raise error


def test_after_an_odd_error_it_waits_before_it_tries_again(time: Time) -> None:
    its = Attendant(lambda: fail(KeyError("odd")))
    its.attend()
    assert time.now >= LASTS
    assert {*time.slept} == {RETRY}


def test_a_thread_that_is_ended_leaves_room_for_the_next_one(time: Time) -> None:
    its = Attendant(lambda: fail(SystemExit()))
    for _ in range(2):
        with pytest.raises(SystemExit):
            its.attend()
