"""Virtual time, and what is going to happen in it."""

from __future__ import annotations

from heapq import heappush
from itertools import count
from math import inf
from typing import Any


class Clock:
    """The present moment, and events to come. Times are in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        #: When, in which order, and what: a function to call and -1, or what else is the matter.
        self.events: list[tuple[float, int, Any, int]] = []
        self._order = count()

    @property
    def next_at(self) -> float:
        """When the next event happens; infinite if there is none."""
        return self.events[0][0] if self.events else inf

    def later(self, seconds: float, what: Any, number: int = -1) -> None:
        """Have something happen after some time."""
        heappush(self.events, (self.now + seconds, next(self._order), what, number))
