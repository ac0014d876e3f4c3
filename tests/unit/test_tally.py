"""What is recorded is found again, whichever process recorded it and however that ended."""

from __future__ import annotations

import io
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from time import monotonic, time

import pytest

from celery_middle_management.core.batch import (
    FINISHED,
    MOST_QUEUES,
    PUBLISHED,
    SLICE,
    Batch,
    Moment,
    Record,
)
from celery_middle_management.core.demand import COARSE_BUCKET, FINE_BUCKET, FINE_HORIZON
from celery_middle_management.counting import tally as module
from celery_middle_management.counting.tally import Tally
from celery_middle_management.ledger.clocks import SYSTEM

from ..servers import wait_for


def totals(batch: Batch) -> tuple[int, int, int]:
    """Tasks published, scheduled and finished."""
    published = sum(n for slots in batch.published.values() for n in slots.values())
    scheduled = sum(due.tasks for slots in batch.scheduled.values() for due in slots.values())
    return published, scheduled, sum(done.tasks for done in batch.finished.values())


def dues(batch: Batch, pool: str = "a") -> dict[float, int]:
    """Scheduled tasks by when the first of their bucket is due."""
    return {due.first: due.tasks for due in batch.scheduled[pool].values()}


def drained(tally: Tally, batch: Batch | None = None) -> Batch:
    batch = Batch() if batch is None else batch
    tally.drain(batch)
    return batch


