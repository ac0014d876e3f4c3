"""What a worker tells of itself."""

from __future__ import annotations

from tests.integration.stage import stage
from tests.servers import wait_for


def test_a_worker_says_goodbye(redis_url: str) -> None:
    with stage(redis_url, command=None) as on:
        with on.worker("-c", "1"):
            wait_for(lambda: len(on.presences()) == 1)
        assert on.presences() == []
