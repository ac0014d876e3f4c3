"""Workers are fired once they run nothing, and work on if there are tasks again before that."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from celery_middle_management.core.timing import SILENT
from tests.integration.scenes import PREFIX, Scene, scene
from tests.integration.stage import APP, WORKER
from tests.servers import ROOT

#: Seconds in which a wrong evaluation, one a second, would have done harm.
A_WHILE = 3.0


@pytest.mark.slow
def test_no_busy_worker_is_stopped(tmp_path: Path) -> None:
    with scene(tmp_path) as it:
        publisher = it.program()
        publisher.say("for _ in range(3): hold.delay()")
        it.wait_at_work("worker.1", "worker.2", "worker.3")
        assert it.changes == [(0, 3)]

        # The highest is busy, so those below it cannot be fired.
        it.let_go("worker.1", "worker.2")
        it.wait(lambda: it.cordon.get("above") == 1 and it.has_stopped("worker.2"))
        drains = status(it)["workers"]["drains"]
        assert [(d["name"], d["running"]) for d in drains] == [("worker.2", 0), ("worker.3", 1)]
        assert all(d["since"] for d in drains)
        time.sleep(A_WHILE)
        assert it.changes == [(0, 3)]

        # There is work again: the cordoned workers do it, and none is hired.
        publisher.say("for _ in range(2): hold.delay()")
        it.wait_at_work("worker.1", "worker.2", "worker.3")
        assert it.changes == [(0, 3)]

        # Only the highest numbers that are drained.
        it.let_go("worker.1", "worker.3")
        it.wait_for_quantity(2)
        time.sleep(A_WHILE)
        assert it.changes == [(0, 3), (3, 2)]
        it.let_go("worker.2")
        it.wait_for_quantity(0)
        it.wait(lambda: len(it.emulator.stops) == 3)
        it.assert_no_worker_was_killed()


@pytest.mark.slow
def test_two_workers_have_one_name_during_a_deploy(tmp_path: Path) -> None:
    # Threads, since prefork's processes die of the SIGTERM that each of them gets.
    with scene(tmp_path, command=(*WORKER, "--pool", "threads")) as it:
        publisher = it.program()
        publisher.say("for _ in range(2): hold.delay()")
        it.wait_at_work("worker.1", "worker.2")
        it.emulator.restart_all()
        it.wait(lambda: len(it.on.presences()) == 4)
        it.let_go("worker.1")
        it.wait(lambda: it.has_stopped("worker.2"))
        time.sleep(A_WHILE)
        # The new worker.2 is idle, the old one is not.
        assert it.on.quantity == 2
        it.let_go("worker.2")
        it.wait_for_quantity(0)
        it.assert_no_worker_was_killed()


@pytest.mark.slow
def test_the_drain_timeout_bounds_the_wait(tmp_path: Path) -> None:
    """With solo workers, whose main thread does nothing else while it runs a task."""
    patience = 12.0
    with scene(
        tmp_path,
        command=(*WORKER, "--pool", "solo"),
        settings={"drain_timeout": patience},
        kill_after=1.0,
    ) as it:
        publisher = it.program()
        publisher.say("for _ in range(2): hold.delay()")
        it.wait_at_work("worker.1", "worker.2")
        it.let_go("worker.1")
        silences = []

        def stopped() -> bool:
            if it.on.quantity == 2:
                silences.append(silence(it, "worker.2"))
            return any(stop.sigkilled for stop in it.emulator.stops)

        it.wait(stopped)
        [run] = [run for run in it.journal.runs() if run.dyno == "worker.2"]
        [first] = [run for run in it.journal.runs() if run.dyno == "worker.1"]
        fire = next(c for c in it.emulator.changes if c.after < c.before)
        assert fire.after == 1
        assert first.end is not None
        # A count may miss a task that is just being taken: the cordon may be older than that end.
        assert fire.at - first.end >= patience - 2.0
        assert run.end is None
        # It was busy all the time, and reported.
        assert max(silences) < SILENT


@pytest.mark.slow
def test_no_worker_is_kept_for_a_task_that_threads_cannot_terminate(tmp_path: Path) -> None:
    """Revoked so while it waits for a thread, Celery shows it as active for ever."""
    command = (*WORKER, "--pool", "threads", "--prefetch-multiplier", "4")
    with scene(tmp_path, command=command, settings={"max_workers": 1, "count_interval": 2}) as it:
        publisher = it.program()
        # Until tasks are known to be short, none is taken that would have to wait.
        publisher.say("for _ in range(120): note.delay()")
        it.wait(lambda: len(it.journal.runs()) == 120)
        publisher.say(
            "import time; note.delay(4); result = note.delay().id; time.sleep(1);"
            " app.control.revoke(result, terminate=True)"
        )
        it.wait_for_quantity(0)
        assert len(it.journal.runs()) == 121
        it.assert_no_worker_was_killed()


@pytest.mark.slow
def test_dynos_without_numbers(tmp_path: Path) -> None:
    """Heroku's Fir generation may stop any of the workers."""
    with scene(tmp_path, dyno_names="fir") as it:
        publisher = it.program()
        publisher.say("for _ in range(3): hold.delay()")
        it.wait(lambda: len(it.at_work) == 3)
        done, other, busy = it.at_work
        it.let_go(done, other)
        time.sleep(A_WHILE)
        # The platform could stop the busy one.
        assert it.changes == [(0, 3)]
        it.let_go(busy)
        it.wait_for_quantity(0)
        it.wait(lambda: not [d for d in it.emulator.dynos() if d.type == "worker"])
        it.assert_no_worker_was_killed()


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["solo", "threads", "gevent"])
def test_a_worker_stops_and_resumes_consuming(pool: str, tmp_path: Path) -> None:
    with scene(tmp_path, command=None) as it:
        it.forbid_evaluations()
        publisher = it.program()
        it.draw_cordon(above=0)
        with it.on.worker("--pool", pool, "--concurrency", "2", DYNO="worker.1"):
            # It started cordoned.
            refuses(it, publisher.say)
            it.draw_cordon(above=None)
            it.wait(lambda: len(it.journal.runs()) == 1)
            # A cordon is set while it works.
            publisher.say("hold.delay()")
            it.wait_at_work("worker.1")
            it.draw_cordon(above=0)
            it.let_go("worker.1")
            refuses(it, publisher.say)
            it.draw_cordon(above=None)
            it.wait(lambda: len(it.journal.runs()) == 3 and not it.running)


def refuses(it: Scene, say: Callable[[str], object]) -> None:
    """See that worker.1 has stopped and does not run what is published."""
    it.wait(lambda: it.has_stopped("worker.1"))
    before = len(it.journal.runs())
    say("note.delay()")
    time.sleep(1.0)
    assert len(it.journal.runs()) == before
    assert it.redis.llen("celery") == 1


def silence(it: Scene, name: str) -> float:
    """Seconds since the worker reported."""
    seconds, micros = it.redis.time()  # type: ignore[misc]
    told: list[str] = it.redis.hvals(f"{PREFIX}:workers")  # type: ignore[assignment]
    seen = [float(t.partition(" ")[0]) / 1000 for t in told if f'"name":"{name}"' in t]
    return float(seconds + micros / 1e6 - max(seen))


def status(it: Scene) -> dict[str, dict[str, list[dict[str, object]]]]:
    """The pool in ``mm status --json``."""
    told = subprocess.run(
        [sys.executable, "-m", "celery", "-A", APP, "mm", "status", "--json"],
        env=it.on._environment({}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    [pool] = json.loads(told.stdout)["pools"]
    return pool  # type: ignore[no-any-return]
