"""What a ledger tells and is told, whatever keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import Any, overload

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.pool_state import iso
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.timing import LOCK_MARGIN, LOCK_SECONDS

#: Queues published to that are known, the latest ones: a count asks the broker for each.
MOST_QUEUES = 1000
#: A queue in use is told of again after this time (s).
TELL_QUEUES = 60.0
#: Everything expires this long (s) after the last sign of life.
EXPIRY = 7 * 86400
#: Entries of the history that are kept: with 140 a day, a week of them.
HISTORY = 1000
#: Samples of the counters that are kept, a week of minutes.
MOST_MINUTES = 7 * 24 * 60


class LeaseLost(Exception):
    """The lock ran out and may be another's: nothing more may be done on what was read."""


@dataclass(frozen=True)
class Lease:
    """The right to evaluate, for :data:`LOCK_SECONDS` from *won* (``monotonic()``) on."""

    token: str
    won: float
    #: Its holder ends then (``monotonic()``), however long the lock lasts.
    ends: float = inf

    @property
    def deadline(self) -> float:
        """Until when (``monotonic()``) its holder may act."""
        return min(self.won + LOCK_SECONDS - LOCK_MARGIN, self.ends)


@dataclass(frozen=True)
class Reply:
    """What a report answers. Times in seconds."""

    now: float
    lease: Lease | None
    #: Ask again after this time.
    wait: float
    #: Counts of these pools can wait for so long (s): they could change nothing sooner.
    held: Mapping[str, float]
    #: The ledger's own name for itself: another one, and Redis has lost its data.
    born: str
    #: The cordon of the worker's pool.
    cordon: Cordon
    #: Nobody may have looked yet at what was told: to be handed in with the next report.
    unseen: int | None
    #: A worker will surely evaluate. Told to who leaves only.
    watched: bool
    #: The platform has not answered since it failed, or since somebody gave up waiting for it.
    failing: bool
    #: For so long (s) counts found messages that the worker did not take.
    untaken: float = 0.0
    #: When (Unix, s) the last count of the worker's pool began, 0 before any.
    counted_at: float = 0.0
    #: Why that cordon was drawn, in words; empty where it was not told.
    why: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The whole ledger at one moment. *now* is the ledger's time, Unix (s)."""

    now: float
    state: Mapping[str, str]
    due: Mapping[str, Mapping[int, int]]
    presences: tuple[Presence, ...]
    #: Queues published to, and when last.
    queues: Mapping[str, float]
    #: The ledger's time less that of Redis' clock (s): what the clock has stepped back in all.
    offset: float = 0.0

    @overload
    def iso(self, at: float) -> str: ...
    @overload
    def iso(self, at: None) -> None: ...
    def iso(self, at: float | None) -> str | None:
        """A time of the ledger's (Unix, s) by the clock of Redis as it is now, for people."""
        return None if at is None else iso(at - self.offset)

    def presences_of(self, pool: str) -> tuple[Presence, ...]:
        """The workers of a pool."""
        return tuple(self._crews.get(pool, ()))

    @cached_property
    def _crews(self) -> dict[str | None, list[Presence]]:
        crews: dict[str | None, list[Presence]] = {}
        for presence in self.presences:
            crews.setdefault(presence.pool, []).append(presence)
        return crews

    def number(self, name: str, default: float = 0.0) -> float:
        """A number of the state."""
        value = self.state.get(name)
        return default if value is None else float(value)

    def time(self, name: str) -> float:
        """A time of the state, Unix (s); 0 if it never was."""
        return self.number(name) / 1000

    def document(self, name: str) -> dict[str, Any]:
        """A JSON document of the state; empty if it is not there."""
        value = self.state.get(name)
        document: dict[str, Any] = json.loads(value) if value else {}
        return document


@dataclass
class Changes:
    """What a scaler wants written."""

    set: dict[str, str] = field(default_factory=dict)
    #: Its keys are meant: a set, by a name that is not taken here.
    unset: dict[str, None] = field(default_factory=dict)
    add: dict[str, int] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    idle_queues: list[str] = field(default_factory=list)
    used_queues: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """They have been written."""
        for changes in vars(self).values():
            changes.clear()


def millis(seconds: float) -> int:
    """Seconds as the scripts have them, in whole milliseconds."""
    return round(seconds * 1000)
