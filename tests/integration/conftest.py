"""What must hold after every integration test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.integration.scenes import assert_keys_expire


@pytest.fixture(autouse=True)
def nothing_stays_for_ever(request: pytest.FixtureRequest) -> Iterator[None]:
    """No key of ours in the session's Redis is without an expiry, or taken for a queue."""
    if not {"redis_server", "redis_url"} & {*request.fixturenames}:
        yield
        return
    server = request.getfixturevalue("redis_server")
    given = "redis_url" in request.fixturenames
    url = request.getfixturevalue("redis_url") if given else server.url
    yield
    with redis.Redis.from_url(url, decode_responses=True) as client:
        assert_keys_expire(client)
        assert list(client.scan_iter("{middle-management:*", _type="list")) == []
