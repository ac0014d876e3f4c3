"""What a worker says of itself, every second, and what several say together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import NamedTuple

from celery_middle_management.core.demand import Held
from celery_middle_management.core.timing import SILENT

#: A worker tells of so many of the tasks that it runs, the longest-running ones, ...
MOST_RUNS = 5
#: ... each by no more than so many characters of its name.
LONGEST_NAME = 80


class Run(NamedTuple):
    """A task that a worker runs, and since when (the ledger's time, Unix, s)."""

    name: str
    since: float


@dataclass(frozen=True)
class Presence:
    """What one worker process last said of itself. Times are Redis', Unix (s)."""

    id: str
    name: str
    pool: str | None
    since: float
    seen: float
    #: The ``at`` of the cordon under which it has stopped consuming, 0 while it consumes.
    stopped: float = 0.0
    #: It is shutting down: it takes no tasks and will not again.
    closing: bool = False
    #: It takes nothing now: it could not begin it soon, or is yet to consume.
    full: bool = False
    #: For so long (s) it has had room for a message, and none has come; 0 while it has no room.
    idle: float = 0.0
    #: Requests that it has begun or must finish before it may be stopped.
    busy: int = 0
    #: Scheduled tasks that it gives back to the broker before it may be stopped.
    returning: int = 0
    #: Of this package.
    release: str = ""
    #: A mark of the settings that it has; those of all processes should be the same.
    settings: str = ""
    #: What it says is wrong with itself, each in words, and since when.
    wrong: Mapping[str, float] = field(default_factory=dict)
    #: By which hire it was started, if it is a one-off dyno.
    hire: str = ""
    #: It never evaluates, for it runs off the platform.
    inactive: bool = False
    queues: tuple[str, ...] = ()
    held: Mapping[str, Held] = field(default_factory=dict)
    #: Due times of the scheduled tasks that it holds, by queue and bucket.
    due: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    #: Those of them that it has held for so short a time that their publisher may yet tell of them.
    recent: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    #: Of the tasks that it runs, those that have run the longest, the oldest first.
    runs: tuple[Run, ...] = ()

    def takes(self, queues: Collection[str], now: float) -> bool:
        """Whether it takes tasks of some of these queues."""
        at_work = not (self.stopped or self.closing or self.full or self.silent(now))
        return at_work and any(q in queues for q in self.queues)

    def silent(self, now: float) -> bool:
        """Whether it has not been heard of lately. That proves nothing about its tasks."""
        return now - self.seen > SILENT


class LivePresences:
    """Workers by the queues that they serve or hold tasks of: several may, of several pools."""

    def __init__(self, presences: Iterable[Presence]) -> None:
        self._by_queue = defaultdict[str, list[Presence]](list)
        for presence in presences:
            for queue in {*presence.queues, *presence.held, *presence.due}:
                self._by_queue[queue].append(presence)

    def of(self, queues: Collection[str]) -> Collection[Presence]:
        """Those that have to do with any of these queues."""
        return {p.id: p for q in queues for p in self._by_queue.get(q, ())}.values()


def longest_runs(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Those that a worker tells of: what it says of itself stays short, whatever it runs."""
    oldest = nsmallest(MOST_RUNS, runs, key=lambda run: run.since)
    return tuple(Run(shortened(run.name), round(run.since, 3)) for run in oldest)


def shortened(name: str) -> str:
    """A task's name, with its middle left out where it is too long."""
    if len(name) <= LONGEST_NAME:
        return name
    half = (LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def held_in(presences: Iterable[Presence], queues: Collection[str]) -> Held:
    """What the workers hold of these queues, together."""
    held = [h for p in presences for q, h in p.held.items() if q in queues]
    return Held(*map(sum, zip(*held, strict=True)))


def unacknowledged_in(presences: Iterable[Presence]) -> dict[str, int]:
    """How many messages of each queue the workers have yet to acknowledge."""
    total = Counter[str]()
    for presence in presences:
        total.update({queue: held.unacknowledged for queue, held in presence.held.items()})
    return total


def due_in(presences: Iterable[Presence], queues: Collection[str]) -> dict[int, int]:
    """Due times of what the workers hold of these queues, by bucket."""
    return _sum(d for p in presences for q, d in p.due.items() if q in queues)


def recent_in(presences: Iterable[Presence], queues: Collection[str]) -> dict[int, int]:
    """Due times of what the workers have held for a short time only, by bucket."""
    return _sum(d for p in presences for q, d in p.recent.items() if q in queues)


def _sum(dues: Iterable[Mapping[int, int]]) -> dict[int, int]:
    total = Counter[int]()
    for due in dues:
        total.update(due)
    return total
