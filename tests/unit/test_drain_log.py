"""What a worker logs when it is drained."""

from __future__ import annotations

import pytest

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.demand import Held
from celery_middle_management.working.drain_log import DrainLog

from .pools import DRAWN, cordon, presence

WHY = '1 task needs 1, "limits" 0 to 5'
RUNS = presence("worker.2", held={"celery": Held(0, 2)}, busy=2)
STOPPED = presence("worker.2", stopped=DRAWN)


@pytest.fixture(name="log")
def _log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", "celery_middle_management")
    return caplog


def test_a_drain_and_its_end_are_logged_once(log: pytest.LogCaptureFixture) -> None:
    drains = DrainLog("worker.2")
    for seen in (RUNS, RUNS, presence("worker.2", stopped=DRAWN, busy=1), STOPPED, STOPPED):
        drains.update(cordon(0), seen, WHY)
    assert log.messages == [
        r'drain worker=worker.2 running=2 reason="1 task needs 1, \"limits\" 0 to 5"',
        "drained worker=worker.2 after=0s",
    ]


def test_tasks_to_give_back_are_waited_for(log: pytest.LogCaptureFixture) -> None:
    drains = DrainLog("worker.2")
    for returning in (3, 0):
        drains.update(cordon(0), presence("worker.2", stopped=DRAWN, returning=returning))
        drains.update(cordon(0), presence("worker.2", stopped=DRAWN, returning=returning))
    assert log.messages == ["drain worker=worker.2 running=0", "drained worker=worker.2 after=0s"]


def test_a_fire_that_is_taken_back_is_logged(log: pytest.LogCaptureFixture) -> None:
    drains = DrainLog("worker.2")
    for drawn in (cordon(0), cordon(1, at=DRAWN + 5), Cordon(), Cordon(), cordon(0)):
        drains.update(drawn, RUNS, WHY)
    assert [line.partition(" reason")[0] for line in log.messages] == [
        "drain worker=worker.2 running=2",
        "undrain worker=worker.2 running=2 after=0s",
        "drain worker=worker.2 running=2",
    ]


def test_a_worker_that_waits_for_its_first_reply_does_not_drain(
    log: pytest.LogCaptureFixture,
) -> None:
    DrainLog("worker.2").update(Cordon(names=frozenset({"worker.2"})), RUNS)
    assert log.messages == []
