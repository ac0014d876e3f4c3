"""A ledger that is read but never written."""

from __future__ import annotations

from dataclasses import replace

from celery_middle_management.ledger.ledger import Ledger
from celery_middle_management.ledger.model import Changes, Lease, Snapshot

_KEPT = ("/would", "prices_asked_at")


class ReadOnlyLedger:
    """A view of *ledger* for dry runs that happen beside the app's own evaluations.

    It keeps only the last decision of the dry run, so that each decision is shown once, and when
    the platform was asked for its prices.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._decided: dict[str, str] = {}

    @property
    def full(self) -> str:
        """A message if the ledger's server is known to lack memory or connections, or empty."""
        return self._ledger.full

    def snapshot(self) -> Snapshot:
        """Read everything at one moment."""
        snapshot = self._ledger.snapshot()
        # Cordons of the app's own evaluations are not shown: a dry run leaves them alone.
        state = {n: v for n, v in snapshot.state.items() if not n.endswith("/cordon")}
        return replace(snapshot, state={**state, **self._decided})

    def commit(
        self, lease: Lease, changes: Changes, seq: str = "", next_in: float | None = None
    ) -> Lease:
        """Write nothing, but remember what the dry run decided."""
        for name in (*changes.set, *changes.unset):
            if name.endswith(_KEPT):
                self._decided.pop(name, None)
        self._decided |= {n: v for n, v in changes.set.items() if n.endswith(_KEPT)}
        return lease
