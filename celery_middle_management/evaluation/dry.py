"""A pool in a dry run: decisions are made and written down, but nothing is changed.

From the first change on, it differs from a real run: the quantity stays, and every worker goes on
taking tasks. So the same decision is made again and again, but written down only once. To compare a
decision with the last one, workers that the last one would have cordoned are treated as cordoned.
"""

from __future__ import annotations

from dataclasses import replace

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.decision import (
    Decision,
    Situation,
    cordon_for_earlier_calls,
    decide,
)
from celery_middle_management.evaluation.pool import PoolEvaluation
from celery_middle_management.ledger.pool_reading import Would, read_would


class DryPoolEvaluation(PoolEvaluation):
    """Decides as a real run does, as if the workers it would have cordoned were cordoned."""

    _imagined = Cordon()

    def _decide(self, situation: Situation) -> Decision:
        before = self._before
        decision = decide(replace(situation, cordon=before.cordon if before else Cordon()))
        self._imagined = decision.cordon
        # Only calls made by an earlier real run can still stop a worker. No worker is draining, so
        # there is nothing to wait for.
        return replace(decision, cordon=cordon_for_earlier_calls(situation), draining=False)

    @property
    def change(self) -> int | None:
        """The quantity to set; None if it is not news, so that the platform need not be asked."""
        return super().change if self._is_news else None

    def write_decision(self) -> None:
        super().write_decision()
        decision, quantity, before = self.decision, self.state.quantity, self._before
        if decision is None or quantity is None or decision.suppressed or decision.wants_count:
            return  # it cannot decide yet
        at, to = before.at if before else 0.0, self._target
        if self._is_news:
            at = self.state.now
            action = "fire" if self.call.lowers_to(to) else "hire"
            self.log.hired_or_fired(self.state, action, to, at, dry_run=True)
        elif before and to != quantity:
            to = before.to  # the change is written down later, if it is still wanted
        self.writer.would(Would(quantity, to, self._imagined, at))

    @property
    def _before(self) -> Would | None:
        """The last decision, or None if the quantity has changed since."""
        would = read_would(self._snapshot, self.pool)
        return would if would and would.quantity == self.state.quantity else None

    @property
    def _target(self) -> int:
        """The quantity that a real run would now head for, by a hire or by draining."""
        quantity = self.state.quantity or 0
        if self.decision is None or self.decision.quantity is None:
            return (
                self.state.needed if self._imagined and self.state.needed < quantity else quantity
            )
        return self.decision.quantity

    @property
    def _is_news(self) -> bool:
        """True if the change differs from the last one, and the call interval has passed."""
        before = self._before
        if self._target in (self.state.quantity, before and before.to):
            return False
        return before is None or self.state.now - before.at >= self._settings.call_interval
