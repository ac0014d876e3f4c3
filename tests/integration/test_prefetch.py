"""A worker takes no more tasks than it can begin within about a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.scenes import Scene, scene
from tests.integration.stage import WORKER
from tests.rabbitmq_server import RabbitServer

#: Celery's default.
PREFETCH = ("--prefetch-multiplier", "4")


def nobody_idles_beside_a_worker_that_took_too_much(it: Scene, task: str) -> None:
    publisher = it.program()
    publisher.say(f"for _ in range(3): {task}.delay()")
    # One each, whoever of them came up first.
    it.wait_at_work("worker.1", "worker.2", "worker.3")
    publisher.say("for _ in range(3): note.delay()")
    it.let_go("worker.1", "worker.2", "worker.3")
    it.wait(lambda: len([run for run in it.journal.runs() if run.end]) == 6)
    it.assert_nobody_was_killed()


def test_nobody_idles_beside_a_worker_that_took_too_much(tmp_path: Path) -> None:
    with scene(tmp_path, command=(*WORKER, *PREFETCH)) as it:
        nobody_idles_beside_a_worker_that_took_too_much(it, "hold_early")


@pytest.mark.rabbitmq
@pytest.mark.parametrize("task", ["hold", "hold_early"])
def test_nobody_idles_beside_a_worker_to_which_too_much_was_pushed(
    task: str, tmp_path: Path, rabbitmq: RabbitServer
) -> None:
    env = {"TASK_QUEUE": f"pushed-{task}"}
    with scene(tmp_path, broker_url=rabbitmq.url, env=env, command=(*WORKER, *PREFETCH)) as it:
        nobody_idles_beside_a_worker_that_took_too_much(it, task)


def nobody_idles_beside_a_worker_that_held_all_for_later(it: Scene) -> None:
    it.program().say("for _ in range(6): hold.apply_async(countdown=20)")
    # The first one up takes all of them; when they fall due, each has room for one.
    it.wait_at_work("worker.1", "worker.2", "worker.3")
    it.let_go("worker.1", "worker.2", "worker.3")
    it.wait_at_work("worker.1", "worker.2", "worker.3")
    it.let_go("worker.1", "worker.2", "worker.3")
    it.wait_for_quantity(0)
    runs = [run.task for run in it.journal.runs()]
    assert len(runs) == len({*runs}) == 6
    it.assert_nobody_was_killed()


SCHEDULING: dict[str, Any] = {"command": (*WORKER, *PREFETCH), "settings": {"max_workers": 3}}


@pytest.mark.slow
def test_nobody_idles_beside_a_worker_that_held_all_for_later(tmp_path: Path) -> None:
    with scene(tmp_path, **SCHEDULING) as it:
        nobody_idles_beside_a_worker_that_held_all_for_later(it)


@pytest.mark.slow
@pytest.mark.rabbitmq
def test_nobody_idles_beside_a_worker_to_which_all_was_pushed_for_later(
    tmp_path: Path, rabbitmq: RabbitServer
) -> None:
    env = {"TASK_QUEUE": "pushed-for-later"}
    with scene(tmp_path, broker_url=rabbitmq.url, env=env, **SCHEDULING) as it:
        nobody_idles_beside_a_worker_that_held_all_for_later(it)


#: Short and long, early and late, now and later, of two queues, and rate-limited; 69 tasks.
MIXED = """
for i in range(6):
    for _ in range(8): note.delay()
    note.apply_async((0.3,), queue=other)
    (note_late if i % 2 else note).apply_async((0.0,), queue=other)
    if i % 3 == 0: note_late.delay(1.5)
    if i % 3 == 1: note.apply_async((1.2,), countdown=1)
    if i % 3 == 2: note_rarely.delay()
    if i % 5 == 0: note.apply_async(countdown=2)
    if i % 5 == 1: note.apply_async((0.1,), queue=other, countdown=0.5)
