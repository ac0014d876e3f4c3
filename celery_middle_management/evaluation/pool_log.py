"""The log lines and the entries of the history that an evaluation writes about one pool."""

from __future__ import annotations

import json

from celery_middle_management.core.iso_time import iso
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.evaluation.ports import Inform
from celery_middle_management.ledger.pool import PoolWriter


class PoolLog:
    """The log and the history of one pool."""

    def __init__(self, pool: str, writer: PoolWriter, clock_offset: float, inform: Inform) -> None:
        self._pool = pool
        self._writer = writer
        self._clock_offset = clock_offset
        self._inform = inform

    def line(self, action: str, details: str) -> None:
        """Log one line, with keys and values that a log search can use."""
        self._inform("%s pool=%s %s", action, self._pool, details)

    def hired_or_fired(
        self, state: PoolState, action: str, to: int, at: float, **more: bool
    ) -> None:
        """Record that the quantity of *state* was changed or, with *more*, would have been."""
        before, reason = state.quantity or 0, state.advice.why
        wall = iso(at - self._clock_offset)
        self._writer.action(
            {"at": wall, "action": action, "from": before, "to": to, "reason": reason, **more}
        )
        would = "would " if more else ""
        self.line(f"{would}{action}", f"from={before} to={to} reason={json.dumps(reason)}")

    def scaled_by_hand(self, state: PoolState, to: int) -> None:
        """Record a change of the quantity that we did not make."""
        entry = {"at": iso(state.now - self._clock_offset), "from": state.formation, "to": to}
        self._writer.by_hand({"action": "by hand", **entry})
        self.line("by hand", f"from={state.formation} to={to}")
