"""The data of a ledger in memory, under the names that it has in Redis."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from celery_middle_management.core.presence import Presence


@dataclass
class Store:
    """The data of one app, shared by its ledgers. *clock* gives Unix time (s) and never steps."""

    clock: Callable[[], float]
    state: dict[str, str] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    #: By id, the last report of each worker and when it came (ms).
    workers: dict[str, tuple[int, Presence]] = field(default_factory=dict)
    #: When (ms) each queue was last reported.
    queues: dict[str, int] = field(default_factory=dict)
    actions: list[str] = field(default_factory=list)
    #: The counters at the beginning of each minute, the latest first.
    samples: list[str] = field(default_factory=list)
    #: The same, each for ten minutes.
    tens: list[str] = field(default_factory=list)
    #: Worker time (ms) by ``<pool>/<day>/<size>``.
    bill: dict[str, int] = field(default_factory=dict)
    #: The token of the lock's holder, and when (ms) the lock expires.
    lock: tuple[str, float] | None = None

    def now(self) -> int:
        """Return the time (ms)."""
        return math.floor(self.clock() * 1000)

    def number(self, field: str) -> float:
        """Return a number of the state, 0 if it is not there."""
        return float(self.state.get(field, 0))

    def set(self, field: str, number: float) -> None:
        """Write a whole number into the state."""
        self.state[field] = f"{number:.0f}"

    def add(self, numbers: Mapping[str, float]) -> None:
        """Add whole numbers to those of the state."""
        for field_, n in numbers.items():
            self.set(field_, self.number(field_) + n)

    def holder(self, now: float) -> str | None:
        """Return the token of the lock's holder, None if the lock is free."""
        return self.lock[0] if self.lock and self.lock[1] > now else None

    def flush(self) -> None:
        """Lose everything."""
        for kept in (self.state, self.due, self.workers, self.queues, self.bill):
            kept.clear()
        for told in (self.actions, self.samples, self.tens):
            told.clear()
        self.lock = None
