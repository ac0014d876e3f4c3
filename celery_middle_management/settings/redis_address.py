"""The server and database that a Redis address names."""

from __future__ import annotations

from typing import Any, NamedTuple

from redis import connection as redis_connection

from celery_middle_management.settings.secret import Secret


class Place(NamedTuple):
    """A database of a Redis server."""

    path: str | None
    """The path of the server's socket; None if the server is at *host* and *port*."""
    host: str
    port: int
    db: int


def place_of(url: Secret) -> Place:
    """Return the database that *url* names."""
    given = parsed(url)
    return Place(
        given.get("path"),
        given.get("host", "localhost"),
        given.get("port", 6379),
        given.get("db", 0),
    )


def parsed(url: Secret) -> dict[str, Any]:
    """Parse *url* into redis-py's keyword arguments, which include the password."""
    untyped: Any = redis_connection
    given: dict[str, Any] = untyped.parse_url(url.reveal())
    return given
