"""From what there is to do to the workers needed. A policy is a function, and answers an advice."""

from __future__ import annotations

from typing import NamedTuple


class Advice(NamedTuple):
    """How many workers a pool needs, and why, in a sentence for people."""

    workers: int
    why: str

    def beside(self, deaf: int) -> Advice:
        """The same, if it needs any, beside so many workers that take nothing."""
        if not self.workers or not deaf:
            return self
        return Advice(self.workers + deaf, f"{self.why}, beside {deaf} that takes nothing")

    def within(self, minimum: int, maximum: int) -> Advice:
        """The same within a pool's limits."""
        workers = min(max(self.workers, minimum), maximum)
        return Advice(workers, f"{self.why}, limits {minimum} to {maximum}")
