"""One simulated worker."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from celery_middle_management.core.prefetch import AdaptivePrefetch, PrefetchLimit


@dataclass(eq=False, slots=True)
class Worker:
    """A worker, from its hire to its end. Times are in seconds from the first task."""

    #: The place in the order of hires.
    id: int
    #: The number in the formation; 0 for a one-off worker, which has the id of its hire.
    number: int
    name: str
    hire_id: str
    hired_at: float
    #: The number of tasks that it runs at the same time, and that it holds at most.
    slots: int
    capacity: int
    #: How far it prefetches, if it adapts that to its tasks.
    adaptive: AdaptivePrefetch | None = None
    up: bool = False
    consuming: bool = False
    stopping: bool = False
    gone: bool = False
    #: It is among the workers that may have room.
    listed: bool = False
    #: When each task that it runs began.
    running: dict[int, float] = field(default_factory=dict)
    #: The sum of these times.
    begun: float = 0.0
    #: Tasks that it holds and has not begun.
    local: deque[int] = field(default_factory=deque)
    #: The number of tasks that it holds, those that run included.
    held: int = 0
    #: The tasks that it has ended.
    done: int = 0
    #: The queue that it takes from next.
    turn: int = 0
    #: In which second *held* last changed, and what it and *begun* were when that second began.
    second: int = -1
    told: int = 0
    told_begun: float = 0.0

    def has_room(self, now: float) -> bool:
        """Return whether it takes another task."""
        if not self.consuming:
            return False
        if self.adaptive is not None:
            self.adapt(now)
            if self.adaptive.limit is PrefetchLimit.ONE_PER_SLOT:
                return self.held < self.slots
        return self.held < self.capacity

    def adapt(self, now: float) -> None:
        """Learn from the tasks that run how far to prefetch."""
        if self.adaptive is not None:
            began = min(self.running.values(), default=now)
            self.adaptive = self.adaptive.after(now - began, self.done)

    def note_change(self, second: int) -> None:
        """Remember what it held when a *second* began; to be called before that changes."""
        if self.second != second:
            self.tell(second)

    def tell(self, second: int) -> None:
        """Remember what it tells of its tasks in its report of a *second*."""
        self.second, self.told, self.told_begun = second, self.held, self.begun
