"""A process that ends leaves nothing behind that is not evaluated, and never waits in vain."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from celery import Celery

from celery_middle_management.core.batch import PUBLISHED, UNPLACED, Batch
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.timing import KNOWN_TO_FAIL
from celery_middle_management.counting.tally import Tally
from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.ledger import connection
from celery_middle_management.ledger.model import Changes, Lease, LeaseLost
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.reporting import reporter
from celery_middle_management.reporting.reporter import Reporter, wait_for_last_report
from celery_middle_management.settings.model import Settings
from celery_middle_management.settings.reading import read_settings
from tests.integration.scenes import PREFIX, scene
from tests.integration.stage import stage
from tests.servers import wait_for

LOCK = f"{PREFIX}:lock"
STATE = f"{PREFIX}:state"
#: The threads that leave: one that was given up on goes on, for here no process ends.
LEAVING: list[threading.Thread] = []
#: No exit takes so long (s) that need not wait; one that waits takes longer.
QUICK = 30.0
PATIENCE = 120.0


class Process:
    """The parts of a process that publishes or works, and what it evaluated."""

    def __init__(self, settings: Settings) -> None:
        self.tally = Tally()
        self.ledger = RedisLedger(settings)
        self.lock, self.state = self.ledger.keys["lock"], self.ledger.keys["state"]
        self.reporter = Reporter(settings, self.tally, lambda: self.ledger, lambda: self)
        self.leases: list[Lease] = []
        #: What it does between reading the ledger and giving the lock up.
        self.work: Callable[[Lease], None] = lambda _: None
        self.blocked_for = 0.0

    def publish(self, queue: str = "celery") -> None:
        self.tally.add(PUBLISHED, queue, 0.0)

    def evaluate(self, lease: Lease) -> None:
        self.leases.append(lease)
        snapshot, changes = self.ledger.snapshot(), Changes()
        self.work(lease)
        changes.set["evaluated_at"] = f"{snapshot.now * 1000:.0f}"
        if self.blocked_for:
            changes.set["blocked_until"] = f"{(snapshot.now + self.blocked_for) * 1000:.0f}"
        try:
            self.ledger.commit(lease, changes, snapshot.state.get("seq", "0"), next_in=60.0)
        except LeaseLost:
            return

    def leave(self, identity: str | None = None) -> float:
        """End the process; how long (s) that took."""
        began = time.monotonic()
        leaving = threading.Thread(target=self.reporter.leave, args=(identity,), daemon=True)
        LEAVING.append(leaving)
        leaving.start()
        wait_for_last_report(leaving, self.reporter)
        return time.monotonic() - began

    def present(self, identity: str) -> None:
        """Report as a worker."""
        self.ledger.report(
            Batch(),
            identity,
            Presence(identity, "worker.1", "worker", since=1.0, seen=0.0),
        )


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that waits at its exit waits for long."""
    monkeypatch.setattr(reporter, "EXIT_TIMEOUT", PATIENCE)
    monkeypatch.setattr(reporter, "FAILING_EXIT_TIMEOUT", PATIENCE)


@pytest.fixture(name="settings")
def _settings(redis_url: str) -> Iterator[Settings]:
    app = Celery("leaving", broker=redis_url, set_as_current=False)
    app.conf.update(
        middle_management_enabled=True,
        # No other file's: a process of theirs that still ends must not evaluate here.
        middle_management_heroku_app="leaving",
        middle_management_heroku_api_key="key",
        middle_management_off_platform=True,
        middle_management_max_workers=5,
    )
    settings = read_settings(app)
    assert settings is not None
    yield settings
    # A process that still leaves would evaluate for the next test.
    with closing(RedisLedger(settings)) as ledger:

        def have_left() -> bool:
            ledger.redis.delete(ledger.keys["lock"])
            return not any(thread.is_alive() for thread in LEAVING)

        wait_for(have_left)
    LEAVING.clear()


