"""How many workers a platform would run, found out from what it refuses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Search:
    """The greatest quantity that is allowed lies from *allowed* on and below *refused*."""

    allowed: int
    refused: int
    #: What the platform said that it is. It may count other pools as well, and so allow fewer.
    said: int | None = None

    def next(self, least: int) -> int | None:
        """What to ask for next, *least* or more; None when there is nothing left to try."""
        lowest = max(self.allowed + 1, least)
        if lowest >= self.refused or self.allowed == self.said:
            return None
        if self.said is not None and lowest <= self.said < self.refused:
            return self.said
        return max((self.allowed + self.refused) // 2, lowest)
