"""The events in a process, added up by pool until they are reported to the ledger."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import ceil, inf
from typing import NamedTuple, TypeVar

from celery_middle_management.core.demand import bucket_of

PUBLISHED = 1
FINISHED = 2
#: Published to a queue that only the broker knows.
UNPLACED = 3
STARTED = 4
#: A child of a worker's process pool began, or ended, something that is not counted.
BEGUN = 5
ENDED = 6
#: Published to a queue that no pool serves.
UNSERVED = 7
#: Publishing times are kept to this precision (s), so that a count can tell which tasks it has
#: seen.
SLICE = 0.001
#: A batch keeps the names of this many queues, those last published to. The ledger keeps fewer, and
#: so learns that there are more.
MOST_QUEUES = 2000


class Moment(NamedTuple):
    """The current time by two of a process's clocks: ``monotonic()`` (s) and Unix time (s)."""

    monotonic: float
    unix: float


class Record(NamedTuple):
    """One event: *at* is a reading of ``monotonic()``, which all processes of a machine share.

    *value* depends on the task: if published, its due time (Unix time, s; 0 for now); if finished,
    its run time (s); if started, when it could have started (the ledger's time, Unix, s; 0 if
    unknown).
    """

    kind: int
    queue: str
    at: float
    value: float


@dataclass
class Finished:
    """Finished tasks: their number, run times (s) and squared run times (s²), and the longest."""

    tasks: int = 0
    runtime: float = 0.0
    runtime_squares: float = 0.0
    longest: float = 0.0

    def add_one(self, runtime: float) -> None:
        """Add a task that ran this long (s)."""
        self.add(Finished(1, runtime, runtime**2, runtime))

    def add(self, others: Finished) -> None:
        """Add other tasks."""
        self.tasks += others.tasks
        self.runtime += others.runtime
        self.runtime_squares += others.runtime_squares
        self.longest = max(self.longest, others.longest)


@dataclass
class Started:
    """Started tasks, and their total wait (s) since they could have started.

    *late* of them had waited for longer than their pool's ``max_wait``.
    """

    tasks: int = 0
    waits: float = 0.0
    late: int = 0

    def add(self, others: Started) -> None:
        """Add other tasks."""
        self.tasks += others.tasks
        self.waits += others.waits
        self.late += others.late


class Due(NamedTuple):
    """Scheduled tasks that are counted together, and when (Unix time, s) the first is due.

    The ledger has another clock, so its buckets may not begin exactly where ours do. We therefore
    report the due time of the first task, not the bucket: no task is reported as due too late.
    """

    first: float
    tasks: int

    def and_(self, first: float, tasks: int) -> Due:
        """Return these plus other tasks; *first* is when the earliest of the others is due."""
        return Due(min(self.first, first), self.tasks + tasks)


Slot = TypeVar("Slot")


