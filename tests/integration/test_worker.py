"""What a worker tells of itself."""

from __future__ import annotations

import signal

import pytest

from tests.integration.stage import stage
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
def test_a_worker_says_goodbye(pool: str, remap: str, by: signal.Signals, redis_url: str) -> None:
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


@pytest.mark.parametrize(
    "broken",
    [
        "WorkerAgent.__init__",
        "WorkerAgent.report Intake.settle WorkerAgent._keep_awake Reporter.leave",
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


def test_a_worker_takes_nothing_until_it_consumes(redis_url: str) -> None:
    """Its first report comes before that, and whoever waits for a task must not count on it."""
    with stage(redis_url, command=None) as on:
        told = lambda: [presence.get("full", False) for presence in on.presences()]  # noqa: E731
        first_report_only = {**on.env, "BROKEN": "WorkerAgent._run"}
        with start_worker("tests.integration.apps.broken", "-c", "1", env=first_report_only):
            wait_for(lambda: told() == [True], message=lambda: str(on.presences()))
        on.redis.delete(*on.redis.keys("*workers*"))
        with on.worker("-c", "1"):
            wait_for(lambda: told() == [False], message=lambda: str(on.presences()))
