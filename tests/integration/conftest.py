"""What must hold after every integration test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.integration.scenes import assert_keys_expire


@pytest.fixture(autouse=True)
def nothing_stays_for_ever(request: pytest.FixtureRequest) -> Iterator[None]:
    """No key of ours in the test's Redis is without an expiry, or taken for a queue."""
    given = ("redis_url", "lonely_redis_url", "redis_server")
    name = next((name for name in given if name in request.fixturenames), None)
    if name is None:
        yield
        return
    server = request.getfixturevalue(name)
    url = server.url if name == "redis_server" else server
    yield
    with redis.Redis.from_url(url, decode_responses=True) as client:
        assert_keys_expire(client)
        assert list(client.scan_iter("{middle-management:*", _type="list")) == []