@pytest.fixture(name="process")
def _process(settings: Settings) -> Iterator[Process]:
    process = Process(settings)
    # Have the first evaluation ever made.
    process.reporter.report()
    wait_for(lambda: not process.ledger.redis.exists(process.lock))
    process.reporter.report()
    process.leases.clear()
    yield process
    process.ledger.close()


def ago(process: Process, **times: float) -> None:
    """Write *times* of the state: so many seconds ago."""
    now = process.ledger.snapshot().now
    written = {name: f"{(now - seconds) * 1000:.0f}" for name, seconds in times.items()}
    process.ledger.redis.hset(process.state, mapping=written)


# -- whole scripts


def test_a_script_after_a_killed_lock_holder_is_hired_for(redis_url: str) -> None:
    with stage(redis_url, command=None) as on:
        on.redis.set(LOCK, "a dead one's", px=6000)
        on.script("work.delay()")
        assert on.quantity == 1


def test_a_task_published_after_the_agent_has_left_is_warned_of(redis_url: str) -> None:
    """As by an ``atexit`` handler that was registered before the package was imported."""
    program = """
from multiprocessing.util import Finalize
Finalize(None, work.delay, exitpriority=1)
work.delay()
"""
    with stage(redis_url, command=None) as on:
        assert "published while the interpreter shuts down" in on.script(program).stderr


def test_a_script_with_a_second_pool_is_hired_for(redis_url: str) -> None:
    """Its own evaluation, for the first pool, is under way when it ends."""
    pools = {"worker": {"queues": ["celery"]}, "pdf": {"queues": ["pdf"]}}
    with stage(
        redis_url,
        command=None,
        process_types={"web": 1, "worker": 0, "pdf": 0},
        settings={"pools": pools},
    ) as on:
        on.emulator.fault("late_after", seconds=1.0, count=1, methods={"PATCH"})
        on.script(f"""
            import redis
            state = redis.Redis.from_url({redis_url!r})
            work.delay()
            while not state.hexists({STATE!r}, "worker/hire"): time.sleep(0.01)
            work.apply_async(queue="pdf")
        """)
        assert on.emulator.quantities() == {"web": 1, "worker": 1, "pdf": 1}


@pytest.mark.parametrize(
    "pool",
    [
        "prefork",
        pytest.param("threads", marks=pytest.mark.slow),
        pytest.param("gevent", marks=pytest.mark.slow),
        pytest.param("eventlet", marks=pytest.mark.slow),
        pytest.param("solo", marks=pytest.mark.slow),
    ],
)
def test_a_warm_shutdown_ends_well_while_the_platform_hangs(pool: str, tmp_path: Path) -> None:
    with scene(tmp_path, command=None, process_types={"worker": 1}) as it:
        publisher = it.program()
        with it.on.worker("-P", pool, "-c", "2", DYNO="worker.1") as worker:
            it.emulator.fault("hang")
            publisher.say("note.delay()")
            it.wait(lambda: [run for run in it.journal.runs() if run.end is not None])
            worker.process.terminate()
            assert worker.process.wait(60.0) == 0, worker.log


def test_the_last_worker_hires_for_what_was_published_when_it_left(tmp_path: Path) -> None:
    """A script leaves at once while a worker watches, so that worker must evaluate once more."""
    with scene(tmp_path, command=None) as it:
        with it.on.worker(DYNO="pdf.1"):
            it.wait(lambda: it.on.state().get("worker/quantity") == "0")
            it.forbid_evaluations()
            it.on.script("note.apply_async(queue='elsewhere')")
            assert it.on.quantity == 0
            it.redis.pexpire(LOCK, 3000)
        assert it.on.quantity == 1


# -- what is waited for


def test_what_is_reported_is_evaluated_at_once(patient: None, process: Process) -> None:
    process.publish()
    assert process.leave() < QUICK
    assert len(process.leases) == 1


