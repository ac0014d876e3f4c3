"""Every outcome that a task can have is counted once, with a real worker of each pool."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from celery_middle_management.demo.redis_server import RedisServer
from tests.integration.stage import Stage, stage
from tests.servers import wait_for

#: Code that publishes to the queue ``q``, and the number of messages that this makes.
OUTCOMES = {
    "success": ("work.apply_async(queue=q)", 1),
    "failure": ("fail.apply_async(queue=q)", 1),
    "ignore": ("ignore.apply_async(queue=q)", 1),
    "retries": ("retry.apply_async(queue=q)", 3),
    "retries-later": ("retry.apply_async((2,), queue=q)", 3),
    "reject": ("reject.apply_async(queue=q)", 1),
    "reject-requeue": ("reject.apply_async((True,), queue=q)", 1),
    "unregistered": ("app.send_task('no.such.task', queue=q)", 1),
    "expired": ("work.apply_async(expires=-1, queue=q)", 1),
    "due-later": ("work.apply_async(countdown=2, queue=q)", 1),
    "published-by-a-task": ("publish.apply_async((3, 0, q), queue=q)", 4),
    "scheduled-by-a-task": ("publish.apply_async((2, 2, q), queue=q)", 3),
    "chain": ("(work.si(0).set(queue=q) | work.si(0).set(queue=q)).delay()", 2),
    "revoked": ("app.control.revoke(work.apply_async(countdown=3, queue=q).id)", 1),
    # One attempt each, whose end the parent signals: only the processes of prefork can be killed.
    "hard-time-limit": ("too_long.apply_async(queue=q)", 1),
    "killed-child": ("suicide.apply_async(queue=q)", 1),
    "soft-time-limit": ("softly_too_long.apply_async(queue=q)", 1),
}
PREFORK_ONLY = {"hard-time-limit", "killed-child", "soft-time-limit"}
POOLS = [
    "prefork",
    "gevent",
    *(pytest.param(pool, marks=pytest.mark.slow) for pool in ("threads", "solo", "eventlet")),
]


@pytest.fixture(scope="module", params=POOLS)
def worker_pool(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name in ("gevent", "eventlet"):
        pytest.importorskip(name)
    return name


@pytest.fixture(scope="module")
def outcomes(worker_pool: str) -> dict[str, tuple[str, int]]:
    return {
        name: outcome
        for name, outcome in OUTCOMES.items()
        if worker_pool == "prefork" or name not in PREFORK_ONLY
    }


@pytest.fixture(scope="module")
def staged(
    worker_pool: str, outcomes: dict[str, tuple[str, int]], redis_server: RedisServer
) -> Iterator[Stage]:
    """A pool of its own for each outcome, and one for the rest, all served by one worker."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    pools: dict[str, dict[str, object]] = {name: {"queues": [name]} for name in outcomes}
    with (
        stage(
            redis_server.url,
            command=None,
            process_types=dict.fromkeys([*outcomes, "worker"], 0),
            settings={"pools": {**pools, "worker": {}}},
        ) as on,
        on.worker("-P", worker_pool, "-c", "2", "-Q", ",".join(["celery", *outcomes])),
    ):
        yield on


def settle(on: Stage, published: int, pool: str = "worker") -> None:
    """Wait until so many tasks of the pool have been published, and all of them have finished."""
    wait_for(
        lambda: on.number(f"{pool}/finished") == on.number(f"{pool}/published") == published,
        message=lambda: f"{pool}: {published} published are not all finished: {on.state()}",
    )


def test_each_outcome_is_counted_once(staged: Stage, outcomes: dict[str, tuple[str, int]]) -> None:
    staged.script("\n".join(f"q = {name!r}; {code}" for name, (code, _) in outcomes.items()))
    # What is revoked before it is due may be found gone by a count before it was ever outstanding.
    staged.wait_until_finished(1, pool="revoked")
    for name, (_, messages) in outcomes.items():
        if name != "revoked":
            settle(staged, messages, pool=name)
    for name, starts in {"success": 1, "retries": 3, "unregistered": 0, "expired": 0}.items():
        assert staged.number(f"{name}/started") == starts


def test_starts_and_waits_are_counted(staged: Stage) -> None:
    before = staged.number("worker/published")
    with staged.program("for _ in range(4): work.delay(1.5)"):
        settle(staged, before + 4)
    # None did not run: no other test of this pool has such tasks.
    assert staged.number("worker/started") == staged.number("worker/finished")
    # Two at a time; a publisher knows the ledger's time by its own clock at first.
    assert float(staged.state()["worker/waits"]) > 2.5


def test_eager_tasks_do_not_count(staged: Stage) -> None:
    before = staged.number("worker/published")
    staged.script("work.apply(); app.conf.task_always_eager = True; work.delay()")
    settle(staged, before)


def test_tasks_of_a_publisher_without_the_package_do_not_count(staged: Stage) -> None:
    before = staged.number("worker/published")
    staged.script("work.delay()", MM_OFF="1")
    staged.publish("work.delay()")
    settle(staged, before + 1)


def test_a_worker_reports_what_it_runs(staged: Stage) -> None:
    # Not a script, which may end after the task.
    with staged.program("work.delay(4)"):
        wait_for(lambda: running(staged) == [1], message="no worker runs it")
    wait_for(lambda: not running(staged), message="a worker still runs it")


def running(on: Stage) -> list[int]:
    """How many tasks of the queue ``celery`` each busy worker reports as running."""
    return [p["held"].get("celery", [0, 0])[1] for p in on.presences() if p["busy"]]
