"""A search for the largest number of workers that a platform will run, guided by its refusals."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Search:
    """The largest quantity allowed is at least *allowed* and less than *refused*."""

    allowed: int
    refused: int
    #: The limit that the platform named. It may include other pools, and so allow this one fewer.
    said: int | None = None

    def next(self, least: int) -> int | None:
        """Return the quantity to ask for next, *least* or more; None if nothing is left to try."""
        lowest = max(self.allowed + 1, least)
        if lowest >= self.refused or self.allowed == self.said:
            return None
        if self.said is not None and lowest <= self.said < self.refused:
            return self.said
        return max((self.allowed + self.refused) // 2, lowest)
