"""Several apps in one process, with real workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from celery_middle_management.demo.redis_server import RedisServer
from tests.integration.stage import stage
from tests.servers import start_worker, wait_for

TWICE = "tests.integration.apps.twice"
#: In a worker, the task publishes by both apps.
PUBLISH = f"""
from {TWICE} import *
for _ in range(5):
    first.send_task("work")
    second.send_task("work")
    theirs.send_task("work")
second.send_task("publish", (5,))
import time; time.sleep(60)
"""
TASKS = 10 + 1 + 10


@pytest.fixture
def ledger() -> Iterator[RedisServer]:
    """A server that only this test connects to."""
    with RedisServer() as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_an_app_made_twice_counts_each_task_once(
    redis_url: str, ledger: RedisServer, pool: str
) -> None:
    with stage(redis_url, ledger.url, command=None, settings={"max_workers": 30}) as on:
        server, _, database = redis_url.rpartition("/")
        on.env["THEIR_BROKER_URL"] = f"{server}/{(int(database) + 1) % 16}"
        with on.program(PUBLISH):
            on.wait_for_quantity(11)
            # A count may have had them hired before all of them were reported.
            wait_for(lambda: on.number("worker/published") == 11, message=lambda: str(on.state()))
        with start_worker(TWICE, "-P", pool, "-c", "2", env=on.env):
            wait_for(
                lambda: on.number("worker/finished") == on.number("worker/published") == TASKS,
                message=lambda: str(on.state()),
            )
            # The worker's, and the stage's own: none of a child for the second app.
            with redis.Redis.from_url(ledger.url) as client:
                assert len(client.client_list()) <= 3