def test_what_another_evaluates_is_waited_for(process: Process, settings: Settings) -> None:
    other = Process(settings)
    reading, go_on = threading.Event(), threading.Event()

    def read(_: Lease) -> None:
        reading.set()
        go_on.wait(30)

    other.work = read
    other.publish()
    wait_for(lambda: other.reporter.report() and reading.is_set())
    process.publish()
    leaving = threading.Thread(target=process.leave)
    leaving.start()
    wait_for(lambda: process.ledger.redis.hget(process.state, "worker/published") == "2")
    assert leaving.is_alive()
    go_on.set()
    leaving.join(30)
    # The other had read the ledger before.
    assert len(process.leases) == 1
    assert not process.reporter.has_unseen


def test_a_worker_that_watches_is_relied_on(patient: None, process: Process) -> None:
    process.present("1")
    process.ledger.redis.set(process.lock, "a dead one's", ex=60)
    process.publish()
    assert process.leave() < QUICK
    assert not process.reporter.has_unseen


def test_a_worker_that_has_gone_is_not_relied_on(process: Process) -> None:
    process.present("1")
    process.ledger.report(Batch(), "1")
    process.ledger.redis.set(process.lock, "a dead one's", px=2000)
    process.publish()
    process.leave()
    assert len(process.leases) == 1


def test_nothing_is_at_stake_where_there_are_workers(patient: None, process: Process) -> None:
    process.ledger.redis.hset(process.state, "worker/quantity", 1)
    process.ledger.redis.set(process.lock, "a dead one's", ex=60)
    process.publish()
    assert process.leave() < QUICK
    assert not process.reporter.has_unseen


def test_what_only_a_count_can_place_is_evaluated(process: Process) -> None:
    """Whichever pool it is for, it may have no worker."""
    process.ledger.redis.hset(process.state, "worker/quantity", 1)
    process.ledger.redis.set(process.lock, "a dead one's", px=1000)
    process.tally.add(UNPLACED, "", 0.0)
    process.leave()
    assert len(process.leases) == 1


def test_what_is_published_beside_a_fire_without_an_answer_is_evaluated(process: Process) -> None:
    """There may be no worker any more, whatever the quantity was."""
    fire = {"to": 0, "until": 9e9, "done": False}
    written = {"worker/quantity": 1, "sent": json.dumps({"worker/fire": fire})}
    process.ledger.redis.hset(process.state, mapping=written)
    process.publish()
    process.reporter.report()
    assert process.reporter.has_unseen
    assert process.leave() < QUICK
    assert len(process.leases) == 1
    assert not process.reporter.has_unseen


def test_the_last_worker_waits_until_an_evaluation_has_seen_it(process: Process) -> None:
    process.present("1")
    process.ledger.redis.set(process.lock, "a dead one's", px=2000)
    process.leave("1")
    assert len(process.leases) == 1
    assert not process.ledger.snapshot().presences


# -- what is not waited for


def test_a_process_that_gives_up_warns(
    process: Process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reporter, "LOCK_SECONDS", 0.5)
    monkeypatch.setattr(reporter, "EXIT_TIMEOUT", 1.0)
    process.ledger.redis.set(process.lock, "a dead one's", ex=60)
    process.publish()
    with caplog.at_level(logging.WARNING):
        process.leave()
    assert "may not be hired for what it published last" in caplog.text


def test_a_process_with_nothing_to_report_evaluates_nothing(process: Process) -> None:
    process.leave()
    assert not process.leases


@pytest.mark.parametrize("inactive", ["", "it runs elsewhere"])
def test_a_process_evaluates_what_another_reported_that_never_will(
    process: Process, settings: Settings, inactive: str
) -> None:
    """The other one may have been killed, or run off the platform."""
    other = Process(replace(settings, inactive=inactive))
    process.ledger.redis.set(process.lock, "a dead one's", px=1000)
    other.publish()
    other.reporter.report()
    other.ledger.close()
    process.leave()
    assert len(process.leases) == 1
    assert not other.leases


