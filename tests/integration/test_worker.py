"""What a worker reports of itself."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from celery_middle_management.core.demand import Held
from tests.integration.scenes import scene
from tests.integration.stage import ALONE, APP, stage
from tests.servers import start_worker, wait_for


@pytest.mark.parametrize(
    ("pool", "remap", "by"),
    [
        ("prefork", "", signal.SIGTERM),
        ("prefork", "SIGQUIT", signal.SIGTERM),
        ("gevent", "", signal.SIGQUIT),
    ],
    ids=["warm", "remapped", "cold"],
)
def test_a_worker_reports_that_it_leaves(
    pool: str, remap: str, by: signal.Signals, redis_url: str
) -> None:
    with (
        stage(redis_url, command=None) as on,
        on.worker("-c", "1", "--pool", pool, REMAP_SIGTERM=remap) as worker,
    ):
        wait_for(lambda: len(on.presences()) == 1)
        on.script("work.apply_async(countdown=300)")
        wait_for(lambda: any(p["held"] for p in on.presences()))
        worker.process.send_signal(by)
        worker.process.wait(30)
        assert on.presences() == []
        assert on.redis.llen("celery") == 1


def test_a_worker_reports_until_it_has_shut_down(redis_url: str) -> None:
    with (
        stage(redis_url, command=None) as on,
        start_worker("tests.integration.apps.lingering", "-c", "1", env=on.env) as worker,
    ):
        wait_for(lambda: len(on.presences()) == 1)
        worker.process.terminate()
        wait_for(lambda: any(p.get("closing") for p in on.presences()), message=lambda: worker.log)
        worker.process.wait(30)
        assert "report failed" not in worker.log
        assert on.presences() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    [
        "WorkerAgent.__init__",
        "WorkerAgent.report Intake.apply Reporter.leave",
    ],
)
def test_no_fault_of_ours_keeps_a_worker_from_working(broken: str, redis_url: str) -> None:
    with (
        stage(redis_url, command=None) as on,
        start_worker(
            "tests.integration.apps.broken", "-c", "1", env={**on.env, "BROKEN": broken}
        ) as worker,
    ):
        on.script("work.delay()")
        wait_for(lambda: "succeeded" in worker.log, message=lambda: worker.log)
        worker.stop()
        assert worker.process.returncode == 0, worker.log
        assert "LookupError: broken" in worker.log


@pytest.mark.slow
def test_a_worker_takes_nothing_until_it_consumes(redis_url: str) -> None:
    """Its first report comes before that, and must not make it look like help for waiting tasks."""
    with stage(redis_url, command=None) as on:
        full = lambda: [presence.get("full", False) for presence in on.presences()]  # noqa: E731
        first_report_only = {**on.env, "BROKEN": "WorkerAgent._run"}
        with start_worker("tests.integration.apps.broken", "-c", "1", env=first_report_only):
            wait_for(lambda: full() == [True], message=lambda: str(on.presences()))
        on.redis.delete(*on.redis.keys("*workers*"))
        with on.worker("-c", "1"):
            wait_for(lambda: full() == [False], message=lambda: str(on.presences()))


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_a_worker_names_the_tasks_that_it_runs(pool: str, tmp_path: Path) -> None:
    if pool == "gevent":
        pytest.importorskip("gevent")
    # In a dry run, Celery alone decides how many more tasks are reserved, which do not run.
    alone = ALONE | {"settings": ALONE["settings"] | {"dry_run": True}}
    with scene(tmp_path, **alone) as it:
        permit = it.forbid_evaluations()
        publisher = it.program()
        patch = {"PATCH": "gevent"} if pool == "gevent" else {}
        more = ("--prefetch-multiplier", "4")
        with it.on.worker("-P", pool, "-c", "2", *more, DYNO="worker.1", **patch):
            before = time.time()
            publisher.say("for _ in range(5): hold_early.delay()")
            slots = 1 if pool == "solo" else 2

            def runs() -> list[list[object]]:
                return list(it.presence("worker.1").get("runs", ()))

            it.wait(lambda: len(it.running) == slots and len(runs()) == slots)
            assert {name for name, _ in runs()} == {f"{APP}.hold_early"}
            for _, since in runs():
                assert isinstance(since, float)
                assert before - 1 <= since <= time.time() + 1

            def unacknowledged() -> int:
                return Held(*it.presence("worker.1")["held"]["celery"]).unacknowledged

            # If the broker kept more, a count would conclude that no worker has it.
            it.wait(lambda: unacknowledged() == it.redis.zcard("unacked_index"))
            for _ in range(5):
                it.wait(lambda: it.running)
                it.let_go("worker.1")
            it.wait(lambda: it.presence("worker.1") and runs() == [])
            permit()
