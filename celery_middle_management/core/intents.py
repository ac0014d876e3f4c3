"""Requests made by hand, which hold in every evaluation until they end or are withdrawn."""

from __future__ import annotations

from dataclasses import dataclass

from celery_middle_management.core.policies import Advice


@dataclass(frozen=True)
class Pause:
    """A stop to hires, to fires, or to both, in all pools. Times are the ledger's, Unix (s)."""

    hires: bool = True
    fires: bool = True
    #: When it ends; None if it lasts until it is withdrawn.
    until: float | None = None
    #: The person who asked for it: user@host.
    who: str = ""
    since: float | None = None

    def held(self, needed: int, quantity: int) -> int:
        """Return how many workers to aim for, if *needed* are needed and there are *quantity*."""
        if self.fires:
            needed = max(needed, quantity)
        return min(needed, quantity) if self.hires else needed


@dataclass(frozen=True)
class ManualRequest:
    """A pool must have at *least*, or at *most*, a number of workers *until* a time."""

    until: float
    least: int | None = None
    most: int | None = None
    #: The person who asked for it: user@host.
    who: str = ""

    def applied_to(self, advice: Advice) -> Advice:
        """Return a policy's advice, adjusted to the request."""
        workers, said = advice.workers, ""
        if self.least is not None and workers < self.least:
            workers, said = self.least, f"; {self.who} wants at least {self.least}"
        if self.most is not None and workers > self.most:
            workers, said = self.most, f"; {self.who} wants at most {self.most}"
        return Advice(workers, advice.why + said)
