"""Where the demo and the examples find a Redis: one of their own, else the one that is given."""

from __future__ import annotations

import os
from contextlib import suppress

import redis

from celery_middle_management.demo.redis_server import (
    RedisServer,
    find_redis_server,
    no_redis_server,
)

_TIMEOUT = 5.0  # s
_LOCK = "{middle-management:local}:lock"
#: No process decides again before what we started has ended (s).
_QUIET = 600
#: What an app and its workers leave behind.
_LEFT = ("{middle-management:local}:*", "celery", "celery-task-meta-*", "unacked*", "_kombu.*")


class GivenRedis:
    """A database that is empty, as long as it is needed; stopped with the context.

    Never one in use: our workers would take the tasks of another app, and lose them.

    Raises:
        RuntimeError: it cannot be used, or is not empty.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._redis = redis.Redis.from_url(
                url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT
            )
            keys = self._redis.dbsize()
        except (redis.RedisError, OSError, ValueError) as error:
            # It may quote the password.
            raise RuntimeError(f"REDIS_URL cannot be used: {type(error).__name__}") from None
        if keys:
            raise RuntimeError("the database at REDIS_URL is not empty: name another one")

    def kill(self) -> None:
        """See to it that no process hires any more."""
        with suppress(redis.RedisError):
            self._redis.set(_LOCK, "ended", ex=_QUIET)

    def __enter__(self) -> GivenRedis:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(redis.RedisError), self._redis:
            for pattern in _LEFT:
                for key in self._redis.scan_iter(pattern):
                    self._redis.delete(key)


def a_redis() -> RedisServer | GivenRedis:
    """A server of our own where there is a redis-server, else the empty database at REDIS_URL.

    Raises:
        RuntimeError: there is neither.
    """
    if find_redis_server() is not None:
        return RedisServer()
    if url := os.environ.get("REDIS_URL"):
        return GivenRedis(url)
    raise RuntimeError(f"{no_redis_server()}; or set REDIS_URL to an empty database")