@dataclass
class Batch:
    """Records added up by pool. A batch does not grow with the number of records.

    *pool_of* returns the pool of a queue, or None if the queue is not counted.
    """

    pool_of: Callable[[str], str | None] = str
    #: The ``max_wait`` (s) of each pool that has one.
    max_waits: Mapping[str, float] = field(default_factory=dict)
    #: Published tasks, by pool and by publishing time, in slices.
    published: dict[str, dict[int, int]] = field(default_factory=dict)
    #: Scheduled tasks, by pool and by the ledger's bucket (its clock is estimated here).
    scheduled: dict[str, dict[int, Due]] = field(default_factory=dict)
    started: dict[str, Started] = field(default_factory=lambda: defaultdict(Started))
    finished: dict[str, Finished] = field(default_factory=lambda: defaultdict(Finished))
    #: Queues published to, the latest last.
    queues: OrderedDict[str, None] = field(default_factory=OrderedDict)
    #: The ledger's time minus Unix time by our clock (s).
    ahead: float = 0.0
    #: A task was published to a queue whose pool only a count can reveal.
    unplaced: bool = False
    #: When (``monotonic()``) the first record that can change a quantity was made.
    since: float = 0.0

    def __bool__(self) -> bool:
        counts = self.published, self.scheduled, self.started, self.finished
        return any((*counts, self.queues, self.unplaced))

    def add(self, record: Record, now: Moment) -> None:
        """Add a record; *now* is the current time."""
        if record.kind in (BEGUN, ENDED):
            return
        if record.kind == UNPLACED:
            self.unplaced = True
            self.since = self.since or record.at
            return
        if record.kind == UNSERVED:
            self._keep((record.queue,))
            return
        pool = self.pool_of(record.queue)
        if pool is None:
            return
        if record.kind == STARTED:
            # No evaluation depends on it, so it can wait until other records are reported.
            wait = self._wait(record, now)
            self.started[pool].add(Started(1, wait, int(wait > self.max_waits.get(pool, inf))))
            return
        self.since = self.since or record.at
        if record.kind == FINISHED:
            self.finished[pool].add_one(record.value)
            return
        if record.value:
            bucket = bucket_of(record.value + self.ahead, now.unix + self.ahead)
            self._add_due(pool, bucket, record.value, 1)
        else:
            # Rounded up: until the next count, a task is better reckoned twice than not at all.
            self._add_published(pool, ceil(record.at / SLICE), 1)
        self._keep((record.queue,))

    def take(self, most: int) -> Batch:
        """Take out a part that has at most *most* publishing times and buckets in total."""
        part = Batch(self.pool_of, queues=self.queues, since=self.since)
        part.started, self.started = self.started, defaultdict(Started)
        part.finished, self.finished = self.finished, defaultdict(Finished)
        self.queues = OrderedDict()
        part.unplaced, self.unplaced = self.unplaced, False
        for pool, slot, tasks in islice(_popped(self.published), most):
            part._add_published(pool, slot, tasks)
            most -= 1
        for pool, bucket, due in islice(_popped(self.scheduled), most):
            part._add_due(pool, bucket, *due)
        if not self:
            self.since = 0.0
        return part

    def give_back(self, part: Batch) -> None:
        """Add a part that could not be reported, and forget the exact publishing times.

        This keeps the batch from growing while Redis is down.
        """
        for pool, slot, tasks in _popped(part.published):
            self._add_published(pool, slot, tasks)
        for pool, bucket, due in _popped(part.scheduled):
            self._add_due(pool, bucket, *due)
        for pool, begun in part.started.items():
            self.started[pool].add(begun)
        for pool, done in part.finished.items():
            self.finished[pool].add(done)
        self.unplaced |= part.unplaced
        self.since = part.since or self.since
        latest, self.queues = self.queues, part.queues
        self._keep(latest)
        for slots in self.published.values():
            total, last = sum(slots.values()), max(slots)
            slots.clear()
            slots[last] = total

    def _wait(self, record: Record, now: Moment) -> float:
        # Measure the time since the start by a clock that never jumps.
        started = now.unix + self.ahead - (now.monotonic - record.at)
        return max(started - record.value, 0.0) if record.value else 0.0

    def _add_published(self, pool: str, slot: int, tasks: int) -> None:
        slots = self.published.setdefault(pool, {})
        slots[slot] = slots.get(slot, 0) + tasks

    def _add_due(self, pool: str, bucket: int, first: float, tasks: int) -> None:
        buckets = self.scheduled.setdefault(pool, {})
        known = buckets.get(bucket)
        buckets[bucket] = known.and_(first, tasks) if known else Due(first, tasks)

    def _keep(self, names: Iterable[str]) -> None:
        for name in names:
            self.queues[name] = None
            self.queues.move_to_end(name)
        while len(self.queues) > MOST_QUEUES:
            self.queues.popitem(last=False)


def _popped(counts: dict[str, dict[int, Slot]]) -> Iterator[tuple[str, int, Slot]]:
    """Take out slots one by one, and remove each pool along with its last slot."""
    for pool in list(counts):
        slots = counts[pool]
        while slots:
            key, value = slots.popitem()
            if not slots:
                del counts[pool]
            yield pool, key, value
