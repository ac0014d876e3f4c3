"""The broker's queues: how many messages wait in each, all priorities together."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from time import time
from typing import Any

import redis
from celery import Celery

from celery_middle_management.agents.signals import HEADER
from celery_middle_management.core.demand import Backlog
from celery_middle_management.ledger.connection import Place, place_of
from celery_middle_management.ledger.lua import script
from celery_middle_management.settings.reading import Settings
from celery_middle_management.settings.redis_url import celerys, urls
from celery_middle_management.settings.secret import shown, told

#: Longest wait (s) for the broker to answer.
TIMEOUT = 3.0
#: So many of the oldest messages, and of the newest, are looked into for whom nobody tells of.
_SAMPLE = 100
#: A worker tells of a message at most this long (s) after it has taken it.
_UNTOLD = 5.0


class CountFailed(Exception):
    """The broker, or one queue, could not be read: what there is to do is unknown, not zero."""


Backlogs = dict[str, "Backlog | CountFailed"]


class Broker(ABC):
    """Reads an app's broker."""

    @abstractmethod
    def backlogs(self, queues: Sequence[str], unacknowledged: Mapping[str, int]) -> Backlogs:
        """The backlog of each queue, or why this one alone could not be read.

        *unacknowledged* is how many messages of each queue live workers hold and have not yet
        acknowledged; those beyond were held by workers that died.

        Raises:
            CountFailed: the broker failed, hung or answered nonsense.
        """


_Read = dict[str, "Backlog | Exception"]


class _DiscreetBroker(Broker):
    """One whose errors show nothing of a password, though its library may."""

    def __init__(self, app: Celery | None) -> None:
        self._app: Any = app

    def backlogs(self, queues: Sequence[str], unacknowledged: Mapping[str, int]) -> Backlogs:
        try:
            read = self.read(queues, unacknowledged)
            return {q: b if isinstance(b, Backlog) else self._unread(q, b) for q, b in read.items()}
        except Exception as error:  # noqa: BLE001 - a transport may raise errors of its library
            trouble = self._trouble(error)
        # Not from within: the frames that led here know the password.
        raise CountFailed(trouble)

    @abstractmethod
    def read(self, queues: Sequence[str], unacknowledged: Mapping[str, int]) -> _Read:
        """The backlogs, or the error that is one queue's own; raises anything."""

    def _unread(self, queue: str, error: Exception) -> CountFailed:
        addresses = _addresses(self._app) if self._app else []
        return CountFailed(f"the queue {queue!r} could not be read: {told(error, addresses)}")

    def _trouble(self, error: BaseException) -> str:
        addresses = _addresses(self._app) if self._app else []
        where = "".join(f" {address}" for address in dict.fromkeys(map(shown, addresses)))
        return f"the broker{where} could not be read: {told(error, addresses)}"


def broker_of(app: Celery, settings: Settings, client: redis.Redis) -> Broker:
    """The reader for the broker of *app*; *client* is the ledger's connection."""
    if shares_ledger(app, settings):
        return RedisBroker(client, app.conf.broker_transport_options or {}, app)
    return KombuBroker(app)


def broker_trouble(app: Celery, error: BaseException) -> str:
    """What an *error* of the broker of *app* says, without the passwords of its addresses."""
    return told(error, _addresses(app))


def _addresses(app: Celery) -> list[str]:
    conf: Any = app.conf
    settings = (conf.broker_url, conf.broker_read_url, conf.broker_write_url)
    return [url for setting in settings for url in urls(setting) if url]


def shares_ledger(app: Celery, settings: Settings) -> bool:
    """Whether the ledger lives in the broker's own Redis database."""
    found = celerys(app.conf)
    if found is None or found.setting != "broker_url":
        return False
    try:
        with app.connection_for_read() as connection:
            return bool(
                connection.transport.driver_type == "redis"
                and place_of(settings.redis_url)
                == Place(
                    None,
                    connection.hostname or "localhost",
                    connection.port or 6379,
                    _database(connection.virtual_host),
                )
            )
    except Exception:  # noqa: BLE001 - an address that cannot be used: the count will tell
        return False


def _database(virtual_host: Any) -> int:
    number = str(virtual_host or "/").strip("/")
    return int(number) if number.isdigit() else 0


