"""Tasks that are not run as Celery runs them: what the pool runs is what runs."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.integration.scenes import A_WHILE, Scene, scene
from tests.integration.stage import ALONE, APP, WORKER
from tests.servers import Worker, start_worker

pytest.importorskip("celery_batches")
GATHERING = "tests.integration.apps.gathering"
POOLS = ["prefork", "threads", "solo", "gevent", "eventlet"]
#: Longer than from a cordon to the fire of an idle worker.
SEVERAL_REPORTS = 2.5


def gathering(it: Scene, pool: str) -> AbstractContextManager[Worker]:
    if pool in ("gevent", "eventlet"):
        pytest.importorskip(pool)
    env = {**it.on.env, "DYNO": "worker.1"}
    return start_worker(GATHERING, "-P", pool, "-c", "2", "--prefetch-multiplier", "4", env=env)


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS)
def test_no_worker_with_a_batch_reports_that_it_may_be_stopped(pool: str, tmp_path: Path) -> None:
    """Neither while a batch runs, nor while a message waits in the buffer of one."""
    with scene(tmp_path, **ALONE) as it:
        permit = it.forbid_evaluations()
        publisher = it.program()
        with gathering(it, pool):
            publisher.say("for _ in range(2): app.send_task('hold_batch')")
            it.wait(lambda: it.running)
            it.draw_cordon(above=0)
            time.sleep(SEVERAL_REPORTS)
            assert not it.has_stopped("worker.1"), it.told()
            it.let_go("worker.1")
            it.wait(lambda: it.has_stopped("worker.1"))
            it.draw_cordon(above=None)
            it.wait(lambda: not it.presence("worker.1")["stopped"])
            publisher.say("app.send_task('hold_batch')")
            it.wait(lambda: it.redis.hlen("unacked") and not it.redis.llen("celery"))
            it.draw_cordon(above=0)
            it.wait(lambda: it.presence("worker.1")["stopped"] == it.cordon["at"])
            time.sleep(SEVERAL_REPORTS)
            assert not it.has_stopped("worker.1"), it.told()
            assert not it.running
            assert "runs" not in it.presence("worker.1")
            permit()
        # Celery gives it back.
        it.wait(lambda: it.redis.llen("celery") == 1)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_no_message_is_carried_from_buffer_to_buffer(pool: str, tmp_path: Path) -> None:
    """The worker that has it in a buffer is not fired: in the next, the wait would begin anew."""
    command = [word.replace(APP, GATHERING) for word in WORKER]
    settings, env = {"count_interval": 0.5}, {"FLUSH_INTERVAL": "8"}
    with scene(tmp_path, command=(*command, "-P", pool), settings=settings, env=env) as it:
        it.program().say("app.send_task('hold_batch')")
        it.wait(lambda: it.running)
        time.sleep(A_WHILE)
        assert it.changes == [(0, 1)], it.told()
        it.let_go("worker.1")
        it.wait_for_quantity(0)
        it.wait(lambda: it.emulator.stops)
        it.assert_no_worker_was_killed()


@pytest.mark.slow
def test_a_batch_that_is_to_be_run_later_keeps_no_worker(tmp_path: Path) -> None:
    with scene(tmp_path, **ALONE) as it:
        permit = it.forbid_evaluations()
        publisher = it.program()
        with gathering(it, "prefork"):
            publisher.say("app.send_task('hold_batch', countdown=600)")
            it.wait(lambda: it.presence("worker.1").get("due"))
            it.draw_cordon(above=0)
            it.wait(lambda: it.has_stopped("worker.1"))
            [held] = it.presence("worker.1")["held"].values()
            assert held == [0, 0, 1, 1]
            permit()


@pytest.mark.slow
@pytest.mark.parametrize("task", [f"{APP}.hold_early", "hold_batch"])
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_no_worker_is_kept_for_what_ended_after_a_lost_connection(
    pool: str, task: str, tmp_path: Path
) -> None:
    """And none is stopped while it runs, though Celery before 5.6.3 has lost sight of it."""
    # A prefork worker of Celery before 5.5 may have to renew its connection once more.
    with scene(tmp_path, own_ledger=True, env={"DEAF_AFTER": "4"}, **ALONE) as it:
        permit = it.forbid_evaluations()
        publisher = it.program()
        with gathering(it, pool) as worker:
            publisher.say(f"for _ in range(2): app.send_task('{task}')")
            runs = 1 if task == "hold_batch" else 2
            it.wait(lambda: len(it.running) == runs)
            it.wait(lambda: it.presence("worker.1")["busy"] == runs)
            it.broker.kill()
            it.wait(lambda: "Cannot connect" in worker.log)
            it.broker.restart()
            it.wait(lambda: "Connected to" in worker.log.rpartition("Cannot connect")[2])
            it.draw_cordon(above=0)

            def has_obeyed() -> bool:
                it.note_count()
                return bool(it.presence("worker.1")["stopped"] == it.cordon["at"])

            it.wait(has_obeyed)
            time.sleep(SEVERAL_REPORTS)
            assert not it.has_stopped("worker.1"), it.told()
            for _ in range(runs):
                it.let_go("worker.1")
            it.wait(lambda: it.has_stopped("worker.1"))
            assert not [h for h in it.presence("worker.1")["held"].values() if any(h)]
            permit()
