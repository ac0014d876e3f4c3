"""Work beside the evaluations: one thread at most, none while there is nothing to do."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import weakref
from math import inf

import pytest

from celery_middle_management import threads
from celery_middle_management.reporting.side_work import LAST_WORK, SideWork
from tests.servers import ROOT, wait_for


def test_however_often_it_is_woken_one_thread_does_it() -> None:
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)
    at_once: list[int] = []

    def work(_: float) -> None:
        at_once.append(1)
        begun.release()
        go_on.acquire()
        at_once.pop()
        assert at_once == []

    side = SideWork("mm-test", work)
    side.wake()
    assert begun.acquire(timeout=10)
    for _ in range(50):
        side.wake()
    assert [t.name for t in threading.enumerate()].count("mm-test") == 1
    go_on.release()
    # It was woken meanwhile, so it looks once more, and not 50 times.
    assert begun.acquire(timeout=10)
    go_on.release()
    wait_for(lambda: not side.busy)
    assert not begun.acquire(timeout=0.1)
    wait_for(lambda: "mm-test" not in [t.name for t in threading.enumerate()])


def test_no_wake_is_lost() -> None:
    wanted, done = [0], [0]

    def work(_: float) -> None:
        done[0] = wanted[0]

    side = SideWork("mm-test", work)
    for _ in range(2000):
        wanted[0] += 1
        side.wake()
    wait_for(lambda: done == wanted)


def test_an_error_is_logged_and_the_next_wake_works(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()

    def work(_: float) -> None:
        if not caplog.records:
            raise ValueError("odd")
        done.set()

    side = SideWork("mm-test", work)
    side.wake()
    wait_for(lambda: caplog.records and not side.busy)
    side.wake()
    assert done.wait(10)
    assert "mm-test failed" in caplog.text


def refuse(*_: object) -> None:
    raise RuntimeError("can't start new thread")


def test_without_a_thread_it_waits_for_the_next_wake(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller reports and evaluates: it must not do other work."""
    untils: list[float] = []
    side = SideWork("mm-test", untils.append)
    with monkeypatch.context() as patch:
        patch.setattr(threads, "start", refuse)
        side.wake()
    assert untils == []
    assert "mm-test waits: no thread can be started" in caplog.text
    side.wake()
    wait_for(lambda: untils == [inf] and not side.busy)


def test_at_the_end_of_the_interpreter_the_caller_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    untils: list[float] = []
    monkeypatch.setattr(threads, "start", refuse)
    monkeypatch.setattr(threading.Thread, "is_alive", lambda _: False)
    side = SideWork("mm-test", untils.append)
    side.wake()
    assert not side.busy
    assert len(untils) == 1
    assert untils[0] < inf


def test_nothing_keeps_it_alive() -> None:
    side = SideWork("mm-test", lambda _: None)
    side.wake()
    gone = weakref.ref(side)
    del side
    wait_for(lambda: gc.collect() >= 0 and gone() is None)


@pytest.mark.parametrize("seconds", [0.5, 3600.0])
def test_a_process_that_ends_waits_for_it_but_not_for_ever(seconds: float) -> None:
    code = f"""
        import time
        from celery_middle_management.reporting.side_work import SideWork
        def work(_):
            print("begun", flush=True)
            time.sleep({seconds})
            print("done", flush=True)
        side = SideWork("mm-test", work)
        side.wake()
    """
    assert LAST_WORK < 5
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        timeout=60,
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout.split() == (["begun", "done"] if seconds < 1 else ["begun"])
    lost = "mm-test" in told.stderr and "before" in told.stderr
    assert lost == (seconds > 1)