def test_a_process_that_never_evaluates_and_has_nothing_to_report_makes_no_call(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(replace(settings, inactive="it runs elsewhere"))
    asked: list[object] = []
    monkeypatch.setattr(process.ledger, "report", lambda *told, **how: asked.append(told))
    process.leave()
    assert not asked


def test_redis_that_failed_is_not_waited_for(
    settings: Settings,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(connection, "TIMEOUT", 0.2)
    process = Process(settings)
    process.publish()
    redis_server.pause()
    try:
        process.reporter.report()
        process.ledger.close()
        monkeypatch.undo()
        process.ledger = RedisLedger(settings)
        process.reporter._patience = PATIENCE
        assert process.leave() < QUICK
    finally:
        redis_server.resume()
    assert "may not be hired for what it published last" in caplog.text


def test_a_platform_that_failed_is_not_waited_for(
    process: Process,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    process.blocked_for = 60.0
    process.publish()
    process.leave()
    assert "may not be hired" not in caplog.text
    process.ledger.redis.set(process.lock, "another's", ex=60)
    monkeypatch.setattr(reporter, "FAILING_EXIT_TIMEOUT", PATIENCE)
    script = Process(settings)
    script.publish()
    assert script.leave() < QUICK
    assert "may not be hired for what it published last" in caplog.text


def test_a_platform_that_hangs_holds_up_one_process_only(
    process: Process, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = threading.Event()

    def hang(_: Lease) -> None:
        hung.wait(60)

    process.work = hang
    process.publish()
    process.reporter.report()
    process.leave()
    monkeypatch.setattr(reporter, "FAILING_EXIT_TIMEOUT", PATIENCE)
    script = Process(settings)
    script.publish()
    assert script.leave() < QUICK
    assert script.reporter.has_unseen
    hung.set()
    wait_for(lambda: not process.ledger.redis.exists(process.lock))


@pytest.mark.parametrize("failed", ["blocked_until", "gave_up_at"])
def test_a_platform_that_failed_a_minute_ago_is_not_waited_for(
    failed: str, process: Process, settings: Settings
) -> None:
    """Otherwise each run of a script would wait for it: one a minute, as cron starts them."""
    ago(process, evaluated_at=100, **{failed: 60})
    script = Process(settings)
    script.publish()
    script.leave()
    [lease] = script.leases
    assert lease.ends - lease.won < reporter.FAILING_EXIT_TIMEOUT
    # It has answered.
    later = Process(settings)
    later.reporter.report()
    assert later.reporter.patience == reporter.EXIT_TIMEOUT


def test_a_platform_that_failed_long_ago_may_have_recovered(
    process: Process, settings: Settings
) -> None:
    ago(process, evaluated_at=KNOWN_TO_FAIL + 200, blocked_until=KNOWN_TO_FAIL + 100)
    later = Process(settings)
    later.reporter.report()
    assert later.reporter.patience == reporter.EXIT_TIMEOUT


def test_a_process_that_gives_up_reports_that_for_later_ones(
    process: Process, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "EXIT_TIMEOUT", 1.0)
    hung = threading.Event()
    process.work = lambda _: hung.wait(60)  # type: ignore[assignment, return-value]
    process.publish()
    process.leave()
    wait_for(lambda: process.ledger.redis.hexists(process.state, "gave_up_at"))
    later = Process(settings)
    later.reporter.report()
    assert later.reporter.patience == reporter.FAILING_EXIT_TIMEOUT
    hung.set()
    wait_for(lambda: not process.ledger.redis.exists(process.lock))


def test_an_evaluation_at_the_end_ends_in_time(process: Process) -> None:
    process.publish()
    process.leave()
    [lease] = process.leases
    assert lease.deadline < time.monotonic() + reporter.EXIT_TIMEOUT
