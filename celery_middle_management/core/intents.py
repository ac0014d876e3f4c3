"""Requests by hand: they hold in every evaluation, until they end or are taken back."""

from __future__ import annotations

from dataclasses import dataclass

from celery_middle_management.core.policies import Advice


@dataclass(frozen=True)
class Pause:
    """No pool is to hire, or to fire, workers. Times are the ledger's, Unix (s)."""

    hires: bool = True
    fires: bool = True
    #: None: until it is taken back.
    until: float | None = None
    #: The person who asked for it: user@host.
    who: str = ""
    since: float | None = None

    def held(self, needed: int, quantity: int) -> int:
        """Return the number of workers to go to, where *needed* are needed and *quantity* there."""
        if self.fires:
            needed = max(needed, quantity)
        return min(needed, quantity) if self.hires else needed


@dataclass(frozen=True)
class ManualRequest:
    """A pool is to have at *least*, or at *most*, a number of workers, *until* a time."""

    until: float
    least: int | None = None
    most: int | None = None
    #: The person who asked for it: user@host.
    who: str = ""

    def applied_to(self, advice: Advice) -> Advice:
        """Return a policy's advice within the request."""
        workers, said = advice.workers, ""
        if self.least is not None and workers < self.least:
            workers, said = self.least, f"; {self.who} wants {self.least} at least"
        if self.most is not None and workers > self.most:
            workers, said = self.most, f"; {self.who} wants {self.most} at most"
        return Advice(workers, advice.why + said)
