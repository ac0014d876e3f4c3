"""Counts the messages of any broker through kombu: RabbitMQ, or a Redis other than the ledger's."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import redis

from celery_middle_management.brokers.base import TIMEOUT
from celery_middle_management.brokers.redacting import Read, RedactingBroker
from celery_middle_management.brokers.redis import RedisBroker
from celery_middle_management.core.demand import Backlog


class KombuBroker(RedactingBroker):
    """Reads any broker that kombu knows."""

    def read(self, queues: Sequence[str], unacknowledged: Mapping[str, int]) -> Read:
        with self._app.connection_for_write() as connection:
            if connection.transport.driver_type == "redis":
                return self._read_redis(connection, queues, unacknowledged)
        return self._read_by_declaring(queues)

    def _read_redis(
        self, connection: Any, queues: Sequence[str], unacknowledged: Mapping[str, int]
    ) -> Read:
        """Read over a new connection: one from Celery's pool could wait for ever for an answer."""
        options = dict(connection.transport_options)
        connection.transport_options.update(socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
        # kombu's own client would put a prefix before some names, ours among them.
        client = redis.Redis(connection_pool=connection.default_channel.pool)
        return RedisBroker(client, options).read(queues, unacknowledged)

    def _read_by_declaring(self, queues: Sequence[str]) -> Read:
        """Declare the queues passively over a connection from Celery's own pool."""
        pool: Any = self._app.pool
        with pool.acquire(block=True, timeout=TIMEOUT) as connection:
            try:
                connection.ensure_connection(max_retries=1, timeout=TIMEOUT)
                _set_read_timeout(connection)
                lengths = _lengths(connection, queues).items()
                return {q: n if isinstance(n, Exception) else Backlog(n) for q, n in lengths}
            except Exception:
                # Drop the connection: the rest of this answer would be taken for the next one.
                connection.collect(socket_timeout=TIMEOUT)
                raise


def _lengths(connection: Any, queues: Iterable[str]) -> dict[str, int | Exception]:
    lengths: dict[str, int | Exception] = {}
    waiting = deque(queues)
    while waiting:
        with connection.channel() as channel:
            try:
                while waiting:
                    queue = waiting.popleft()
                    declared = channel.queue_declare(queue, passive=True)
                    lengths[queue] = int(declared.message_count)
            except connection.channel_errors as error:
                # The broker has closed the channel. 404 means that there is no such queue.
                lengths[queue] = 0 if getattr(error, "reply_code", None) == 404 else error
    return lengths


def _set_read_timeout(connection: Any) -> None:
    """Limit each read from the broker to :data:`TIMEOUT`, in case it hangs."""
    sock = getattr(getattr(connection.connection, "transport", None), "sock", None)
    if sock is not None:
        sock.settimeout(TIMEOUT)
