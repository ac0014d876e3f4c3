"""What is read over and over, for any number of readers."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from celery_middle_management import threads
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.web import latest as module
from celery_middle_management.web.latest import Latest, Reading
from tests.servers import wait_for

LONG = 30.0


def test_many_readers_are_given_one_reading() -> None:
    times: list[int] = []
    latest: Latest[int] = Latest(lambda: times.append(1) or 7, LONG, "test")
    found: list[Reading[int]] = []
    readers = [threading.Thread(target=lambda: found.append(latest.get(LONG))) for _ in range(50)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert ([each.value for each in found], times) == ([7] * 50, [1])


def test_it_reads_again_when_it_is_old_or_told_so() -> None:
    numbers = iter(range(9))
    latest: Latest[int] = Latest(lambda: next(numbers), LONG, "test")
    assert [latest.get(LONG).value for _ in range(3)] == [0, 0, 0]
    latest.expire()
    assert [latest.get(LONG).value for _ in range(2)] == [1, 1]
    always: Latest[int] = Latest(lambda: next(numbers), 0.0, "test")
    assert [always.get(LONG).value for _ in range(2)] == [2, 3]


def test_what_was_read_outlives_a_failure() -> None:
    answers: list[Callable[[], int]] = [lambda: 1, fail, lambda: 2]

    def read() -> int:
        return answers.pop(0)()

    latest: Latest[int] = Latest(read, 0.0, "test")
    assert known(latest) == (1, None)
    failed = latest.get(LONG)
    assert (failed.value, str(failed.error)) == (1, "down")
    assert known(latest) == (2, None)


def test_without_anything_read_the_failure_is_told_at_once() -> None:
    latest: Latest[int] = Latest(fail, LONG, "test")
    assert str(latest.get(LONG).error) == "down"
    assert latest.get(0.0, LONG).value is None


def test_a_reading_that_hangs_is_waited_for_and_not_begun_twice() -> None:
    go_on, begun = threading.Event(), []

    def hang() -> int:
        begun.append(1)
        go_on.wait(LONG)
        return 1

    latest: Latest[int] = Latest(hang, 0.0, "test")
    first = latest.get(0.0, 0.01)
    assert (first.value, first.error, first.waiting > 0) == (None, None, True)
    wait_for(lambda: begun)
    assert latest.get(0.01).value is None
    assert begun == [1]
    go_on.set()
    wait_for(lambda: latest.get(0.1).value == 1)


def test_a_reader_is_not_kept_longer_by_a_reading_that_has_hung_for_a_while() -> None:
    go_on, begun = threading.Event(), threading.Event()
    latest: Latest[bool] = Latest(lambda: begun.set() or go_on.wait(LONG), LONG, "test")
    latest.get(0.0)
    assert begun.wait(LONG)
    time.sleep(0.2)
    before = time.monotonic()
    assert latest.get(0.2).value is None
    assert time.monotonic() - before < 0.1
    go_on.set()


def test_told_to_read_again_while_it_reads_it_does_so_afterwards() -> None:
    go_on, numbers = threading.Event(), iter(range(9))
    latest: Latest[int] = Latest(lambda: go_on.wait(LONG) and next(numbers), LONG, "test")
    latest.get(0.0)
    latest.expire()
    assert 0.0 < latest.get(0.0).waiting < LONG
    go_on.set()
    wait_for(lambda: latest.get(LONG).value == 1)
    assert latest.get(LONG).value == 1


def test_readers_can_come_while_a_thread_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """As gevent has them come, by whose greenlets no lock of Python's may be waited for."""
    latest: Latest[int] = Latest(lambda: 7, LONG, "test")
    start, locked = threads.start, []

    def starting(*given: Any) -> Any:
        locked.append(latest._lock.locked())
        return start(*given)

    monkeypatch.setattr(threads, "start", starting)
    assert (latest.get(LONG).value, locked) == (7, [False])


def test_if_no_thread_can_be_started_the_next_reader_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    latest: Latest[int] = Latest(lambda: 7, LONG, "test")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            latest.get(LONG)
    assert latest.get(LONG).value == 7


def test_a_child_gives_up_what_its_parent_had_begun() -> None:
    go_on, parent = threading.Event(), os.getpid()
    latest: Latest[int] = Latest(
        lambda: os.getpid() != parent or go_on.wait(LONG) or 1, 0.0, "test"
    )
    latest.get(0.0)
    child = os.fork()
    if child == 0:
        os._exit(0 if latest.get(LONG, LONG).value else 1)
    go_on.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def known(latest: Latest[int]) -> tuple[int | None, Exception | None]:
    reading = latest.get(LONG)
    return reading.value, reading.error


def fail() -> int:
    raise redis.ConnectionError("down")


def test_a_fault_of_ours_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another test may have met a fault within the last minute.
    throttle = LogThrottle(logging.getLogger("celery_middle_management"))
    monkeypatch.setattr(module, "_trouble", throttle)
    latest: Latest[int] = Latest(lambda: {}["no such key"], LONG, "test")  # type: ignore[return-value]
    assert isinstance(latest.get(LONG).error, KeyError)
    assert "no such key" in caplog.text
