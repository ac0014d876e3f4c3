"""Counts the messages of a Redis broker as kombu's Redis transport keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from itertools import chain, islice
from time import time
from typing import Any

import redis
from celery import Celery

from celery_middle_management.brokers.redacting import Read, RedactingBroker
from celery_middle_management.core.demand import Backlog
from celery_middle_management.core.headers import HEADER, taken_early

#: How many of the oldest and of the newest unacknowledged messages are read.
_SAMPLE = 100
#: A worker reports a message within this time (s) of taking it.
_REPORTED_WITHIN = 5.0

_COUNT = (files(__package__) / "count.lua").read_text(encoding="utf-8")


class RedisLists:
    """The keys in which kombu's Redis transport keeps messages, given its *options*."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._steps = options.get("priority_steps", (0, 3, 6, 9))
        self._separator = options.get("sep", "\x06\x16")
        self._prefix = options.get("global_keyprefix", "")
        self.unacked = self._prefix + options.get("unacked_key", "unacked")
        self.unacked_index = self._prefix + options.get("unacked_index_key", "unacked_index")
        #: Seconds after which kombu puts back what a dead worker held.
        self.visibility_timeout = float(options.get("visibility_timeout", 3600))

    def names(self, queue: str) -> list[str]:
        """Return the lists of one queue, one for each priority step."""
        return [
            f"{self._prefix}{queue}{self._separator}{step}" if step else self._prefix + queue
            for step in self._steps
        ]


class RedisBroker(RedactingBroker):
    """Reads a Redis broker through *client*, with one script."""

    def __init__(
        self, client: redis.Redis, options: Mapping[str, Any], app: Celery | None = None
    ) -> None:
        super().__init__(app)
        self._client = client
        self._lists = RedisLists(options)

    def read(self, queues: Sequence[str], unacknowledged: Mapping[str, int]) -> Read:
        lengths, held = self._lengths(queues)
        unreported: dict[str, Backlog] = {}
        surplus = held - sum(unacknowledged.values())
        if surplus > 0:
            unreported = self._unreported(surplus, unacknowledged)
        backlogs: Read = {}
        for queue, length in lengths.items():
            if isinstance(length, Exception):
                backlogs[queue] = length
                continue
            more = unreported.get(queue, Backlog())
            backlogs[queue] = replace(more, ready=length + more.ready, returned=max(-surplus, 0))
        return backlogs

    @property
    def visibility_timeout(self) -> float:
        """Seconds after which kombu puts back what a dead worker held."""
        return self._lists.visibility_timeout

    def sample(self, queue: str, most: int) -> Iterator[str]:
        """Yield the newest waiting messages of *queue*, up to *most* from each of its lists."""
        for name in self._lists.names(queue):
            if self._client.type(name) == "list":
                yield from self._client.lrange(name, 0, most - 1)  # type: ignore[misc]

    def _lengths(self, queues: Sequence[str]) -> tuple[dict[str, int | Exception], int]:
        names = {queue: self._lists.names(queue) for queue in queues}
        reply: Any = self._client.eval(
            _COUNT, 0, *chain(*names.values()), self._lists.unacked_index
        )
        *lengths, held = reply
        if isinstance(held, Exception):
            raise held
        steps = iter(lengths)
        return {q: _sum([*islice(steps, len(lists))]) for q, lists in names.items()}, int(held)

    def _unreported(self, surplus: int, unacknowledged: Mapping[str, int]) -> dict[str, Backlog]:
        """Return the taken messages that no live worker reports, by queue: *surplus* in all.

        Messages taken just now will be in a worker's next report and still count as ready. The
        others were held by workers that died; kombu puts them back after the visibility timeout. If
        there are very many, only the newest and the oldest are read.
        """
        index = self._lists.unacked_index
        oldest: Any = self._client.zrange(index, 0, _SAMPLE - 1, withscores=True)
        newest: Any = []
        if len(oldest) == _SAMPLE:
            newest = self._client.zrange(index, -_SAMPLE, -1, withscores=True)
        now = time()
        recently = now - _REPORTED_WITHIN
        unreported = {}
        for queue, taken in self._by_queue(dict([*oldest, *newest])).items():
            mine = surplus if newest else max(len(taken) - unacknowledged.get(queue, 0), 0)
            recent = [scheduled for at, scheduled in taken if at > recently]
            recent = recent[max(len(recent) - mine, 0) :]
            old = min(len(taken), mine) - len(recent)
            unreported[queue] = Backlog(
                ready=recent.count(False),
                untold=recent.count(False),
                scheduled=recent.count(True),
                orphans=old,
                restore_in=min(taken)[0] + self._lists.visibility_timeout - now,
            )
        return unreported

    def _by_queue(self, index: Mapping[str, float]) -> dict[str, list[tuple[float, bool]]]:
        """Return for each queue when each message was taken, and whether it has an ETA.

        *index* maps each message's delivery tag to the time when it was taken (Unix, s).
        """
        taken: dict[str, list[tuple[float, bool]]] = {}
        entries: Any = self._client.hmget(self._lists.unacked, list(index)) if index else []
        for at, entry in zip(index.values(), entries, strict=True):
            if entry is not None:
                message, _, routing_key = json.loads(entry)
                headers = message.get("headers") or {}
                queue = str(headers.get(HEADER) or routing_key)
                taken.setdefault(queue, []).append((at, taken_early(headers, at)))
        return taken


def _sum(lengths: Iterable[Any]) -> int | Exception:
    """Return the sum, or the first error that concerns a single list; raise any other error."""
    total = 0
    for length in lengths:
        if isinstance(length, redis.ResponseError):
            return length
        if isinstance(length, Exception):
            raise length
        total += int(length)
    return total
