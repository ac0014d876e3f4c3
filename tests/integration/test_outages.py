"""While the broker or Redis fails nothing is fired, the app notices nothing, and all recovers."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from celery_middle_management.core.timing import KEEPS_CORDON
from celery_middle_management.ledger import connection
from tests.integration.scenes import A_WHILE, Scene, scene

#: Our Redis hangs for longer (s) than any wait of a busy machine's.
HANG = 60.0
#: Publishes ten tasks; the longest that one took (s).
PUBLISH_TEN = """
import time
result = 0.0
for _ in range(10):
    began = time.monotonic()
    note.delay()
    result = max(result, time.monotonic() - began)
"""


@pytest.mark.slow
def test_nothing_is_fired_while_the_broker_cannot_be_counted(tmp_path: Path) -> None:
    with scene(tmp_path, own_ledger=True) as it:
        publisher = it.program()
        publisher.say("for _ in range(2): hold.delay()")
        it.wait_at_work("worker.1", "worker.2")
        counted = it.count["at"]
        it.broker.pause()
        try:
            it.let_go("worker.1", "worker.2")
            it.wait(lambda: it.on.number("worker/finished") == 2)
            time.sleep(A_WHILE)
            assert it.changes == [(0, 2)]
            assert it.count["at"] == counted
        finally:
            it.broker.resume()
        took = recovery(it, lambda: it.on.quantity == 0)
        print(f"fired {took:.1f} s after the broker returned")
        it.assert_no_worker_was_killed()


@pytest.mark.slow
def test_an_outage_of_the_ledger(tmp_path: Path) -> None:
    with scene(tmp_path, own_ledger=True) as it:
        publisher = it.program()
        publisher.say(
            f"from {connection.__name__} import __dict__ as ours; ours['TIMEOUT'] = {HANG}"
        )
        publisher.say("for _ in range(2): hold.delay()")
        it.wait_at_work("worker.1", "worker.2")

        it.ledger.pause()
        try:
            longest = publisher.say(PUBLISH_TEN)
            it.let_go("worker.1")
            time.sleep(A_WHILE)
            assert it.changes == [(0, 2)]
        finally:
            it.ledger.resume()
        # What was published and finished meanwhile is counted.
        told = {"worker/published": 12, "worker/finished": 11}
        took = recovery(it, lambda: all(it.on.number(name) >= n for name, n in told.items()))
        print(f"paused: delay() took {longest * 1000:.1f} ms at most, counted after {took:.1f} s")

        it.ledger.kill()
        longest = max(longest, publisher.say(PUBLISH_TEN))
        time.sleep(1.0)
        it.ledger.restart()
        # It has lost everything; what was published meanwhile has been kept.
        took = recovery(it, lambda: it.on.number("worker/published") >= 10 and it.count)
        print(f"killed: delay() took {longest * 1000:.1f} ms at most, counted after {took:.1f} s")
        it.wait(lambda: len(it.journal.runs()) == 22)
        time.sleep(A_WHILE)
        assert "worker.2" in it.at_work
        assert it.on.quantity >= 2

        it.redis.flushall()
        took = recovery(it, lambda: it.count)
        print(f"flushed: counted after {took:.1f} s")
        assert it.on.quantity >= 2
        it.let_go("worker.2")
        it.wait_for_quantity(0)
        it.wait(lambda: not [d for d in it.emulator.dynos() if d.type == "worker"])
        it.assert_no_worker_was_killed()
        # A delay() that waited for it would take as long as that.
        assert longest < HANG / 2


@pytest.mark.slow
def test_who_is_to_be_stopped_takes_no_tasks(tmp_path: Path) -> None:
    """However late the platform stops it, even if the ledger is lost meanwhile."""
    with scene(tmp_path, own_ledger=True, command=None) as it, it.on.worker(DYNO="worker.2"):
        it.wait(lambda: it.has_stopped("worker.2"))
        publisher = it.program()
        publisher.say("note.delay()")
        it.wait_for_quantity(1)
        it.ledger.kill()
        it.ledger.restart()
        it.wait(lambda: it.has_stopped("worker.2"))
        time.sleep(KEEPS_CORDON)
        assert it.has_stopped("worker.2")
        assert not it.journal.runs()
        # There is room for it after all.
        publisher.say("note.delay()")
        it.wait_for_quantity(2)
        it.wait(lambda: len(it.journal.runs()) == 2)


@pytest.mark.slow
def test_a_ledger_lost_at_rest(tmp_path: Path) -> None:
    """With it went the due time of a scheduled task; a worker that takes the task tells of it."""
    with scene(tmp_path, own_ledger=True, settings={"count_interval": 600}) as it:
        publisher = it.program()
        publisher.say("note.apply_async(countdown=30)")
        it.wait(lambda: it.count)
        it.redis.flushall()
        it.wait(lambda: it.changes == [(0, 1), (1, 0)], 90.0)
        assert [run.end is not None for run in it.journal.runs()] == [True]
        it.assert_no_worker_was_killed()


@pytest.mark.slow
def test_drift_heals_within_one_count(tmp_path: Path) -> None:
    with scene(tmp_path, settings={"count_interval": 2, "max_workers": 3}) as it:
        publisher = it.program()
        stranger = it.program(MM_OFF="1")

        # Its first child is killed; the message comes back, for it is acknowledged late.
        publisher.say("hold_reborn.delay()")
        it.wait_at_work("worker.1")
        time.sleep(A_WHILE)
        assert it.changes == [(0, 1)]

        # No process reported these, and a count may come between them.
        stranger.say("for _ in range(2): hold.delay()")
        it.wait(lambda: it.count["drift"] < 0)
        it.wait_at_work("worker.1", "worker.2", "worker.3")

        # Published, and purged before a worker could take them.
        publisher.say("for _ in range(20): note.delay()")
        it.wait(lambda: it.on.number("worker/published") == 21)
        publisher.say("app.control.purge()")
        it.wait(lambda: it.count["drift"] > 0)
        it.wait(lambda: outstanding(it) == 3)

        it.let_go("worker.1", "worker.2", "worker.3")
        it.wait_for_quantity(0)
        it.wait(lambda: len(it.emulator.stops) == 3)
        it.assert_no_worker_was_killed()


def test_drift_is_shown(tmp_path: Path) -> None:
    with scene(tmp_path, command=None) as it:
        it.program(MM_OFF="1").say("for _ in range(3): note.delay()")
        publisher = it.program()
        publisher.say("note.delay()")
        it.wait_for_quantity(4)
        # Or it would count again, and what it counts would be as expected.
        os.kill(publisher.pid, signal.SIGKILL)
        assert it.count["drift"] == -3
        told = it.on.script(
            "import sys; app.start(['mm', 'status', '--json'])",
        )
        [pool] = json.loads(told.stdout)["pools"]
        assert (pool["drift"], pool["tasks"]["outstanding"]) == (-3, 4)


def outstanding(it: Scene) -> int:
    """Dead reckoning."""
    counted = it.count
    since = (it.on.number(f"worker/{n}") - it.on.number(f"worker/base_{n}") for n in
             ("published", "finished"))  # fmt: skip
    published, finished = since
    return int(counted["waiting"] + counted["running"] + published - finished)


def recovery(it: Scene, condition: Callable[[], object]) -> float:
    """Wait until it is true; how many seconds that took."""
    began = time.monotonic()
    it.wait(condition)
    return time.monotonic() - began
