"""The brokers: how to break each, and how to see what it holds."""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import kombu
import redis

from celery_middle_management.demo.redis_server import RedisServer
from tests.rabbitmq_server import RabbitServer


class Broker(ABC):
    """A context that stops its server when left. *queues* are those that workers consume."""

    server: RedisServer | RabbitServer
    transport_options: dict[str, Any]
    #: After this time (s) it gives back what a killed worker held; 0: at once.
    visibility_timeout: float

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues = queues

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__(None, None, None)

    @abstractmethod
    def purge(self) -> list[str]:
        """Purge as ``celery purge`` does, and return the ids of the tasks that were thrown away."""

    @abstractmethod
    def has(self, ids: Collection[str]) -> dict[str, str]:
        """Those of these tasks that the broker has, or may have, each with its state."""

    @abstractmethod
    def empty(self, queue: str) -> None:
        """Delete all messages in a queue."""


class Redis(Broker):
    """Redis, with messages stored as kombu's transport stores them."""

    visibility_timeout = 60.0

    def __init__(self, queues: Sequence[str]) -> None:
        super().__init__(queues)
        self.server: RedisServer = RedisServer(appendonly=True)
        # One list per priority.
        steps = ("", *(f"\x06\x16{step}" for step in (3, 6, 9)))
        self._lists = [queue + step for queue in queues for step in steps]
        self.transport_options = {
            "visibility_timeout": self.visibility_timeout,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            # Else a worker that ends, or gets no answer, while it restores keeps others from it for
            # five minutes.
            "unacked_mutex_expire": 10,
        }

    def purge(self) -> list[str]:
        with client(self.server.url) as c, c.pipeline(transaction=True) as pipe:
            for name in self._lists:
                pipe.lrange(name, 0, -1)
                pipe.delete(name)
            found = pipe.execute()[::2]
        return [_id(json.loads(message)) for messages in found for message in messages]

    def has(self, ids: Collection[str]) -> dict[str, str]:
        with client(self.server.url) as c, c.pipeline(transaction=True) as pipe:
            pipe.hvals("unacked")
            for name in self._lists:
                pipe.lrange(name, 0, -1)
            taken, *waiting = pipe.execute()
        found = {_id(json.loads(entry)[0]): "taken" for entry in taken}
        found |= {_id(json.loads(m)): "waiting" for messages in waiting for m in messages}
        return {task: state for task, state in found.items() if task in ids}

    def empty(self, queue: str) -> None:
        with client(self.server.url) as c:
            c.delete(queue)


class RabbitMQ(Broker):
    """RabbitMQ, which does not list the messages that it has."""

    visibility_timeout = 0.0

    def __init__(self, queues: Sequence[str]) -> None:
        super().__init__(queues)
        self.server: RabbitServer = RabbitServer()
        # A message counts as published once the broker has written it down.
        self.transport_options = {"confirm_publish": True}

    def purge(self) -> list[str]:
        found = []
        with self._channel() as channel:
            for queue in self._queues:
                channel.queue_declare(queue, durable=True, auto_delete=False)
                while (message := channel.basic_get(queue, no_ack=True)) is not None:
                    found.append(_id({"headers": message.headers}))
        return found

    def has(self, ids: Collection[str]) -> dict[str, str]:
        return dict.fromkeys(ids, "perhaps")

    def empty(self, queue: str) -> None:
        with self._channel() as channel:
            channel.queue_declare(queue, durable=True, auto_delete=False)
            channel.queue_purge(queue)

    @contextlib.contextmanager
    def _channel(self) -> Iterator[Any]:
        with kombu.Connection(self.server.url) as connection, connection.channel() as channel:
            yield channel


def client(url: str) -> redis.Redis:
    """A client of a Redis server."""
    return redis.Redis.from_url(url, decode_responses=True, socket_timeout=5.0)


def _id(message: dict[str, Any]) -> str:
    return str(message["headers"]["id"])


BROKERS: dict[str, type[Redis] | type[RabbitMQ]] = {"redis": Redis, "rabbitmq": RabbitMQ}
