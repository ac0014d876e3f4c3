"""The hires of a pool's one-off workers: announced in the ledger, sent, answered, and listed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from weakref import proxy

from celery_middle_management.evaluation.counted import CountedPool
from celery_middle_management.evaluation.one_offs import OneOffs
from celery_middle_management.platforms.base import Listing, OneOff, PlatformError, Refused


class OneOffHires:
    """Keeps the pool's state, and the pending hires in the ledger, in line with its roster."""

    def __init__(self, of: CountedPool, one_offs: OneOffs) -> None:
        #: Weak, since the pool keeps this: a cycle would keep the snapshot until it is collected.
        self._of: CountedPool = proxy(of)
        self._one_offs = one_offs

    @property
    def wanted(self) -> int:
        """How many workers to hire."""
        return self._one_offs.choice.hires

    def announce(self, at: float) -> list[str]:
        """Write down the hires, so that a successor knows of them if we die; return their ids."""
        ids = self._one_offs.announce(at, self._of.state.formation or 0)
        self._write_pending()
        return ids

    def record_answers(self, outcomes: Mapping[str, OneOff | PlatformError], at: float) -> None:
        """Record the outcome of each hire, by its id."""
        of, one_offs = self._of, self._one_offs
        before = of.state.quantity or 0
        one_offs.record_answers(outcomes, at)
        self._write_pending()
        if refused := [e for e in outcomes.values() if isinstance(e, Refused)]:
            of.record_refusal(refused[0], limit=len(one_offs.roster.members))
        if one_offs.quantity > of.state.one_offs:
            of.state = of.writer.raised(of.state, at)
            to = before + one_offs.quantity - of.state.one_offs
            of.log.hired_or_fired(of.state, "hire", to, at)
        self.write_quantity()

    def record_listing(self, listing: Listing, elsewhere: Collection[str]) -> None:
        """Record which workers the platform lists; those named in *elsewhere* are not ours."""
        of, one_offs = self._of, self._one_offs
        pause = one_offs.learn(listing, elsewhere)
        hire = of.state.hire
        if of.pool.one_off and of.state.ceiling is not None and hire and not hire.on_roster:
            one_offs.expect(hire.to, hire.until)
            of.state = replace(of.state, hire=replace(hire, on_roster=True))
            self._write_pending()
        if pause is not None:
            of.set_refusal(pause)
        self.write_quantity()

    def write_fires(self) -> None:
        """If workers were let go since the state was read, record that."""
        state, quantity = self._of.state, self._one_offs.quantity
        if quantity < state.one_offs:
            after = (state.quantity or 0) - state.one_offs + quantity
            self._of.log.hired_or_fired(state, "fire", after, state.now)
        self.write_quantity()

    def write_quantity(self) -> None:
        """Bring the number of one-off workers in the state in line with the roster."""
        of, quantity = self._of, self._one_offs.quantity
        if quantity == of.state.one_offs:
            return
        of.state = replace(of.state, one_offs=quantity)
        if of.state.formation is not None:
            of.writer.quantity(of.state)

    def _write_pending(self) -> None:
        """Write how many workers may exist; if the ledger loses its data, reports restore this."""
        roster = self._one_offs.roster
        if roster.unanswered_until is None:
            self._of.writer.hire_over()
        else:
            total = len(roster.members)
            self._of.writer.hiring(total, roster.unanswered_until, on_roster=True)
