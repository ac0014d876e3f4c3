"""Every outcome that a task can have is counted once, with a real worker of each pool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stage import Stage, stage
from tests.servers import wait_for

#: Code that publishes, with the number of messages that are published in the end.
OUTCOMES = {
    "success": ("work.delay()", 1),
    "failure": ("fail.delay()", 1),
    "ignore": ("ignore.delay()", 1),
    "retries": ("retry.delay()", 3),
    "retries later": ("retry.delay(countdown=2)", 3),
    "reject": ("reject.delay()", 1),
    "reject and requeue": ("reject.delay(requeue=True)", 1),
    "unregistered": ("app.send_task('nobody.knows.it')", 1),
    "expired": ("work.apply_async(expires=-1)", 1),
    "due later": ("work.apply_async(countdown=2)", 1),
    "published by a task": ("publish.delay(3)", 4),
    "scheduled by a task": ("publish.delay(2, countdown=2)", 3),
    "chain": ("(work.si(0) | work.si(0)).delay()", 2),
}
#: What only the processes of prefork can survive.
PREFORK = {
    "hard time limit": ("too_long.delay()", 1),
    "soft time limit": ("softly_too_long.delay()", 1),
    "killed child": ("suicide.delay()", 1),
}
REVOKED = """
    result = work.apply_async(countdown=3)
    app.control.revoke(result.id)
"""
POOLS = ["prefork", "threads", "solo", "gevent", "eventlet"]


@pytest.fixture(scope="module", params=POOLS)
def worker_pool(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name in ("gevent", "eventlet"):
        pytest.importorskip(name)
    return name


@pytest.fixture(scope="module")
def staged(worker_pool: str, redis_server: object) -> Iterator[Stage]:
    url: str = redis_server.url  # type: ignore[attr-defined]
    import redis

    redis.Redis.from_url(url).flushall()
    with stage(url, command=None) as on, on.worker("-P", worker_pool, "-c", "2"):
        yield on


def settle(on: Stage, published: int) -> None:
    """Wait until that many more tasks have been published, and all of them have finished."""
    wait_for(
        lambda: on.number("worker/finished") == on.number("worker/published") == published,
        message=lambda: f"{published} published are not all finished: {on.state()}",
    )


def test_each_outcome_is_counted_once(staged: Stage, worker_pool: str) -> None:
    outcomes = {**OUTCOMES, **(PREFORK if worker_pool == "prefork" else {})}
    expected = staged.number("worker/published")
    for name, (code, messages) in outcomes.items():
        staged.script(code)
        expected += messages
        try:
            settle(staged, expected)
        except pytest.fail.Exception as failure:
            pytest.fail(f"{name}: {failure}")


def test_a_revoked_task_is_counted(staged: Stage) -> None:
    before = staged.number("worker/published")
    staged.script(REVOKED)
    settle(staged, before + 1)


def test_eager_tasks_do_not_count(staged: Stage) -> None:
    before = staged.number("worker/published")
    staged.script("work.apply(); app.conf.task_always_eager = True; work.delay()")
    settle(staged, before)


def test_tasks_of_a_publisher_without_the_package_do_not_count(staged: Stage) -> None:
    before = staged.number("worker/published")
    staged.script("work.delay()", MM_OFF="1")
    staged.script("work.delay()")
    settle(staged, before + 1)


def test_what_ran_is_told_by_the_worker(staged: Stage) -> None:
    staged.script("work.delay(4)")
    wait_for(lambda: any(p["busy"] for p in staged.presences()), message="nobody is busy")
    [presence] = [p for p in staged.presences() if p["busy"]]
    assert presence["held"]["celery"][1] == 1
    wait_for(lambda: not any(p["busy"] for p in staged.presences()), message="still busy")


def test_a_worker_says_goodbye(redis_url: str, tmp_path: Path) -> None:
    with stage(redis_url, command=None) as on:
        with on.worker("-c", "1"):
            wait_for(lambda: len(on.presences()) == 1)
        assert on.presences() == []
