"""Renews a worker's connection to its broker, from whichever thread."""

from __future__ import annotations

from _socket import SHUT_RDWR
from _socket import socket as PlainSocket
from contextlib import suppress
from functools import partial
from typing import Any

from celery_middle_management.agents.celery_internals import pooled, sockets


def hang_up(consumer: Any, *, idle: bool) -> bool:
    """Shut down the sockets of a worker to its broker, as if that had hung up; whether any was up.

    Those of its consumer, of its events, and of the pool that it publishes by. What tasks publish
    is left alone: of the pool, a connection in use goes with the rest only while the worker is
    *idle*, so that it is the worker's own.

    Celery then does as after any lost connection, also where it waits for an answer that never
    comes: the sockets stay open until it closes them, so that whoever waits for them is woken.
    """
    found = False
    events = consumer.event_dispatcher
    own = consumer.connection, events and events.connection
    for connection in (*own, *pooled(consumer.app.pool, in_use=idle)):
        for sock in sockets(connection):
            with suppress(OSError):  # it has been closed meanwhile
                # Not TLS's own, which would have its reader meet a socket without TLS.
                plain = isinstance(sock, PlainSocket)
                shutdown = partial(PlainSocket.shutdown, sock) if plain else sock.shutdown
                shutdown(SHUT_RDWR)
                found = True
    return found
