"""A change of a pool's quantity at the platform: announced in the ledger, sent, and answered."""

from __future__ import annotations

from dataclasses import replace
from weakref import proxy

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.limit_search import Search
from celery_middle_management.core.timing import LOCK_SECONDS
from celery_middle_management.evaluation.counted import CountedPool
from celery_middle_management.platforms.base import PlatformError, Refused


class QuantityCall:
    """The calls that set the quantity of one pool, until it is set or refused for good."""

    def __init__(self, of: CountedPool) -> None:
        #: Weak, since the pool keeps this: a cycle would keep the snapshot until it is collected.
        self._of: CountedPool = proxy(of)
        self._cordon = of.state.cordon
        self._search: Search | None = None

    def lowers_to(self, quantity: int) -> bool:
        """Return whether setting *quantity* is a fire."""
        return quantity < (self._of.state.formation or 0)

    def announce(self, quantity: int, cordon: Cordon, at: float) -> None:
        """Write what is about to be sent: if we die before the answer, a successor must know.

        The decided *cordon* holds once the answer is known. Until then, workers that are hired by
        hand above *quantity* are cordoned too, because the call would stop them.
        """
        self._cordon = cordon
        traits, fleet = self._of.fleet.traits, self._of.fleet
        self._write_pending(quantity, at + LOCK_SECONDS + traits.takes_effect_within)
        if not fleet.unordered and (cordon.above is None or cordon.above > quantity):
            names = fleet.names(quantity)
            moved = cordon.move(quantity, cordon.names, names, fleet.now, traits)
            self._of.writer.cordon(moved, self._of.state.advice.why)

    def record_answer(self, quantity: int, outcome: int | PlatformError, at: float) -> int | None:
        """Record the outcome of asking for *quantity*; return what to ask for next, if anything."""
        if isinstance(outcome, PlatformError) and not outcome.settled:
            self._write_pending(quantity, at + self._of.fleet.traits.takes_effect_within)
            return None
        self._of.writer.cordon(self._cordon, self._of.state.advice.why)
        if isinstance(outcome, PlatformError):
            self._write_undone(quantity, outcome)
        else:
            self._write_done(quantity, outcome, at)
        return self._next_request()

    def _next_request(self) -> int | None:
        """Return what to ask for next, if the platform allows fewer workers than needed."""
        if self._search is None:
            return None
        refusal = self._of.state.last_refusal
        if refusal is not None:
            self._of.set_refusal(replace(refusal, limit=self._search.allowed))
        return self._search.next(self._of.pool.min_workers)

    def _write_pending(self, quantity: int, until: float) -> None:
        if self.lowers_to(quantity):
            self._of.writer.firing(quantity, until)
        else:
            self._of.writer.hiring(quantity, until)

    def _write_undone(self, quantity: int, error: PlatformError) -> None:
        of = self._of
        fires = self.lowers_to(quantity)
        if fires:
            of.writer.fire_settled()
        else:
            of.writer.hire_settled(of.state)
        if not isinstance(error, Refused):
            return
        of.record_refusal(error)
        # Not if an earlier outcome is unknown: a smaller hire, carried out last, stops workers.
        if not fires and of.state.ceiling is None and not error.unknown:
            search = self._search or Search(of.state.formation or 0, quantity, error.limit)
            self._search = replace(search, refused=quantity)

    def _write_done(self, asked: int, quantity: int, at: float) -> None:
        of = self._of
        state, action = of.state, "fire" if self.lowers_to(asked) else "hire"
        if action == "fire":
            of.writer.firing(quantity, at + of.fleet.traits.stops_within, done=True)
        else:
            of.writer.hire_settled(state)
            of.state = state = of.writer.raised(state, at)
        of.log.hired_or_fired(state, action, quantity + state.one_offs, at)
        of.set_formation(quantity)
        if self._search is not None:
            self._search = replace(self._search, allowed=quantity)
