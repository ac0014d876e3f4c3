"""One evaluation's reading of the ledger, and the lease under which it writes changes."""

from __future__ import annotations

from math import inf

from celery_middle_management.evaluation.ports import Ports
from celery_middle_management.ledger.model import Changes, Lease


class Session:
    """The ledger as read when the evaluation began, and changes since its last commit."""

    def __init__(self, lease: Lease, ports: Ports) -> None:
        self.ports = ports
        self.changes = Changes()
        self.snapshot = ports.ledger.snapshot()
        #: The entries of the history that were committed, packed.
        self.written: list[str] = []
        self._lease = lease
        self._read = ports.clock()
        #: For how long (s) this process has been able to evaluate; 0 if it is about to end.
        self.able_for = self._read - ports.able_since if lease.ends == inf else 0.0

    @property
    def deadline(self) -> float:
        """Until when (``monotonic()``) the evaluation may act."""
        return self._lease.deadline

    @property
    def process_started_at(self) -> float:
        """When this process was started (ledger's time, s)."""
        return self.snapshot.now - (self._read - self.ports.born)

    def time(self) -> float:
        """Return the ledger's time now (Unix, s), extrapolated from when it was read."""
        return self.snapshot.now + self.ports.clock() - self._read

    def commit(self, next_in: float | None = None) -> None:
        """Write the changes and renew the lease or, with *next_in* (s), end it."""
        self._lease = self.ports.ledger.commit(
            self._lease, self.changes, self.snapshot.state.get("seq", "0"), next_in
        )
        self.written += self.changes.history
        self.changes.clear()
