"""Where the address of a Redis leads."""

from __future__ import annotations

from typing import Any, NamedTuple

from redis import connection as redis_connection

from celery_middle_management.settings.secret import Secret


class Place(NamedTuple):
    """Which database of which server."""

    path: str | None
    """Of a socket; without one, it is at *host* and *port*."""
    host: str
    port: int
    db: int


def place_of(url: Secret) -> Place:
    """Where *url* leads."""
    given = parsed(url)
    return Place(
        given.get("path"),
        given.get("host", "localhost"),
        given.get("port", 6379),
        given.get("db", 0),
    )


def parsed(url: Secret) -> dict[str, Any]:
    """What it says, as redis-py names it; the password among it."""
    untyped: Any = redis_connection
    given: dict[str, Any] = untyped.parse_url(url.reveal())
    return given
