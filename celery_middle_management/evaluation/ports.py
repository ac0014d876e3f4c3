"""Through what an evaluation sees the world. Whoever has another world brings ports of his own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from celery_middle_management.brokers.base import Broker
from celery_middle_management.ledger.model import Changes, Lease, Snapshot
from celery_middle_management.platforms.base import Platform

#: Takes a kind of trouble, a message and its arguments, as a logger does.
Warn = Callable[..., None]


class Ledger(Protocol):
    """What is known, and where it is written down; see :mod:`celery_middle_management.ledger`."""

    @property
    def full(self) -> str:
        """What there is no more of, in words; empty where nothing lacks, or it is not known."""

    def snapshot(self) -> Snapshot:
        """Everything at one moment."""

    def commit(
        self, lease: Lease, changes: Changes, seq: str = "", next_in: float | None = None
    ) -> Lease:
        """Write *changes*; raises LeaseLost where the lock is another's by now."""


def _at_once(_: str) -> bool:
    return False


@dataclass(frozen=True)
class Queues:
    """What the app says of its queues."""

    #: Those that it declares.
    declared: Collection[str] = ()
    #: Whether the broker itself keeps a queue's scheduled tasks until they are due.
    delayed: Callable[[str], bool] = _at_once


@dataclass(frozen=True)
class Ports:
    """Everything outside of an evaluation."""

    ledger: Ledger
    broker: Broker
    platform: Platform
    queues: Queues
    #: A clock (s) that nobody sets; leases are by the same one.
    clock: Callable[[], float]
    #: When this process was started, by that clock.
    born: float
    warn: Warn