def child(work: Callable[[], None]) -> int:
    """Fork a child that does some work; return its process id."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)  # whatever happens to the test, its children end
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


@pytest.fixture(name="shared")
def _shared() -> Iterator[Tally]:
    """The tally of a worker whose children share it."""
    tally = Tally()
    tally.share_with_children()
    yield tally
    close(tally)


def pipe_of(tally: Tally) -> tuple[io.FileIO, int]:
    pipe = tally._pipe
    assert pipe is not None
    return pipe


def close(tally: Tally) -> None:
    read, write = pipe_of(tally)
    read.close()
    os.close(write)


# -- batches


def test_an_empty_batch_is_false() -> None:
    assert not Batch()
    for kind, value in ((PUBLISHED, 0.0), (PUBLISHED, 99.0), (FINISHED, 0.0)):
        batch = Batch()
        batch.add(Record(kind, "celery", 1.0, value), SYSTEM.now())
        assert batch


def test_records_add_up_by_queue_and_time() -> None:
    batch = Batch()
    for at in (5.0, 5.0 - SLICE / 2, 6.0):
        batch.add(Record(PUBLISHED, "a", at, 0.0), SYSTEM.now())
    batch.add(Record(PUBLISHED, "b", 5.0, 0.0), SYSTEM.now())
    assert batch.published == {"a": {5000: 2, 6000: 1}, "b": {5000: 1}}


def test_no_task_is_reported_as_published_before_it_was() -> None:
    """Otherwise a count taken in between would be taken to have seen it, which it cannot have."""
    for part in range(10):
        batch, at = Batch(), 5.0 + part * SLICE / 10
        batch.add(Record(PUBLISHED, "a", at, 0.0), SYSTEM.now())
        (slot,) = batch.published["a"]
        assert at <= slot * SLICE < at + SLICE


def test_scheduled_tasks_add_up_by_bucket_which_knows_when_the_first_is_due() -> None:
    batch, now = Batch(), time()
    soon, later = (now + 60) // 60 * 60, (now + 90_000) // 60 * 60
    for due in (soon + 2.9, soon + 2.2, soon + 10, later + 59, later + 12):
        batch.add(Record(PUBLISHED, "a", 5.0, due), SYSTEM.now())
    assert dues(batch) == {soon + 2.2: 2, soon + 10: 1, later + 12: 2}
    assert not batch.published


def test_buckets_begin_where_the_ledgers_do_as_far_as_its_clock_is_known() -> None:
    batch, begin = Batch(ahead=-0.5), (time() + 60) // 60 * 60
    for due in (begin + 0.4, begin + 0.6, begin + 10.4, begin + 10.6):
        batch.add(Record(PUBLISHED, "a", 5.0, due), SYSTEM.now())
    assert dues(batch) == {begin + 0.4: 1, begin + 0.6: 2, begin + 10.6: 1}


def test_unreported_due_times_do_not_grow_with_their_seconds() -> None:
    batch, now = Batch(), int(time())
    day = 86_400
    for due in range(now, now + day):
        batch.add(Record(PUBLISHED, "a", 5.0, float(due)), SYSTEM.now())
    assert totals(batch) == (0, day, 0)
    fine, coarse = FINE_HORIZON / FINE_BUCKET, (day - FINE_HORIZON) / COARSE_BUCKET
    assert len(batch.scheduled["a"]) <= fine + coarse + 20


def test_unreported_records_do_not_grow_with_the_names_of_queues() -> None:
    batch = Batch(lambda queue: None if queue == "theirs" else "worker")
    for n in range(3 * MOST_QUEUES):
        batch.add(Record(PUBLISHED, f"user-{n}", 5.0, 0.0), SYSTEM.now())
        batch.add(Record(FINISHED, f"user-{n}", 5.0, 1.0), SYSTEM.now())
    batch.add(Record(PUBLISHED, "theirs", 5.0, 0.0), SYSTEM.now())
    assert totals(batch) == (3 * MOST_QUEUES, 0, 3 * MOST_QUEUES)
    assert [*batch.published, *batch.finished] == ["worker", "worker"]
    assert list(batch.queues) == [f"user-{n}" for n in range(2 * MOST_QUEUES, 3 * MOST_QUEUES)]
    batch.give_back(batch.take(1))
    assert len(batch.queues) == MOST_QUEUES


def test_a_part_is_no_longer_than_what_redis_adds_in_one_go() -> None:
    batch, now = Batch(), time()
    for n in range(100):
        batch.add(Record(PUBLISHED, "a", float(n), 0.0), SYSTEM.now())
        batch.add(Record(PUBLISHED, "b", 5.0, now + n * 60), SYSTEM.now())
    parts = []
    while batch:
        parts.append(batch.take(30))
    assert [sum(totals(part)) for part in parts] == [30] * 6 + [20]


def test_run_times_add_up() -> None:
    batch = Batch()
    for runtime in (2.0, 3.0):
        batch.add(Record(FINISHED, "a", 5.0, runtime), SYSTEM.now())
    done = batch.finished["a"]
    assert (done.tasks, done.runtime, done.runtime_squares) == (2, 5.0, 13.0)


def test_what_could_not_be_reported_is_as_if_published_at_the_latest_time() -> None:
    batch, due = Batch(), time() // 10 * 10 + 100
    for at in (5.0, 6.0, 5.5):
        batch.add(Record(PUBLISHED, "a", at, 0.0), SYSTEM.now())
    batch.add(Record(PUBLISHED, "a", 5.0, due), SYSTEM.now())
    for most in (9, 1):
        batch.give_back(batch.take(most))
    assert batch.published == {"a": {6000: 3}}
    assert dues(batch) == {due: 1}


# -- one process


def test_what_is_added_is_drained_once() -> None:
    tally = Tally()
    began = monotonic()
    tally.add(PUBLISHED, "celery", 0.0)
    tally.add(PUBLISHED, "celery", 99.5)
    tally.add(FINISHED, "celery", 1.5)
    batch = drained(tally)
    assert totals(batch) == (1, 1, 1)
    (slot,) = batch.published["celery"]
    assert began <= slot * SLICE < monotonic() + SLICE
    assert not drained(tally)
    assert not tally.shared


def test_a_batch_knows_when_it_began() -> None:
    tally, batch = Tally(), Batch()
    before = monotonic()
    tally.add(PUBLISHED, "celery", 0.0)
    after = monotonic()
    for _ in range(2):
        assert before <= drained(tally, batch).since <= after
        tally.add(PUBLISHED, "celery", 0.0)


def test_a_signal_handler_may_add_while_its_thread_adds() -> None:
    tally, batch = Tally(), Batch()
    added = 0

    def handle(*_: object) -> None:
        nonlocal added
        added += 1
        tally.add(PUBLISHED, "handler", 0.0)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    try:
        while added < 500:
            tally.add(PUBLISHED, "celery", 0.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    tally.drain(batch)
    assert sum(batch.published["handler"].values()) == added


def test_many_threads_add_while_one_drains() -> None:
    tally, batch = Tally(), Batch()

    def publish() -> None:
        for _ in range(2000):
            tally.add(PUBLISHED, "celery", 0.0)

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        tally.drain(batch)
    assert totals(drained(tally, batch)) == (16_000, 0, 0)


def test_a_fork_does_not_double_what_the_parent_has_not_flushed() -> None:
    tally = Tally()
    tally.add(PUBLISHED, "celery", 0.0)
    tally.add(PUBLISHED, "celery", 0.0)
    read, write = os.pipe()

    def work() -> None:
        tally.after_fork()
        before = bool(drained(tally))
        tally.add(PUBLISHED, "celery", 0.0)
        os.write(write, repr((before, totals(drained(tally)))).encode())

    pid = child(work)
    os.close(write)
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"(False, (1, 0, 0))"
    os.close(read)
    assert totals(drained(tally)) == (2, 0, 0)


# -- a worker and its children


def test_the_pipe_is_opened_once(shared: Tally) -> None:
    pipe = pipe_of(shared)
    shared.share_with_children()
    assert pipe_of(shared) == pipe
    assert shared.shared


def test_a_system_that_cannot_enlarge_pipes_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module.fcntl, "F_SETPIPE_SZ", raising=False)
    tally = Tally()
    tally.share_with_children()
    assert tally.shared
    close(tally)


def test_the_worker_finds_what_its_children_recorded(shared: Tally) -> None:
    def work() -> None:
        shared.after_fork()
        for _ in range(100):
            shared.add(PUBLISHED, "žluťoučký", 0.0)
            shared.add(PUBLISHED, "", 99.0)
            shared.add(FINISHED, "celery", 0.5)
        assert not drained(shared), "a child leaves the pipe to its worker"

    shared.add(PUBLISHED, "žluťoučký", 0.0)
    children = [child(work) for _ in range(3)]
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    batch = drained(shared)
    assert totals(batch) == (301, 300, 300)
    assert set(batch.published) == {"žluťoučký"}
    assert batch.finished["celery"].runtime == 150.0


def test_records_are_whole_when_children_are_killed_while_writing(shared: Tally) -> None:
    def work() -> None:
        shared.after_fork()
        for n in itertools.count():
            shared.add(PUBLISHED, f"queue-{n % 7}" * 9, 0.0)

    batch = Batch()
    for _ in range(3):
        pid = child(work)
        before = totals(batch)[0]
        wait_for(lambda before=before: totals(drained(shared, batch))[0] > before)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    drained(shared, batch)
    assert set(batch.published) == {f"queue-{n}" * 9 for n in range(7)}
    before = totals(batch)[0]
    shared.after_fork()  # as the next child would
    shared.add(PUBLISHED, "last", 0.0)
    shared._in_child = False
    drained(shared, batch)
    assert sum(batch.published["last"].values()) == 1
    assert totals(batch)[0] == before + 1


def test_a_full_pipe_blocks_no_process(shared: Tally) -> None:
    def work() -> None:
        shared.after_fork()
        for _ in range(100_000):
            shared.add(PUBLISHED, "celery", 0.0)

    def go_on() -> None:
        shared.after_fork()
        shared.add(FINISHED, "celery", 1.0)

    assert os.waitpid(child(work), 0)[1] == 0
    some = totals(drained(shared))[0]
    assert 0 < some < 100_000
    assert os.waitpid(child(go_on), 0)[1] == 0
    assert totals(drained(shared)) == (0, 0, 1)


def test_a_drain_ends_while_others_record_without_end(shared: Tally) -> None:
    class Answering(Batch):
        """For each record that it is given, this process and a child make another."""

        def add(self, record: Record, now: Moment) -> None:
            super().add(record, now)
            shared.add(PUBLISHED, "own", 0.0)
            shared._in_child = True
            shared.add(PUBLISHED, "child", 0.0)
            shared._in_child = False

    shared.add(PUBLISHED, "own", 0.0)
    batch = Answering()
    told = [totals(drained(shared, batch))[0] for _ in range(3)]
    assert 0 < told[0] < told[1] < told[2]


@pytest.mark.parametrize("cut", [1, 18, 23, 25, 28])
def test_a_record_read_in_parts(shared: Tally, cut: int) -> None:
    name = "celery"
    head = module._HEAD.pack(len(name), PUBLISHED, 5.0, 0.0, 1)
    data = 2 * (head + name.encode())
    write = pipe_of(shared)[1]
    batch = Batch()
    os.write(write, data[:cut])
    drained(shared, batch)
    os.write(write, data[cut:])
    drained(shared, batch)
    assert batch.published == {"celery": {5000: 2}}


def test_a_pipe_without_writers_is_at_its_end() -> None:
    tally = Tally()
    tally.share_with_children()
    read, write = pipe_of(tally)
    os.close(write)
    assert not drained(tally)
    read.close()
