"""Trouble is logged once a minute at most."""

from __future__ import annotations

import logging

import pytest

from celery_middle_management import log_throttle
from celery_middle_management.log_throttle import LogThrottle

logger = logging.getLogger("celery_middle_management.test_trouble")


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one to set it."""
    clock = [5.0]
    monkeypatch.setattr(log_throttle, "monotonic", lambda: clock[0])
    return clock


def test_once_a_minute(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    gate = LogThrottle(logger)
    for clock[0] in (5.0, 6.0, 64.9, 65.0, 70.0):
        gate.warn("redis", "failed at %s", clock[0])
    assert [record.getMessage() for record in caplog.records] == ["failed at 5.0", "failed at 65.0"]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


@pytest.mark.usefixtures("clock")
def test_each_kind_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    gate = LogThrottle(logger)
    gate.warn("redis", "one")
    gate.warn("platform", "another")
    assert [record.getMessage() for record in caplog.records] == ["one", "another"]


def test_a_guarded_exception_is_logged_once_a_minute_and_goes_no_further(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    gate = LogThrottle(logger)
    for clock[0] in (5.0, 6.0, 65.0):
        with gate.guard("a report"):
            raise LookupError(clock[0])
    assert [record.getMessage() for record in caplog.records] == ["a report failed"] * 2
    assert all(record.exc_info for record in caplog.records)


def test_who_is_told_to_stop_stops() -> None:
    with pytest.raises(KeyboardInterrupt), LogThrottle(logger).guard("a report"):
        raise KeyboardInterrupt
