"""Presences, which workers report every second, and sums over them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import NamedTuple

from celery_middle_management.core.demand import Held
from celery_middle_management.core.timing import SILENT

#: A worker reports at most this many of the tasks that it runs, the longest-running ones, ...
MOST_RUNS = 5
#: ... with at most this many characters of each name.
LONGEST_NAME = 80


class Run(NamedTuple):
    """A task that a worker is running, and when it began (the ledger's time, Unix, s)."""

    name: str
    since: float


@dataclass(frozen=True)
class Presence:
    """The last report of one worker process. Times are the ledger's, Unix (s)."""

    id: str
    name: str
    pool: str | None
    since: float
    seen: float
    #: The ``at`` of the cordon that made it stop consuming; 0 while it consumes.
    stopped: float = 0.0
    #: It is shutting down, and takes no more tasks.
    closing: bool = False
    #: It takes no tasks now: it could not begin one soon, or does not consume yet.
    full: bool = False
    #: How long (s) it has had room for a message and received none; 0 while it has no room.
    idle: float = 0.0
    #: Requests that it has begun, or must finish before it may be stopped.
    busy: int = 0
    #: Scheduled tasks that it gives back to the broker before it may be stopped.
    returning: int = 0
    #: The version of this package.
    release: str = ""
    #: A fingerprint of its settings: all processes should have the same.
    settings: str = ""
    #: The text of each of its troubles, and when that trouble began.
    wrong: Mapping[str, float] = field(default_factory=dict)
    #: The id of the hire that started it, if it is a one-off dyno.
    hire: str = ""
    #: It runs off the platform, and never evaluates.
    inactive: bool = False
    queues: tuple[str, ...] = ()
    held: Mapping[str, Held] = field(default_factory=dict)
    #: Due times of the scheduled tasks that it holds, by queue and bucket.
    due: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    #: Due times of tasks held so briefly that their publishers may not have reported them yet.
    recent: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    #: The tasks that it has been running the longest, the oldest first.
    runs: tuple[Run, ...] = ()
    #: How many tasks it can run at the same time; 0 if that is not known.
    slots: int = 0
    #: How long (s) the tasks that it is running have been running, in all.
    elapsed: float = 0.0

    def takes(self, queues: Collection[str], now: float) -> bool:
        """Return whether it takes tasks from any of these queues."""
        at_work = not (self.stopped or self.closing or self.full or self.silent(now))
        return at_work and any(q in queues for q in self.queues)

    def silent(self, now: float) -> bool:
        """Return whether it has not reported lately. It might still be working."""
        return now - self.seen > SILENT


class LivePresences:
    """Presences by queue: all workers, of any pool, that consume the queue or hold its tasks."""

    def __init__(self, presences: Iterable[Presence]) -> None:
        self._by_queue = defaultdict[str, list[Presence]](list)
        for presence in presences:
            for queue in {*presence.queues, *presence.held, *presence.due}:
                self._by_queue[queue].append(presence)

    def of(self, queues: Collection[str]) -> Collection[Presence]:
        """Return the presences of workers that consume any of these queues or hold their tasks."""
        return {p.id: p for q in queues for p in self._by_queue.get(q, ())}.values()


def longest_runs(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Return the runs that a worker reports: only the longest, to keep its presence small."""
    oldest = nsmallest(MOST_RUNS, runs, key=lambda run: run.since)
    return tuple(Run(shortened(run.name), round(run.since, 3)) for run in oldest)


def shortened(name: str) -> str:
    """Return a task's name, without its middle if it is too long."""
    if len(name) <= LONGEST_NAME:
        return name
    half = (LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def held_in(presences: Iterable[Presence], queues: Collection[str]) -> Held:
    """Return how many tasks of these queues the workers hold in total."""
    held = [h for p in presences for q, h in p.held.items() if q in queues]
    return Held(*map(sum, zip(*held, strict=True)))


def unacknowledged_in(presences: Iterable[Presence]) -> dict[str, int]:
    """Return the number of messages of each queue that the workers have not acknowledged yet."""
    total = Counter[str]()
    for presence in presences:
        total.update({queue: held.unacknowledged for queue, held in presence.held.items()})
    return total


def due_in(presences: Iterable[Presence], queues: Collection[str]) -> dict[int, int]:
    """Return the due times of these queues' tasks that the workers hold, by bucket."""
    return _sum(d for p in presences for q, d in p.due.items() if q in queues)


def recent_in(presences: Iterable[Presence], queues: Collection[str]) -> dict[int, int]:
    """Return the due times of these queues' tasks that the workers took recently, by bucket."""
    return _sum(d for p in presences for q, d in p.recent.items() if q in queues)


def _sum(dues: Iterable[Mapping[int, int]]) -> dict[int, int]:
    total = Counter[int]()
    for due in dues:
        total.update(due)
    return total
