"""What a person asked for: it counts in every evaluation until it ends or is taken back."""

from __future__ import annotations

from dataclasses import dataclass

from celery_middle_management.core.policies import Advice


@dataclass(frozen=True)
class Pause:
    """Nobody is to be hired, or fired, of any pool. Times are Redis', Unix (s)."""

    hires: bool = True
    fires: bool = True
    #: None: until it is taken back.
    until: float | None = None
    #: Who asked for it: user@host.
    who: str = ""
    since: float | None = None

    def held(self, needed: int, quantity: int) -> int:
        """The workers to go to, of *needed*, from *quantity*."""
        if self.fires:
            needed = max(needed, quantity)
        return min(needed, quantity) if self.hires else needed


@dataclass(frozen=True)
class Wish:
    """There are to be at *least*, or at *most*, so many workers of a pool, *until* a time."""

    until: float
    least: int | None = None
    most: int | None = None
    who: str = ""

    def heeded(self, advice: Advice) -> Advice:
        """What a policy advises, as far as the wish allows."""
        workers, said = advice.workers, ""
        if self.least is not None and workers < self.least:
            workers, said = self.least, f"; {self.who} wants {self.least} at least"
        if self.most is not None and workers > self.most:
            workers, said = self.most, f"; {self.who} wants {self.most} at most"
        return Advice(workers, advice.why + said)
