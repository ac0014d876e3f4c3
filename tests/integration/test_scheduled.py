"""Tasks with an ETA need no worker until they are due, and are never forgotten."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery

from celery_middle_management.core.batch import PUBLISHED, Batch
from celery_middle_management.core.demand import COARSE_BUCKET, FINE_BUCKET, FINE_HORIZON, bucket_of
from celery_middle_management.core.pool_count import TAKEN_WITHIN
from celery_middle_management.core.pool_state import BOOT_SECONDS
from celery_middle_management.counting.tally import Tally
from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.ledger.model import Reply
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.reporting.reporter import MOST_AT_ONCE
from celery_middle_management.settings.reading import read_settings
from tests.integration.office import office
from tests.integration.scenes import A_WHILE, PREFIX, Scene, scene
from tests.servers import SlowLine


@pytest.mark.slow
def test_a_pool_at_zero_is_woken_ahead_of_the_due_time(tmp_path: Path) -> None:
    """By its publisher, which is still alive."""
    countdown = 25.0
    with scene(tmp_path) as it:
        publisher = it.program()
        published = time.monotonic()  # or later
        publisher.say(f"note.apply_async(countdown={countdown})")
        it.wait(lambda: it.changes)
        # Not as soon as it was published: a bucket begins earlier, and a boot takes its time.
        sooner = it.emulator.changes[0].at - published
        assert countdown - FINE_BUCKET - BOOT_SECONDS - 2.0 <= sooner
        it.wait(it.journal.runs)
        [run] = it.journal.runs()
        assert run.begin - published >= countdown - 2.0
        it.wait_for_quantity(0)
        it.wait(lambda: len(it.emulator.stops) == 1)
        assert it.changes == [(0, 1), (1, 0)]
        it.assert_no_worker_was_killed()


@pytest.mark.slow
def test_a_pool_at_zero_is_woken_by_another_publisher(tmp_path: Path) -> None:
    """Its publisher is dead, and nothing else will be due for a long time."""
    with scene(tmp_path, settings={"count_interval": 600}) as it:
        it.program().say("note.delay()")
        it.wait(lambda: it.emulator.stops)
        publisher = it.program()
        publisher.say("note.apply_async(countdown=30)")
        it.wait(lambda: buckets(it))
        os.kill(publisher.pid, signal.SIGKILL)
        it.wait(lambda: len([run for run in it.journal.runs() if run.end]) == 2, 90.0)
        it.wait_for_quantity(0)
        it.assert_no_worker_was_killed()


@pytest.mark.slow
def test_a_fired_worker_gives_back_what_it_held_for_later(tmp_path: Path) -> None:
    with scene(tmp_path, settings={"count_interval": 2}) as it:
        publisher = it.program()
        publisher.say("note.apply_async(countdown=300); note.delay(again_in=600); hold.delay()")
        it.wait(lambda: len(it.journal.runs()) == 2 and sum(buckets(it).values()) == 2)
        # This one is not reported; a count finds it when its publisher has had time to report it.
        it.program(MM_OFF="1").say("note.apply_async(countdown=300)")
        it.wait(lambda: sum(buckets(it).values()) == 3)

        # The ledger is lost: what the workers hold is in it again after a count.
        it.redis.delete(*it.redis.keys(f"{PREFIX}:*"))
        it.wait(lambda: sum(buckets(it).values()) == 3)
        assert len(it.running) == 1

        it.let_go(*it.at_work)
        it.wait_for_quantity(0)
        it.wait(lambda: not [d for d in it.emulator.dynos() if d.type == "worker"])
        assert it.redis.llen("celery") == 3
        assert it.redis.zcard("unacked_index") == 0
        assert sum(buckets(it).values()) == 3
        # Time passes.
        messages = it.redis.lrange("celery", 0, -1)
        it.redis.delete("celery")
        it.redis.rpush("celery", *(due_now(message) for message in messages))
        publisher.say("note.delay()")
        it.wait(lambda: len([run for run in it.journal.runs() if run.end]) == 6)
        it.wait_for_quantity(0)
        it.assert_no_worker_was_killed()


@pytest.mark.slow
def test_no_worker_is_hired_for_scheduled_tasks_on_their_way(tmp_path: Path) -> None:
    # Counted all the time, so that a count comes upon messages on their way.
    with scene(tmp_path, settings={"count_interval": 0.5, "min_workers": 1}) as it:
        publisher = it.program()
        publisher.say("note.delay()")
        it.wait(lambda: it.presence("worker.1") and len(it.journal.runs()) == 1)
        it.wait_for_quantity(1)
        before = len(it.changes)
        publisher.say(
            "import time\nfor _ in range(400): note.apply_async(countdown=600); time.sleep(0.02)"
        )
        it.wait(lambda: scheduled_by_workers(it) == 400)
        assert len(it.changes) == before, it.told()


@pytest.mark.slow
def test_no_worker_is_hired_for_a_scheduled_task_of_protocol_1(tmp_path: Path) -> None:
    """Its ETA is in its body alone."""
    with scene(tmp_path, settings={"count_interval": 0.5}, env={"PROTOCOL": "1"}) as it:
        publisher = it.program()
        publisher.say("note.apply_async(countdown=600)")
        it.wait(lambda: sum(buckets(it).values()) == 1)
        time.sleep(A_WHILE)
        assert it.changes == [], it.told()
        # A worker that is there for another task takes it, and is not kept by it.
        publisher.say("note.delay()")
        it.wait(lambda: it.emulator.stops)
        assert it.changes == [(0, 1), (1, 0)]
        assert sum(buckets(it).values()) == 1
        it.wait(lambda: it.on.status()["tasks"]["scheduled"] == 1)
        [run] = it.journal.runs()
        assert run.end is not None


#: After 30 s, a worker would be hired for what no process has reported.
PUBLISHES_FOR_NINE_SECONDS = """
import time
result, end = 0, time.monotonic() + 9
while time.monotonic() < end:
    note.apply_async(countdown=600)
    result += 1
    time.sleep(0.01)
