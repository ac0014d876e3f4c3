"""A ledger that is read, and to which nothing is written."""

from __future__ import annotations

from dataclasses import replace

from celery_middle_management.ledger.ledger import Ledger
from celery_middle_management.ledger.model import Changes, Lease, Snapshot


class ReadOnlyLedger:
    """What an evaluation sees of *ledger*, for dry runs beside the app's own evaluations.

    Only what a dry run has decided last is kept, here, that it is told once.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._decided: dict[str, str] = {}

    @property
    def full(self) -> str:
        """What it has no more of."""
        return self._ledger.full

    def snapshot(self) -> Snapshot:
        """Everything at one moment."""
        snapshot = self._ledger.snapshot()
        # Whom others have cordoned is theirs to let go.
        state = {n: v for n, v in snapshot.state.items() if not n.endswith("/cordon")}
        return replace(snapshot, state={**state, **self._decided})

    def commit(
        self, lease: Lease, changes: Changes, seq: str = "", next_in: float | None = None
    ) -> Lease:
        """Writes nothing."""
        for name in (*changes.set, *changes.unset):
            if name.endswith("/would"):
                self._decided.pop(name, None)
        self._decided |= {n: v for n, v in changes.set.items() if n.endswith("/would")}
        return lease