class RedisLists:
    """How kombu's Redis transport keeps messages."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._steps = options.get("priority_steps", (0, 3, 6, 9))
        self._separator = options.get("sep", "\x06\x16")
        self._prefix = options.get("global_keyprefix", "")
        self.unacked = self._prefix + options.get("unacked_key", "unacked")
        self.unacked_index = self._prefix + options.get("unacked_index_key", "unacked_index")
        #: Seconds after which kombu gives back what a dead worker held.
        self.visibility_timeout = float(options.get("visibility_timeout", 3600))

    def names(self, queue: str) -> list[str]:
        """The lists of one queue, one for each priority step."""
        return [
            f"{self._prefix}{queue}{self._separator}{step}" if step else self._prefix + queue
            for step in self._steps
        ]


class RedisBroker(_DiscreetBroker):
    """One script over a given client."""

    def __init__(
        self, client: redis.Redis, options: Mapping[str, Any], app: Celery | None = None
    ) -> None:
        super().__init__(app)
        self._client = client
        self._count = client.register_script(script("count"))
        self._lists = RedisLists(options)

    def read(self, queues: Sequence[str], unacknowledged: Mapping[str, int]) -> _Read:
        lengths, held = self._lengths(queues)
        untold: dict[str, Backlog] = {}
        surplus = held - sum(unacknowledged.values())
        if surplus > 0:
            untold = self._untold(surplus, unacknowledged)
        backlogs: _Read = {}
        for queue, length in lengths.items():
            if isinstance(length, Exception):
                backlogs[queue] = length
                continue
            more = untold.get(queue, Backlog())
            backlogs[queue] = replace(more, ready=length + more.ready, returned=max(-surplus, 0))
        return backlogs

    def _lengths(self, queues: Sequence[str]) -> tuple[dict[str, int | Exception], int]:
        names = {queue: self._lists.names(queue) for queue in queues}
        told: Any = self._count(args=[*chain(*names.values()), self._lists.unacked_index])
        *lengths, held = told
        if isinstance(held, Exception):
            raise held
        steps = iter(lengths)
        return {q: _sum([*islice(steps, len(lists))]) for q, lists in names.items()}, int(held)

    def _untold(self, surplus: int, unacknowledged: Mapping[str, int]) -> dict[str, Backlog]:
        """Messages that somebody took and no live worker tells of, by queue: *surplus* in all.

        Those taken just now are on their way into a presence and count as ready still. The others
        were held by workers that died; kombu gives them back after the visibility timeout. Of very
        many, the newest and the oldest are looked at, and rather too many are taken for untold.
        """
        index = self._lists.unacked_index
        oldest: Any = self._client.zrange(index, 0, _SAMPLE - 1, withscores=True)
        newest: Any = []
        if len(oldest) == _SAMPLE:
            newest = self._client.zrange(index, -_SAMPLE, -1, withscores=True)
        now = time()
        recently = now - _UNTOLD
        untold = {}
        for queue, taken in self._by_queue(dict([*oldest, *newest])).items():
            mine = surplus if newest else max(len(taken) - unacknowledged.get(queue, 0), 0)
            recent = [scheduled for at, scheduled in taken if at > recently]
            recent = recent[max(len(recent) - mine, 0) :]
            old = min(len(taken), mine) - len(recent)
            untold[queue] = Backlog(
                ready=recent.count(False),
                scheduled=recent.count(True),
                orphans=old,
                restore_in=min(taken)[0] + self._lists.visibility_timeout - now,
            )
        return untold

    def _by_queue(self, index: Mapping[str, float]) -> dict[str, list[tuple[float, bool]]]:
        """The messages with these tags by queue: when each was taken, whether it has an ETA."""
        taken: dict[str, list[tuple[float, bool]]] = {}
        entries: Any = self._client.hmget(self._lists.unacked, list(index)) if index else []
        for at, entry in zip(index.values(), entries, strict=True):
            if entry is not None:
                message, _, routing_key = json.loads(entry)
                headers = message.get("headers") or {}
                queue = str(headers.get(HEADER) or routing_key)
                taken.setdefault(queue, []).append((at, bool(headers.get("eta"))))
        return taken


class KombuBroker(_DiscreetBroker):
    """Any other broker, by way of kombu."""

    def __init__(self, app: Celery) -> None:
        super().__init__(app)

    def read(self, queues: Sequence[str], unacknowledged: Mapping[str, int]) -> _Read:
        with self._app.connection_for_write() as connection:
            if connection.transport.driver_type == "redis":
                return self._elsewhere_in_redis(connection, queues, unacknowledged)
        return self._declared(queues)

    def _elsewhere_in_redis(
        self, connection: Any, queues: Sequence[str], unacknowledged: Mapping[str, int]
    ) -> _Read:
        """A connection for this count alone, for those of Celery's pool may wait for ever."""
        options = dict(connection.transport_options)
        connection.transport_options.update(socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
        # kombu's own client would put a prefix before some names, ours among them.
        client = redis.Redis(connection_pool=connection.default_channel.pool)
        return RedisBroker(client, options).read(queues, unacknowledged)

    def _declared(self, queues: Sequence[str]) -> _Read:
        """Passive declares over a connection of Celery's own pool."""
        pool: Any = self._app.pool
        with pool.acquire(block=True, timeout=TIMEOUT) as connection:
            try:
                connection.ensure_connection(max_retries=1, timeout=TIMEOUT)
                _bound_reads(connection)
                lengths = _lengths(connection, queues).items()
                return {q: n if isinstance(n, Exception) else Backlog(n) for q, n in lengths}
            except Exception:
                # A half-read answer must not be taken for the next one.
                connection.collect(socket_timeout=TIMEOUT)
                raise


def _sum(lengths: Iterable[Any]) -> int | Exception:
    """All together, or the first error among them; raises what is no error of one list."""
    total = 0
    for length in lengths:
        if isinstance(length, redis.ResponseError):
            return length
        if isinstance(length, Exception):
            raise length
        total += int(length)
    return total


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
                # The broker has closed the channel; 404: there is no such queue.
                lengths[queue] = 0 if getattr(error, "reply_code", None) == 404 else error
    return lengths


def _bound_reads(connection: Any) -> None:
    """A broker that hangs must not hang us: no read of a declare's answer lasts longer."""
    sock = getattr(getattr(connection.connection, "transport", None), "sock", None)
    if sock is not None:
        sock.settimeout(TIMEOUT)
