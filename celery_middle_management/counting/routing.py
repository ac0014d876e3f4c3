"""Finds which of the app's declared queues the broker routes a message to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from kombu import Queue
from kombu.common import Broadcast

from celery_middle_management.counting.delayed import key_when_due

#: Patterns for the wildcards of a topic binding; a dot follows each word.
_WILDCARDS = {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}


class _Binding(NamedTuple):
    queue: str
    type: str
    key: str

    def takes(self, routing_key: str) -> bool:
        """Return whether the exchange routes a message with this key to the queue."""
        if self.type == "topic":
            return topic_matches(self.key, routing_key)
        return self.type == "fanout" or (self.type == "direct" and self.key == routing_key)

    def takes_when_due(self, routing_key: str) -> bool:
        """Return the same for a delayed message, given its key without the delay."""
        # kombu binds the queue so that it takes any delay.
        return self.type != "direct" and topic_matches(f"#.{self.key}", routing_key)


class Routes:
    """The bindings of an app's queues, by exchange."""

    def __init__(
        self, declared: Callable[[], Mapping[str, Any]], *, fanout_waits: Callable[[], bool]
    ) -> None:
        """*declared* returns the app's current queues: Celery adds any new name that it meets.

        *fanout_waits* returns whether a message to a fanout exchange waits in queues: with Redis,
        only consumers that are connected get it.
        """
        self._declared = declared
        self._fanout_waits = fanout_waits
        self._seen_declared: Mapping[str, Any] | None = None
        self._seen_queues = 0
        self._bindings: dict[str, list[_Binding]] = {}

    def queues_of(
        self, exchange: Any, routing_key: str | None, declare: Iterable[Any] | None = None
    ) -> tuple[str, ...]:
        """Return the queues that a message goes to; none if only the broker knows them.

        *declare* is what the publisher declares before it sends the message.
        """
        name = getattr(exchange, "name", exchange)
        if not name:
            # The routing key of the default exchange is the queue's name.
            return (routing_key,) if routing_key else ()
        self._add_new_bindings()
        key = routing_key or ""
        due = key_when_due(name, key)
        if due is not None:
            found = [b.queue for bs in self._bindings.values() for b in bs if b.takes_when_due(due)]
        else:
            bindings = [*self._bindings.get(name, ())]
            bindings += [b for on, b in _bindings_of(declare or ()) if on == name]
            found = [b.queue for b in bindings if self._waits(b) and b.takes(key)]
        return tuple(dict.fromkeys(found))

    def _waits(self, binding: _Binding) -> bool:
        return binding.type != "fanout" or self._fanout_waits()

    def _add_new_bindings(self) -> None:
        """Add the bindings of the queues that were declared since the last time."""
        declared = self._declared()
        if declared is not self._seen_declared:
            self._seen_declared, self._seen_queues, self._bindings = declared, 0, {}
        if len(declared) != self._seen_queues:
            # A copy, since other threads may declare meanwhile.
            queues = list(declared.values())
            for exchange, binding in _bindings_of(queues[self._seen_queues :]):
                self._bindings.setdefault(exchange, []).append(binding)
            self._seen_queues = len(queues)


@lru_cache(maxsize=1024)
def _pattern(binding_key: str) -> re.Pattern[str]:
    words = binding_key.split(".")
    return re.compile("".join(_WILDCARDS.get(word, re.escape(word) + r"\.") for word in words))


def topic_matches(binding_key: str, routing_key: str) -> bool:
    """Return whether a topic binding matches a key: ``*`` is one word, ``#`` any number of them."""
    return _pattern(binding_key).fullmatch(routing_key + ".") is not None


def _bindings_of(declared: Iterable[Any]) -> Iterator[tuple[str, _Binding]]:
    for queue in declared:
        # Each process has a broadcast queue of its own, so no other worker could help.
        if not isinstance(queue, Queue) or isinstance(queue, Broadcast):
            continue
        bound = [(b.exchange, b.routing_key) for b in queue.bindings]
        for exchange, key in [(queue.exchange, queue.routing_key), *bound]:
            if exchange is not None and exchange.name:
                yield exchange.name, _Binding(queue.name, exchange.type, key or "")
