"""To which queues the broker routes a message, as far as the app declares it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from kombu import Queue
from kombu.common import Broadcast

from celery_middle_management.counting.delayed import key_when_due

#: Words of a topic binding, of which each stands with a dot after it.
_WILDCARDS = {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}


class _Binding(NamedTuple):
    queue: str
    type: str
    key: str

    def takes(self, routing_key: str) -> bool:
        """Whether its exchange routes a message with this key to its queue."""
        if self.type == "topic":
            return topic_matches(self.key, routing_key)
        return self.type == "fanout" or (self.type == "direct" and self.key == routing_key)

    def takes_when_due(self, routing_key: str) -> bool:
        """The same for a message that was delayed, without its delay."""
        # As kombu binds it: whatever the delay.
        return self.type != "direct" and topic_matches(f"#.{self.key}", routing_key)


class Routes:
    """The bindings of an app's queues, by exchange."""

    def __init__(
        self, declared: Callable[[], Mapping[str, Any]], *, fanout_waits: Callable[[], bool]
    ) -> None:
        """*declared* are the app's queues now: Celery adds to them as it meets new names.

        *fanout_waits* says whether a message to a fanout exchange waits in queues: with Redis, only
        those hear of it who listen.
        """
        self._declared = declared
        self._fanout_waits = fanout_waits
        self._seen: Mapping[str, Any] | None = None
        self._looked_at = 0
        self._bindings: dict[str, list[_Binding]] = {}

    def queues_of(
        self, exchange: Any, routing_key: str | None, declare: Iterable[Any] | None = None
    ) -> tuple[str, ...]:
        """The queues that a message goes to; empty where only the broker knows.

        *declare* is what its publisher declares before it sends it.
        """
        name = getattr(exchange, "name", exchange)
        if not name:
            # The default exchange routes by the queue's name.
            return (routing_key,) if routing_key else ()
        self._look()
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

    def _look(self) -> None:
        """Take note of the queues declared since the last time."""
        declared = self._declared()
        if declared is not self._seen:
            self._seen, self._looked_at, self._bindings = declared, 0, {}
        if len(declared) != self._looked_at:
            # A copy, for other threads may declare meanwhile.
            queues = list(declared.values())
            for exchange, binding in _bindings_of(queues[self._looked_at :]):
                self._bindings.setdefault(exchange, []).append(binding)
            self._looked_at = len(queues)


@lru_cache(maxsize=1024)
def _pattern(binding_key: str) -> re.Pattern[str]:
    words = binding_key.split(".")
    return re.compile("".join(_WILDCARDS.get(word, re.escape(word) + r"\.") for word in words))


def topic_matches(binding_key: str, routing_key: str) -> bool:
    """Whether a topic exchange takes the one for the other: "*" is any word, "#" any number."""
    return _pattern(binding_key).fullmatch(routing_key + ".") is not None


def _bindings_of(declared: Iterable[Any]) -> Iterator[tuple[str, _Binding]]:
    for queue in declared:
        # Each process has a broadcast queue of its own: nobody can be hired for it.
        if not isinstance(queue, Queue) or isinstance(queue, Broadcast):
            continue
        bound = [(b.exchange, b.routing_key) for b in queue.bindings]
        for exchange, key in [(queue.exchange, queue.routing_key), *bound]:
            if exchange is not None and exchange.name:
                yield exchange.name, _Binding(queue.name, exchange.type, key or "")
