"""The values that go into a ledger and come out of it, wherever it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import Any, overload

from celery_middle_management.core.bill import KEPT_DAYS
from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.iso_time import iso
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.timing import LOCK_MARGIN, LOCK_SECONDS

#: How many of the latest queues are kept: a count asks the broker about each.
MOST_QUEUES = 1000
#: A process reports a queue in use again after this time (s).
TELL_QUEUES = 60.0
#: Everything expires this long (s) after the last sign of life.
EXPIRY = 7 * 86400
#: The bill is kept this long (s) after it last grew.
BILL_EXPIRY = KEPT_DAYS * 86400
#: How many entries the history keeps: a week's worth at 140 a day.
HISTORY = 1000
#: How many samples of the counters are kept: one a minute for a week.
MOST_MINUTES = 7 * 24 * 60
#: How many samples are kept that each sum up ten minutes: also a week's.
MOST_TENS = MOST_MINUTES // 10


class LeaseLost(Exception):
    """The lock ran out, and another process may hold it: what was read must not be acted on."""


@dataclass(frozen=True)
class Lease:
    """The right to evaluate, for :data:`LOCK_SECONDS` from *won* (``monotonic()``) on."""

    token: str
    won: float
    #: When its holder's process ends (``monotonic()``), however long the lock lasts.
    ends: float = inf

    @property
    def deadline(self) -> float:
        """When (``monotonic()``) its holder has to stop."""
        return min(self.won + LOCK_SECONDS - LOCK_MARGIN, self.ends)


@dataclass(frozen=True)
class Reply:
    """The answer to a report. Times are in seconds; Unix times are the ledger's."""

    now: float
    lease: Lease | None
    #: Report again after this time, even with nothing to add.
    wait: float
    #: By pool, how long its counts can be held back, because they could change nothing sooner.
    held: Mapping[str, float]
    #: The ledger's name for itself: if it differs from the last one, Redis has lost its data.
    born: str
    #: The cordon that the worker must obey.
    cordon: Cordon
    #: Not None if something reported may still wait for an evaluation; pass it to the next report.
    unseen: int | None
    #: Whether a worker is sure to evaluate; only in the reply to a process that is leaving.
    watched: bool
    #: The platform has not answered since it failed, or since a process gave up waiting for it.
    failing: bool
    #: For how long counts have found messages that the worker did not take.
    untaken: float = 0.0
    #: When the last count of the worker's pool began (Unix); 0 before the first.
    counted_at: float = 0.0
    #: The reason for the cordon, in words; empty if unknown.
    why: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The whole ledger at one moment. *now* is the ledger's time, Unix (s)."""

    now: float
    state: Mapping[str, str]
    due: Mapping[str, Mapping[int, int]]
    presences: tuple[Presence, ...]
    #: By queue, when (Unix, s) it was last reported or found in use.
    queues: Mapping[str, float]
    #: The ledger's time minus that of Redis's clock (s): how far that clock has stepped back.
    offset: float = 0.0

    @overload
    def iso(self, at: float) -> str: ...
    @overload
    def iso(self, at: None) -> None: ...
    def iso(self, at: float | None) -> str | None:
        """Return a time of the ledger (Unix, s) in ISO format, as Redis's clock now tells it."""
        return None if at is None else iso(at - self.offset)

    def presences_of(self, pool: str) -> tuple[Presence, ...]:
        """Return the presences of a pool's workers."""
        return tuple(self._presences_by_pool.get(pool, ()))

    @cached_property
    def _presences_by_pool(self) -> dict[str | None, list[Presence]]:
        by_pool: dict[str | None, list[Presence]] = {}
        for presence in self.presences:
            by_pool.setdefault(presence.pool, []).append(presence)
        return by_pool

    def number(self, name: str, default: float = 0.0) -> float:
        """Return a number of the state."""
        value = self.state.get(name)
        return default if value is None else float(value)

    def time(self, name: str) -> float:
        """Return a time of the state, Unix (s); 0 if it is not there."""
        return self.number(name) / 1000

    def document(self, name: str) -> dict[str, Any]:
        """Return a JSON document of the state; empty if it is not there."""
        value = self.state.get(name)
        document: dict[str, Any] = json.loads(value) if value else {}
        return document


@dataclass
class Changes:
    """The changes that a scaler is going to write."""

    set: dict[str, str] = field(default_factory=dict)
    #: A set in effect: its keys are the fields to delete. (`set` itself names a field here.)
    unset: dict[str, None] = field(default_factory=dict)
    add: dict[str, int] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    idle_queues: list[str] = field(default_factory=list)
    used_queues: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    #: Worker time (ms) to add to the bill, by ``<pool>/<day>/<size>``.
    bill: dict[str, int] = field(default_factory=dict)
    #: How many of its days the bill keeps, the latest, once a day has begun.
    bill_days: list[int] = field(default_factory=list)

    def clear(self) -> None:
        """Forget the changes, once they are written."""
        for changes in vars(self).values():
            changes.clear()


def millis(seconds: float) -> int:
    """Return seconds in whole milliseconds, as the scripts use them."""
    return round(seconds * 1000)
