"""How long tasks run, as far as one worker has seen, and how many it may therefore hold."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

#: A worker takes what it can begin within this time (s).
BEGINS_WITHIN = 1.0
#: What the first run of a task is taken for at least (s): it may have failed at once.
_AT_FIRST = 2.0
#: By each shorter run, the longest one counts for so much less.
_FADES = 0.9


class RunTimes:
    """The long view of each task's run time: the longest run, which fades with shorter ones."""

    def __init__(self) -> None:
        self._longest: dict[str, float] = {}

    def of(self, task: str) -> float:
        """Seconds; infinite until a first run has ended."""
        return self._longest.get(task, inf)

    def ended(self, task: str, seconds: float) -> None:
        """A run of *task* took so long."""
        self._longest[task] = max(seconds, self._longest.get(task, _AT_FIRST) * _FADES)

    def goes_on(self, task: str, seconds: float) -> None:
        """A run of *task* has lasted so long, and goes on."""
        if seconds > self.of(task):
            self._longest[task] = seconds


def room(slots: int, held: int, run_times: Iterable[float]) -> int:
    """How many more tasks can begin within :data:`BEGINS_WITHIN`; negative if too many are held.

    *held* of them run in *slots* at once or wait for one; *run_times* (s) are those of the held
    tasks that are not known as short ones. One that lasts keeps everything back that would wait.
    """
    if held < slots:
        return slots - held
    longest = max(run_times, default=0.0)
    behind = slots * BEGINS_WITHIN / longest if longest else inf
    # No more at once than there are slots: the next one may be long.
    return int(min(slots + behind, held + slots)) - held
