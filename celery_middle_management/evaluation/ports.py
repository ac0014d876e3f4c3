"""The ports through which an evaluation sees the world; tests and simulators bring their own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf
from typing import Protocol

from celery_middle_management.brokers.base import Broker
from celery_middle_management.ledger.model import Changes, Lease, Snapshot
from celery_middle_management.platforms.base import Platform

#: Takes a kind of trouble, a message and its arguments, as a logger does.
Warn = Callable[..., None]
#: Takes a message and its arguments, as a logger does.
Inform = Callable[..., None]


class Ledger(Protocol):
    """Where the state is read and changes are written."""

    @property
    def full(self) -> str:
        """A message about what the ledger has run out of; empty if nothing, or if unknown."""

    def snapshot(self) -> Snapshot:
        """Return the whole state at one moment."""

    def commit(
        self, lease: Lease, changes: Changes, seq: str = "", next_in: float | None = None
    ) -> Lease:
        """Write *changes*; raises LeaseLost if another process has the lock by now."""


def _at_once(_: str) -> bool:
    return False


@dataclass(frozen=True)
class Queues:
    """Facts about the app's queues."""

    #: The queues that the app declares.
    declared: Collection[str] = ()
    #: Returns whether the broker itself keeps a queue's scheduled tasks until they are due.
    delayed: Callable[[str], bool] = _at_once


@dataclass(frozen=True)
class Ports:
    """Everything outside an evaluation."""

    ledger: Ledger
    broker: Broker
    platform: Platform
    queues: Queues
    #: The monotonic clock (s) by which leases end.
    clock: Callable[[], float]
    #: When this process was started, by that clock.
    born: float
    warn: Warn
    #: Told of each change of the workers.
    inform: Inform
    #: The platform's name for the worker that this process is, or belongs to; empty if none.
    worker: str = ""
    #: Since when this very process can evaluate, by that clock.
    able_since: float = -inf