"""
#: One worker, the test's own, that nobody hires or fires: it ends as soon as it is told to.
ALONE: dict[str, Any] = {
    "command": None,
    "process_types": {"worker": 1},
    "settings": {"min_workers": 1, "max_workers": 1},
}
POOLS = ["prefork", "threads", "solo", "gevent", "eventlet"]


def a_mixed_load_runs_to_its_end(it: Scene, queue: str, pool: str) -> None:
    """Every task once, though the worker stops and takes up consuming all the time."""
    publisher = it.program()
    arguments = ("-P", pool, "-c", "2", "-Q", f"{queue},other-{queue}", *PREFETCH)
    with it.on.worker(*arguments, DYNO="worker.1"):
        publisher.say(f"other = 'other-{queue}'\n{MIXED}")
        it.wait(lambda: sum(run.end is not None for run in it.journal.runs()) >= 69)
        it.wait(lambda: it.presence("worker.1")["busy"] == 0)
    runs = [run.task for run in it.journal.runs()]
    assert len(runs) == len({*runs}) == 69


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS)
def test_a_mixed_load_runs_to_its_end(pool: str, tmp_path: Path) -> None:
    with scene(tmp_path, **ALONE) as it:
        a_mixed_load_runs_to_its_end(it, "celery", pool)


@pytest.mark.slow
@pytest.mark.rabbitmq
@pytest.mark.parametrize("pool", ["prefork", "solo", "gevent"])
def test_a_mixed_load_that_is_pushed_runs_to_its_end(
    pool: str, tmp_path: Path, rabbitmq: RabbitServer
) -> None:
    queue = f"mixed-{pool}"
    with scene(tmp_path, broker_url=rabbitmq.url, env={"TASK_QUEUE": queue}, **ALONE) as it:
        a_mixed_load_runs_to_its_end(it, queue, pool)


def test_a_broker_that_closes_idle_connections_does_not_have_a_long_task_run_twice(
    tmp_path: Path,
) -> None:
    with scene(tmp_path, **ALONE) as it:
        it.redis.config_set("timeout", 2)
        publisher = it.program()
        with it.on.worker("-c", "1", *PREFETCH, DYNO="worker.1") as worker:
            publisher.say("note_late.delay(6)")
            it.wait(lambda: [run for run in it.journal.runs() if run.end])
            publisher.say("note.delay()")
            it.wait(lambda: len([run for run in it.journal.runs() if run.end]) == 2)
            assert "Connection to broker lost" not in worker.log
        assert len(it.journal.runs()) == 2


def test_queues_that_would_be_lost_without_a_consumer_are_consumed_all_the_time(
    tmp_path: Path,
) -> None:
    with scene(tmp_path, **ALONE) as it:
        publisher = it.program()
        with it.on.worker(
            "-c", "1", *PREFETCH, "-Q", "celery,passing", DYNO="worker.1", PASSING="passing"
        ):
            publisher.say("for _ in range(3): hold.delay()")
            it.wait_at_work("worker.1")
            # As Celery would.
            it.wait(lambda: it.presence("worker.1")["busy"] == 3)
            for _ in range(3):
                it.let_go("worker.1")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.rabbitmq
@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_only_the_loop_talks_to_a_broker_that_has_restarted(pool: str, tmp_path: Path) -> None:
    """Celery sets the prefetch count anew where tasks end that began before, in their threads."""
    env = {"TASK_QUEUE": "restarted"}
    arguments = ("-P", pool, "-c", "8", "-Q", "restarted")
    with (
        RabbitServer() as broker,
        scene(tmp_path, broker_url=broker.url, env=env, **ALONE) as it,
        it.on.worker(*arguments, DYNO="worker.1", **env) as worker,
    ):
        for tasks in (24, 48, 72):
            it.program().say("for n in range(16): note.delay(0.2 + n * 1.7 % 5)")
            it.wait(lambda: len(it.running) == 7)
            broker.restart()
            it.program().say("for _ in range(8): note.delay(0.5)")
            it.wait(lambda n=tasks: len({r.task for r in it.journal.runs() if r.end}) == n)  # type: ignore[misc]
        assert "left to Celery" not in worker.log
