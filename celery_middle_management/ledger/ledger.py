"""One process's side of the ledger: what it reports, reads and writes, wherever the ledger is kept.

It remembers the ledger's time, so that a step of the ledger's clock does not count as time passed.
It also remembers the calls that can still take effect at the platform, in case the ledger loses its
data.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery_middle_management.core.batch import Batch
from celery_middle_management.core.history import Sample
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.clocks import SYSTEM, ClockReading, Clocks
from celery_middle_management.ledger.codec import cordon_field
from celery_middle_management.ledger.in_flight import CallsInFlight
from celery_middle_management.ledger.messages import (
    Bounds,
    CommitMessage,
    IntendMessage,
    ReportMessage,
    ReportReply,
    commit_message,
    constants,
    counts_by_pool,
    intend_message,
    reply_of,
    report_message,
)
from celery_middle_management.ledger.model import (
    MOST_MINUTES,
    Changes,
    Lease,
    LeaseLost,
    Reply,
    Snapshot,
)
from celery_middle_management.ledger.page import Page
from celery_middle_management.ledger.recent_queues import RecentQueues
from celery_middle_management.settings.model import Settings


class Ledger(ABC):
    """The counts and the state of an app."""

    def __init__(self, settings: Settings, clocks: Clocks = SYSTEM) -> None:
        self._settings = settings
        self._clocks = clocks
        self._constants = constants(settings)
        self._queues = RecentQueues(settings)
        self._reading: ClockReading | None = None
        self._in_flight = CallsInFlight()
        #: The last entries of the history that this process wrote.
        self.own_entries = deque[str](maxlen=100)
        #: How many commits this process has sent.
        self._commits = 0

    # -- what each kind of ledger implements

    @abstractmethod
    def _report(self, message: ReportMessage, presence: Presence | None) -> ReportReply:
        """Do what ``lua/report.lua`` says."""

    @abstractmethod
    def _read(self, bounds: Bounds) -> Snapshot:
        """Read everything at one moment."""

    @abstractmethod
    def page(self) -> Page:
        """Read everything that the page shows, at one moment and in one call."""

    @abstractmethod
    def history(self, most: int = MOST_MINUTES) -> tuple[Sample, ...]:
        """Return samples of the last *most* minutes in which a process reported, latest first."""

    @abstractmethod
    def _commit(self, token: str, message: CommitMessage) -> bool:
        """Do what ``lua/commit.lua`` says; return False if the scaler no longer holds the lock."""

    @abstractmethod
    def _intend(self, message: IntendMessage) -> bool:
        """Do what ``lua/intend.lua`` says; return False if what the request rests on changed."""

    @abstractmethod
    def actions(self) -> tuple[str, ...]:
        """Return the history: the latest :data:`HISTORY` entries, packed, the latest first."""

    @property
    def full(self) -> str:
        """A message if the ledger's server is known to lack memory or connections, or empty."""
        return ""

    # -- what processes do with it

    def report(
        self,
        batch: Batch,
        identity: str | None = None,
        presence: Presence | None = None,
        *,
        more: bool = False,
        unseen: int | None = None,
        leaving: bool = False,
        gave_up: bool = False,
    ) -> Reply:
        """Add counts and the presence of a worker; the reply says whether to evaluate.

        With an *identity* and no *presence*, the worker says goodbye. No lease is given while there
        is *more* of the same report to come. *unseen* is the value from the last reply. If
        the process is *leaving* and waits for an evaluation, one is due at once. *gave_up* says
        that the process ends while its own evaluation still waits for the platform.
        """
        won, uptime = self._clocks.monotonic(), self._clocks.uptime()
        queues = self._queues.new(batch.queues, won)
        counts = counts_by_pool(batch, self._settings, self._clocks.now())
        flags = {"look": batch.unplaced, "more": more, "leaving": leaving, "gave_up": gave_up}
        message = report_message(self._constants, counts, queues, **flags)
        self._add_bounds(message, uptime)
        if unseen is not None:
            message["unseen"] = unseen
        if identity is not None:
            message["id"] = identity
        if presence is not None:
            message["cordon"] = cordon_field(presence)
        self._add_calls_in_flight(message, uptime)
        answer = self._report(message, presence)
        self._reading = ClockReading(float(answer["now"]) / 1000, uptime, self._clocks.uptime())
        self._in_flight.learn(answer)
        self._queues.add(queues, won)
        return reply_of(answer, Lease(message["token"], won) if answer["lease"] else None)

    def snapshot(self) -> Snapshot:
        """Read everything at one moment."""
        bounds: Bounds = {}
        self._add_bounds(bounds, self._clocks.uptime())
        return self._read(bounds)

    def commit(
        self,
        lease: Lease,
        changes: Changes,
        seq: str = "",
        next_in: float | None = None,
    ) -> Lease:
        """Write *changes* if the lock is still ours, and return the lease renewed.

        With *next_in* (s), the lock is given up instead, and the next evaluation is due after that
        time, or soon if something was reported since *seq*.

        Raises:
            LeaseLost: the lock ran out; nothing was written.
        """
        won = self._clocks.monotonic()
        self._in_flight.before_commit(changes)
        self.own_entries += changes.history
        self._commits += 1
        message = commit_message(self._commits, changes, seq, next_in)
        self._add_bounds(message, self._clocks.uptime())
        if not self._commit(lease.token, message):
            raise LeaseLost
        self._in_flight.after_commit(changes)
        return replace(lease, won=won)

    def intend(
        self,
        read: Mapping[str, str | None],
        fields: Mapping[str, str | None],
        entry: Mapping[str, Any],
    ) -> bool:
        """Write the *fields* of a person's request (None deletes one), and *entry* to the history.

        An evaluation is due at once. Returns False, and writes nothing, if a field of *read*, which
        the request rests on, no longer has the value given there (None: it is absent). If a request
        with the *entry*'s ``id`` was written already, it is not written again.
        """
        message = intend_message(read, fields, entry["id"], json.dumps(entry))
        self._add_bounds(message, self._clocks.uptime())
        return self._intend(message)

    # -- what it remembers

    def _add_bounds(self, message: Bounds, uptime: float) -> None:
        if self._reading is not None:
            message.update(self._reading.bounds(uptime))

    def _add_calls_in_flight(self, message: ReportMessage, uptime: float) -> None:
        if self._reading is None:
            return
        born, calls = self._in_flight.at(self._reading.at(uptime))
        if calls:
            message["born"], message["sent"] = born, calls
