"""Policies: functions that advise how many workers a number of tasks needs."""

from __future__ import annotations

from typing import NamedTuple


class Advice(NamedTuple):
    """How many workers a pool needs, and a sentence that tells people why."""

    workers: int
    why: str
    again: float | None = None
    """It may be different after this time (s), even if nothing happens."""

    @property
    def holds_back(self) -> bool:
        """True if there are tasks for which a worker is going to be hired later, and none now."""
        return not self.workers and self.again is not None

    def beside(self, deaf: int) -> Advice:
        """Return the advice for a pool that also has *deaf* workers, which take no tasks."""
        if not self.workers or not deaf:
            return self
        why = f"{self.why}, plus {deaf} taking no tasks"
        return self._replace(workers=self.workers + deaf, why=why)

    def within(self, minimum: int, maximum: int) -> Advice:
        """Return the advice within a pool's limits."""
        workers = min(max(self.workers, minimum), maximum)
        return self._replace(workers=workers, why=f"{self.why}, limits {minimum} to {maximum}")
