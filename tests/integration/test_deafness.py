"""A worker that has gone deaf renews its connection, or it is no capacity."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from tests.integration.scenes import RELEASE, Program, Scene, scene
from tests.integration.stage import ALONE
from tests.rabbitmq_server import RabbitServer
from tests.servers import SlowLine, Worker, wait_for

#: How a worker's log says that it renews its connection.
RENEWS = "it renews its connection"
ENV = {
    "DEAF_AFTER": "4",  # seconds, for 60
    # kombu 5.7 notices by itself that Redis owes it an answer, after 26 s by default.
    "TRANSPORT_OPTIONS": json.dumps({"health_check_interval": 600}),
}


@contextmanager
def worker_behind_a_line(
    tmp_path: Path,
    *arguments: str,
    rabbitmq: RabbitServer | None = None,
    queue: str = "celery",
    min_workers: int = 1,
    **env: str,
) -> Iterator[tuple[Scene, Program, SlowLine, Worker]]:
    """One worker, whose connections to its broker can die."""
    settings = {"min_workers": min_workers, "max_workers": 1, "count_interval": 2}
    alone = ALONE | {"settings": settings}
    env = {**ENV, "TASK_QUEUE": queue, **env}
    if rabbitmq:
        del env["TRANSPORT_OPTIONS"]
        env["NO_HEARTBEAT"] = "1"
    with scene(
        tmp_path, own_ledger=True, broker_url=rabbitmq and rabbitmq.url, env=env, **alone
    ) as it:
        url = it.on.env["BROKER_URL"]
        with (
            SlowLine(urlsplit(url).port or 0) as line,
            it.on.worker(*arguments, DYNO="worker.1", BROKER_URL=line.url(url)) as worker,
        ):
            yield it, it.program(), line, worker


def wait_for_runs(it: Scene, runs: int, worker: Worker) -> None:
    wait_for(lambda: len(it.journal.runs()) == runs, 45.0, lambda: it.told() + worker.log)


def wait_for_unacknowledged(it: Scene, messages: int) -> None:
    """A task begins a moment before Redis hears that it is acknowledged."""
    with redis.Redis.from_url(it.broker.url) as client:
        it.wait(lambda: client.hlen("unacked") == messages)


def wait_until_no_worker_asks(it: Scene) -> None:
    """Nothing that is published from now on goes to the dead."""
    with redis.Redis.from_url(it.broker.url) as client:
        it.wait(lambda: not client.info("clients")["blocked_clients"])  # type: ignore[index]


@pytest.mark.parametrize(
    ("pool", "task"),
    [
        ("prefork", "hold_early"),
        pytest.param("prefork", "hold", marks=pytest.mark.slow),
        pytest.param("threads", "hold_early", marks=pytest.mark.slow),
        pytest.param("gevent", "hold_early", marks=pytest.mark.slow),
        pytest.param("eventlet", "hold_early", marks=pytest.mark.slow),
    ],
)
def test_a_dead_connection_strands_no_task_and_harms_none_that_runs(
    pool: str, task: str, tmp_path: Path
) -> None:
    patch = {"PATCH": pool} if pool in ("gevent", "eventlet") else {}
    with worker_behind_a_line(tmp_path, "-P", pool, "-c", "3", **patch) as stage:
        it, publisher, line, worker = stage
        publisher.say(f"{task}.delay()")
        it.wait_at_work("worker.1")
        wait_for_unacknowledged(it, int(task == "hold"))
        line.die()
        wait_until_no_worker_asks(it)
        publisher.say("note.delay()")
        it.wait(lambda: RENEWS in worker.log)
        if pool != "prefork" or RELEASE >= (5, 7):
            # Before, Celery may give the task to the child that is busy.
            wait_for(lambda: ended(it) == 1, 45.0, lambda: it.told() + worker.log)
            assert it.journal.runs()[0].end is None
        wait_for(lambda: first_has_ended(it), 45.0, lambda: it.told() + worker.log)
        wait_for(lambda: ended(it) >= 2, 45.0, lambda: it.told() + worker.log)
        _, *others = it.journal.runs()
        # Celery's reconnecting gives back what is acknowledged late.
        assert len(others) == 1 or task == "hold"
        # On a busy machine, a connection may seem dead once more.
        assert worker.log.count(RENEWS) <= 2
        worker.kill()


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_a_dead_connection_strands_no_task_of_a_full_worker(pool: str, tmp_path: Path) -> None:
    """It holds as many messages as it may, and cannot say that their tasks have ended."""
    patch = {"PATCH": pool} if pool == "gevent" else {}
    with worker_behind_a_line(tmp_path, "-P", pool, "-c", "2", **patch) as stage:
        it, publisher, line, worker = stage
        publisher.say("for _ in range(2): hold.delay()")
        it.wait(lambda: len(it.running) == 2)
        wait_for_unacknowledged(it, 2)
        line.die()
        wait_until_no_worker_asks(it)
        publisher.say("note.delay()")
        for _ in range(2):
            it.let_go("worker.1")

        def noted() -> bool:
            it.journal.let_go("worker.1")  # one that is run once more
            return any(run.end is not None for run in it.journal.runs()[2:])

        wait_for(noted, 60.0, lambda: it.told() + worker.log)
        worker.kill()


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_a_connection_long_dead_strands_no_task(pool: str, tmp_path: Path) -> None:
    """Longer than until green threads ask their own connection for control whether it lives."""
    env = {"PATCH": pool, "DEAF_AFTER": "35"}
    with worker_behind_a_line(tmp_path, "-P", pool, "-c", "2", **env) as stage:
        it, publisher, line, worker = stage
        it.wait(lambda: "pidbox: Connected" in worker.log)
        line.die()
        wait_until_no_worker_asks(it)
        publisher.say("note.delay()")
        wait_for(lambda: ended(it) == 1, 90.0, lambda: it.told() + worker.log)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_broker_that_stands_still_does_not_have_a_healthy_worker_renew(
    pool: str, tmp_path: Path
) -> None:
    with worker_behind_a_line(tmp_path, "-P", pool, "-c", "2") as (it, publisher, _, worker):
        publisher.say("for _ in range(2): hold.delay()")
        it.wait(lambda: len(it.running) == 2)
        it.broker.pause()
        it.let_go("worker.1")
        time.sleep(3 * float(ENV["DEAF_AFTER"]))
        it.broker.resume()
        it.let_go("worker.1")
        it.wait(lambda: ended(it) == 2)
        publisher.say("note.delay()")
        wait_for_runs(it, 3, worker)
        assert RENEWS not in worker.log


@pytest.mark.slow
def test_a_loop_that_no_longer_polls_its_broker_strands_no_task(
    tmp_path: Path,
) -> None:
    with worker_behind_a_line(tmp_path, FORGETS_BROKER="1") as (it, publisher, _, worker):
        publisher.say("note.delay()")
        wait_for_runs(it, 1, worker)
        assert RENEWS in worker.log


def first_has_ended(it: Scene) -> bool:
    """Let go whatever the worker runs."""
    it.journal.let_go("worker.1")
    return it.journal.runs()[0].end is not None


def ended(it: Scene) -> int:
    return sum(run.end is not None for run in it.journal.runs())


@pytest.mark.slow
@pytest.mark.rabbitmq
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_dead_connection_to_rabbitmq_strands_no_task(
    pool: str, tmp_path: Path, rabbitmq: RabbitServer
) -> None:
    with worker_behind_a_line(
        tmp_path, "-P", pool, "-c", "2", rabbitmq=rabbitmq, queue=f"dead-line-{pool}"
    ) as (it, publisher, line, worker):
        publisher.say("note.delay()")
        wait_for_runs(it, 1, worker)
        line.die()
        # What RabbitMQ has given to the dead, it keeps for them; the rest waits.
        publisher.say("for _ in range(20): note.delay()")
        wait_for(lambda: len(it.journal.runs()) > 10, 45.0, lambda: it.told() + worker.log)
        assert worker.log.count(RENEWS) == 1


@pytest.mark.slow
def test_a_task_that_celery_would_cancel_is_not_killed_for_a_dead_line(tmp_path: Path) -> None:
    with worker_behind_a_line(tmp_path, "-c", "2", CANCELS="1") as (it, publisher, line, worker):
        publisher.say("hold.delay()")
        it.wait_at_work("worker.1")
        line.die()
        wait_until_no_worker_asks(it)
        publisher.say("note.delay()")
        it.wait(lambda: it.on.status()["workers"]["deaf"])
        assert RENEWS not in worker.log
        it.let_go("worker.1")
        worker.kill()


@pytest.mark.slow
def test_a_dead_line_does_not_keep_a_worker_from_being_fired(tmp_path: Path) -> None:
    with worker_behind_a_line(tmp_path, "-c", "1", min_workers=0) as (it, publisher, line, worker):
        publisher.say("hold_early.delay()")
        it.wait_at_work("worker.1")
        wait_for_unacknowledged(it, 0)
        line.die()
        it.let_go("worker.1")
        wait_for(lambda: it.on.quantity == 0, 45.0, lambda: it.told() + worker.log)
        worker.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "for _ in range(2): hold_early.delay()",
        "app.control.cancel_consumer('celery', reply=True); note.delay()",
        "app.control.rate_limit(note.name, '1/h', reply=True)\nfor _ in range(3): note.delay()",
    ],
    ids=["busy", "told not to consume", "held back for a rate limit"],
)
def test_a_worker_that_may_take_nothing_is_not_taken_for_deaf(code: str, tmp_path: Path) -> None:
    settings = {"min_workers": 1, "max_workers": 1, "count_interval": 1}
    alone = {**ALONE, "settings": settings}
    with (
        scene(tmp_path, own_ledger=True, env=ENV, **alone) as it,
        it.on.worker("-c", "1", DYNO="worker.1") as worker,
    ):
        it.program().say(code)
        it.wait(lambda: it.count and it.count["waiting"])
        counted = it.count["at"]
        it.wait(lambda: it.count["at"] > counted + 2.5 * float(ENV["DEAF_AFTER"]))
        assert it.count["waiting"]
        assert "deaf" not in it.on.state()
        assert RENEWS not in worker.log
        worker.kill()


@pytest.mark.slow
def test_a_worker_that_hangs_is_not_taken_for_help(tmp_path: Path) -> None:
    settings = {"count_interval": 2, "max_workers": 2}
    env = {**ENV, "HANGS": "worker.1"}
    with scene(tmp_path, own_ledger=True, settings=settings, env=env) as it:
        publisher = it.program()
        publisher.say("hold.delay()")
        it.wait_at_work("worker.2")
        assert it.changes == [(0, 1), (1, 2)]
        told = it.on.whole_status()
        [pool] = told["pools"]
        assert [worker["name"] for worker in pool["workers"]["deaf"]] == ["worker.1"]
        assert [trouble["what"][:8] for trouble in told["trouble"]] == ["worker.1"]
        assert pool["workers"]["needed"] == 2
        it.let_go("worker.2")
        it.wait_for_quantity(1)
