"""The Redis of the demo and the examples: a server of their own, or a given empty database."""

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
#: How long all processes are kept from evaluating, while the started ones end (s).
_QUIET = 600
#: The keys that an app and its workers leave behind.
_LEFT = ("{middle-management:local}:*", "celery", "celery-task-meta-*", "unacked*", "_kombu.*")


class GivenRedis:
    """An empty database of a running Redis; it is emptied at the end of the context.

    A database in use is refused: the demo's workers would take another app's tasks and lose them.

    Raises:
        RuntimeError: the database cannot be used or is not empty.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._redis = redis.Redis.from_url(
                url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT
            )
            keys = self._redis.dbsize()
        except (redis.RedisError, OSError, ValueError) as error:
            # The error may quote the password.
            raise RuntimeError(f"REDIS_URL cannot be used: {type(error).__name__}") from None
        if keys:
            raise RuntimeError("the database at REDIS_URL is not empty: use another one")

    def kill(self) -> None:
        """Keep every process from hiring from now on."""
        with suppress(redis.RedisError):
            self._redis.set(_LOCK, "ended", ex=_QUIET)

    def __enter__(self) -> GivenRedis:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(redis.RedisError), self._redis:
            for pattern in _LEFT:
                for key in self._redis.scan_iter(pattern):
                    self._redis.delete(key)


def available_redis() -> RedisServer | GivenRedis:
    """Start a server if this machine has redis-server; else use the empty database at REDIS_URL.

    Raises:
        RuntimeError: there is neither.
    """
    if find_redis_server() is not None:
        return RedisServer()
    if url := os.environ.get("REDIS_URL"):
        return GivenRedis(url)
    raise RuntimeError(f"{no_redis_server()}; or set REDIS_URL to an empty database")
