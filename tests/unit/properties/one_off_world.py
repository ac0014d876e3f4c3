"""The world of a pool whose workers are hired one by one, and leave by themselves.

A hire may be carried out late, twice or never, and its answer be lost. A worker leaves on the
answer to its own report.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from celery_middle_management.core.backoff import LONGEST_PAUSE
from celery_middle_management.core.traits import DOTTED
from celery_middle_management.platforms.base import (
    Listing,
    OneOff,
    OneOffPlatform,
    PlatformError,
    Refused,
)

from .processes import POOL, Died, OneOffWorker, Worker
from .world import MAXIMUM, World


class OneOffWorld(World, OneOffPlatform):
    """All there is, as it really is."""

    hires_singly = True
    pauses_for = LONGEST_PAUSE

    def __init__(self, minimum: int) -> None:
        self.one_offs: OneOffPlatform = self
        self.release = 1
        #: The next hire is skipped, or done twice.
        self.otherwise = ""
        #: Hires that are under way: when (s) they are done, and by which id.
        self.late: list[tuple[float, str]] = []
        super().__init__(minimum, numbered=True, traits=DOTTED)

    @property
    def least(self) -> int:
        return 0

    @property
    def unsettled(self) -> bool:
        return bool(self.under_way or self.late)

    @property
    def formation(self) -> list[Worker]:
        return [w for w in self.workers if not isinstance(w, OneOffWorker)]

    @property
    def singles(self) -> list[OneOffWorker]:
        """Those that were hired one by one."""
        return [w for w in self.workers if isinstance(w, OneOffWorker)]

    # -- the platform

    def listed(self, pools: Collection[str], deadline: float) -> dict[str, Listing]:
        self._answer()
        workers = (OneOff(w.name, w.name, w.release) for w in self.singles)
        return {POOL: Listing(tuple(workers), self.release)}

    def hire(
        self, hires: Mapping[str, Collection[str]], deadline: float
    ) -> dict[str, OneOff | PlatformError]:
        outcomes = {hire: self._hire(hire) for hire in hires[POOL]}
        if self.behaviour.change == "died":
            raise Died
        return outcomes

    def stop(self, worker: str, deadline: float) -> None:
        for one in [w for w in self.singles if w.name == worker]:
            if one.running:
                self.wronged.append(f"{worker} was stopped while it ran {one.running} tasks")
            self._end(one, goodbye=False)

    def _hire(self, hire: str) -> OneOff | PlatformError:
        if self.limit is not None and len(self.singles) >= self.limit:
            return Refused("above the limit", limit=self.limit if self.says_limit else None)
        how = self.behaviour
        if how.change in ("unanswered", "died"):
            self.late.append((self.now + how.delay, hire))
        if how.change in ("done", "deaf"):
            name = self._start_single(hire)
            if how.change == "done":
                return OneOff(name, name, self.release)
        return PlatformError(how.change, settled=how.change == "refused")

    def _start_single(self, hire: str) -> str:
        otherwise, self.otherwise = self.otherwise, ""
        times = {"skip": 0, "double": 2}.get(otherwise, 1)
        name = f"run.{self._born + 1}"
        for _ in range(times):
            self._born += 1
            name = f"run.{self._born}"
            self.workers.append(OneOffWorker(self._settings, self.store, name, hire, self.release))
        hired = {w.hire for w in self.singles}
        if len(hired) > MAXIMUM:
            self.wronged.append(f"{len(hired)} were hired")
        return name

    # -- what becomes of workers

    def replace(self, worker: Worker, stop_after: float) -> None:
        """A deploy, which stops no worker that was hired alone."""
        if isinstance(worker, OneOffWorker):
            self.release += 1
        else:
            super().replace(worker, stop_after)

    def crash(self, worker: Worker) -> None:
        if isinstance(worker, OneOffWorker):
            self._end(worker, goodbye=False)
        else:
            super().crash(worker)

    def advance(self, seconds: float) -> None:
        due = [hire for at, hire in self.late if at <= self.now + seconds]
        self.late = [one for one in self.late if one[0] > self.now + seconds]
        super().advance(seconds)
        for hire in due:
            self._start_single(hire)
        for worker in self.singles:
            if worker.leaves and not worker.ended:
                if worker.running:
                    self.wronged.append(f"{worker.name} left while it ran {worker.running} tasks")
                self._end(worker, goodbye=True)