"""


@pytest.mark.slow
def test_no_worker_is_hired_while_many_scheduled_tasks_are_published(tmp_path: Path) -> None:
    """No worker takes them, and a count finds some before their publisher reports them."""
    with scene(tmp_path) as it:
        published = it.program().say(PUBLISHES_FOR_NINE_SECONDS)
        it.wait(lambda: sum(buckets(it).values()) == published)
        time.sleep(A_WHILE)
        assert it.changes == [], it.told()


@pytest.mark.slow
def test_no_worker_is_hired_for_what_fired_workers_give_back(tmp_path: Path) -> None:
    # Counted all the time, so that a count comes upon messages on their way.
    with scene(tmp_path, settings={"count_interval": 0.5}) as it:
        publisher = it.program()
        publisher.say("for _ in range(4): hold.delay()")
        it.wait_at_work("worker.1", "worker.2", "worker.3", "worker.4")
        publisher.say("for _ in range(200): note.apply_async(countdown=300)")
        it.wait(lambda: sum(buckets(it).values()) == 200)
        hired = len(it.changes)
        # A worker that is done takes them, is fired, and gives them back for the next.
        for dyno in ("worker.4", "worker.3", "worker.2", "worker.1"):
            it.let_go(dyno)
            it.wait(lambda: scheduled_by_workers(it) > 0 or not it.at_work)
        it.wait_for_quantity(0)
        it.wait(lambda: not [d for d in it.emulator.dynos() if d.type == "worker"])
        assert it.redis.llen("celery") == 200
        time.sleep(A_WHILE)
        assert it.on.quantity == 0
        assert all(after < before for before, after in it.changes[hired:]), it.told()
        it.assert_no_worker_was_killed()


@pytest.mark.slow
def test_no_worker_is_stopped_that_could_not_give_back_in_time(tmp_path: Path) -> None:
    """Over a slow line to the broker, no task that is held for later is lost from sight."""
    tasks = 150  # a worker that gave them back when it is stopped would take longer than it may
    with (
        RedisServer() as broker,
        SlowLine(urlsplit(broker.url).port or 0, delay=0.02) as line,
        redis.Redis.from_url(broker.url) as client,
        scene(
            tmp_path,
            broker_url=line.url(broker.url),
            settings={"max_workers": 1},
            kill_after=13.0,
        ) as it,
    ):
        publisher = it.program(BROKER_URL=broker.url)
        # They come first: a worker that is at work takes no others.
        publisher.say(f"for _ in range({tasks}): note.apply_async(countdown=300)")
        publisher.say("note.apply_async(countdown=600); late.apply_async((0,), countdown=900)")
        publisher.say("hold_early.delay()")
        it.wait(lambda: it.changes)
        # Otherwise it looks idle before it has come to the task that runs.
        allow = it.forbid_evaluations()
        it.wait_at_work("worker.1")
        it.wait(lambda: scheduled_by_workers(it) == tasks + 2)
        allow()
        it.let_go("worker.1")
        it.wait_for_quantity(0)
        it.wait(lambda: not [d for d in it.emulator.dynos() if d.type == "worker"])
        assert (client.llen("celery"), client.zcard("unacked_index")) == (tasks + 2, 0)
        assert sum(buckets(it).values()) == tasks + 2
        assert it.on.presences() == []
        time.sleep(A_WHILE)
        assert it.changes == [(0, 1), (1, 0)], it.told()
        it.assert_no_worker_was_killed()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_million_tasks_of_a_day_take_no_more_than_its_buckets(redis_url: str) -> None:
    """As many as publishers would add at once in some minutes, some thousand in each report."""
    app = Celery(broker=redis_url)
    app.conf.update(
        middle_management_enabled=True,
        middle_management_platform="local",
        middle_management_max_workers=1,
    )
    settings = read_settings(app)
    assert settings is not None
    ledger, tally, tasks = RedisLedger(settings), Tally(), 1_000_000
    for _ in range(0, tasks, 5_000):
        for _ in range(5_000):
            tally.add(PUBLISHED, "celery", time.time() + random.uniform(60, 86_400))
        batch = Batch(settings.pool_name)
        tally.drain(batch)
        ledger.report(batch)
    snapshot = ledger.snapshot()
    assert snapshot.now - snapshot.time("worker/scheduled_at") < TAKEN_WITHIN
    due = snapshot.due["worker"]
    fine, coarse = FINE_HORIZON / FINE_BUCKET, (86_400 - FINE_HORIZON) / COARSE_BUCKET
    # One more where the fine ones end, and those that begin while it is published.
    assert len(due) <= fine + coarse + 20
    assert sum(due.values()) == tasks
    ledger.close()


@pytest.mark.parametrize("ahead", [600, 2 * FINE_HORIZON])
def test_the_ledgers_buckets_are_those_that_workers_report(redis_url: str, ahead: int) -> None:
    with office(redis_url) as it:
        # In the middle of one, of either size.
        due = (time.time() + ahead) // COARSE_BUCKET * COARSE_BUCKET + FINE_BUCKET / 2
        it.tally.add(PUBLISHED, "celery", due)
        now = it.report().now
        assert it.ledger.snapshot().due["worker"] == {bucket_of(due, now): 1}


def test_due_times_held_while_the_ledger_is_away_do_not_block_redis_when_it_is_back(
    lonely_redis_url: str,
) -> None:
    """Each is due in a second of its own."""
    with office(lonely_redis_url) as it:
        tasks, first = 300_000, time.time() + 60
        for n in range(tasks):
            it.tally.add(PUBLISHED, "celery", first + n)
        it.redis.config_resetstat()
        began = it.report().now
        due = it.ledger.snapshot().due["worker"]
        assert sum(due.values()) == tasks
        calls: Any = it.redis.info("commandstats")
        least = len(due) / MOST_AT_ONCE
        assert least <= calls["cmdstat_evalsha"]["calls"] <= least + 5
        # As many as are due by then are reported as due by then, or some more, but never fewer.
        for when in range(int(began) + 60, int(began) + tasks, 10_007):
            late = when - first - sum(n for bucket, n in due.items() if bucket <= when)
            assert -2 * COARSE_BUCKET <= late <= 1, "the publisher's clock and Redis' are the same"


def test_an_evaluation_waits_until_all_is_reported(redis_url: str) -> None:
    """If it saw a part only, it would hire workers for that part."""
    with office(redis_url) as it:
        for n in range(2 * MOST_AT_ONCE + 1):
            it.tally.add(PUBLISHED, "celery", time.time() + 3600 + n * 60)
        assert it.report().lease is not None
        due = it.ledger.snapshot().due["worker"]
        assert sum(due.values()) == 2 * MOST_AT_ONCE + 1


def test_what_a_failing_ledger_did_not_get_is_reported_later(redis_url: str) -> None:
    """Some of it was reported, in the parts that went well."""
    with office(redis_url) as it:
        tasks = 2 * MOST_AT_ONCE + 1
        for n in range(tasks):
            it.tally.add(PUBLISHED, "celery", time.time() + 3600 + n * 60)
        report, told = it.ledger.report, []

        def fail(*arguments: Any, **options: Any) -> Reply:
            if len(told) == 1:
                told.append("failed")
                raise redis.ConnectionError("gone")
            told.append("told")
            return report(*arguments, **options)

        with patch.object(it.ledger, "report", fail):
            assert it.reporter.report() is None
            assert it.reporter.report() is not None
        assert told[:2] == ["told", "failed"]
        assert sum(it.ledger.snapshot().due["worker"].values()) == tasks


def buckets(it: Scene) -> dict[str, int]:
    """Scheduled tasks by due time, as the ledger has them."""
    due: dict[str, str] = it.redis.hgetall(f"{PREFIX}:due")  # type: ignore[assignment]
    return {bucket: int(tasks) for bucket, tasks in due.items()}


def scheduled_by_workers(it: Scene) -> int:
    return sum(held[2] for presence in it.on.presences() for held in presence["held"].values())


def due_now(message: Any) -> str:
    document = json.loads(message)
    document["headers"]["eta"] = None
    return json.dumps(document)
