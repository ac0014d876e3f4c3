"""What happened in this process since the last flush.

Recording costs the caller one append to a deque, which is safe under threads, signal handlers and
garbage collection. It wakes nobody, whoever tells looks in from time to time: a queue to wait for
would be the wrong one where gevent or eventlet patches the standard library after it was made.

Children of a prefork pool have no connection of their own: they write their records into a pipe of
their worker, whole (a record is far below ``PIPE_BUF``), so that a child killed at any point loses
at most the record that it had not yet written.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import struct
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from math import ceil
from time import monotonic, time
from typing import NamedTuple, TypeVar

from celery_middle_management.core.demand import bucket_of

PUBLISHED = 1
FINISHED = 2
#: Published to a queue that only the broker knows.
UNPLACED = 3

#: Publishing times are kept this exactly (s), so that a count can tell what it has seen already.
SLICE = 0.001
#: Of so many queues it is kept that they were published to, the latest ones: of more than the
#: ledger keeps, which so learns that there are more.
MOST_QUEUES = 2000

_HEAD = struct.Struct("<HBdd")
_PIPE_SIZE = 1 << 20


class Record(NamedTuple):
    """One event: *at* is a reading of ``monotonic()``, which all processes of a machine share.

    *value* is the due time (Unix time, s; 0 for now) of a published task, the run time (s) of a
    finished one.
    """

    kind: int
    queue: str
    at: float
    value: float


@dataclass
class Finished:
    """Finished tasks and the moments of their run times (s, s²)."""

    tasks: int = 0
    runtime: float = 0.0
    runtime_squares: float = 0.0

    def add(self, tasks: int, runtime: float, runtime_squares: float) -> None:
        self.tasks += tasks
        self.runtime += runtime
        self.runtime_squares += runtime_squares


class Due(NamedTuple):
    """Scheduled tasks that are counted together, and when (Unix time, s) the first is due.

    Our bucket need not begin exactly where the ledger's does, whose clock is another. The first
    one's due time is told instead, so that no task is told as due after it is.
    """

    first: float
    tasks: int

    def and_(self, first: float, tasks: int) -> Due:
        return Due(min(self.first, first), self.tasks + tasks)


Slot = TypeVar("Slot")


@dataclass
class Batch:
    """Records added up, by pool: it does not grow with their number, but until it is told.

    *pool_of* names the pool of a queue; None: nobody counts it.
    """

    pool_of: Callable[[str], str | None] = str
    #: By publishing time, in slices.
    published: dict[str, dict[int, int]] = field(default_factory=dict)
    #: By bucket of due times, as the ledger has them as far as we know its clock.
    scheduled: dict[str, dict[int, Due]] = field(default_factory=dict)
    finished: dict[str, Finished] = field(default_factory=lambda: defaultdict(Finished))
    #: Queues published to, the latest last.
    queues: OrderedDict[str, None] = field(default_factory=OrderedDict)
    #: The ledger's time less that of our clock (s).
    ahead: float = 0.0
    #: Something was published that only a count can place.
    unplaced: bool = False
    #: When (``monotonic()``) the first of them was recorded.
    since: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.published or self.scheduled or self.finished or self.unplaced)

    def add(self, record: Record) -> None:
        if record.kind == UNPLACED:
            self.unplaced = True
            self.since = self.since or record.at
            return
        pool = self.pool_of(record.queue)
        if pool is None:
            return
        self.since = self.since or record.at
        if record.kind == FINISHED:
            self.finished[pool].add(1, record.value, record.value**2)
            return
        if record.value:
            bucket = bucket_of(record.value + self.ahead, time() + self.ahead)
            self._add_due(pool, bucket, record.value, 1)
        else:
            # Rounded up: rather reckoned twice, till the next count, than by nobody.
            self._add_published(pool, ceil(record.at / SLICE), 1)
        self._keep((record.queue,))

    def take(self, most: int) -> Batch:
        """Take out a part, with at most so many publishing times and buckets."""
        part = Batch(self.pool_of, finished=self.finished, queues=self.queues, since=self.since)
        self.finished, self.queues = defaultdict(Finished), OrderedDict()
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
        """What was taken could not be told, and the exact publishing times are forgotten.

        What waits for Redis to return must not grow.
        """
        for pool, slot, tasks in _popped(part.published):
            self._add_published(pool, slot, tasks)
        for pool, bucket, due in _popped(part.scheduled):
            self._add_due(pool, bucket, *due)
        for pool, done in part.finished.items():
            self.finished[pool].add(done.tasks, done.runtime, done.runtime_squares)
        self.unplaced |= part.unplaced
        self.since = part.since or self.since
        latest, self.queues = self.queues, part.queues
        self._keep(latest)
        for slots in self.published.values():
            total, last = sum(slots.values()), max(slots)
            slots.clear()
            slots[last] = total

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
    """Take out one slot after the other, and pools without any."""
    for pool in list(counts):
        slots = counts[pool]
        while slots:
            key, value = slots.popitem()
            if not slots:
                del counts[pool]
            yield pool, key, value


class Tally:
    """Collects the records of this process and, in a worker, of its pool's children."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self._pipe: tuple[io.FileIO, int] | None = None
        self._rest = b""
        self._in_child = False

    def share_with_children(self) -> None:
        """Open the pipe for the children that this process will fork."""
        if self._pipe is not None:
            return
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._pipe = io.FileIO(read), write

    def after_fork(self) -> None:
        """In a fresh child: what the parent had not flushed is the parent's."""
        self._records = deque()
        self._in_child = self._pipe is not None

    @property
    def shared(self) -> bool:
        """Whether this process is a worker or a child of one: the worker itself flushes."""
        return self._pipe is not None

    def add(self, kind: int, queue_name: str, value: float) -> None:
        """Record an event now. Never blocks and never raises."""
        at = monotonic()
        if self._in_child and self._pipe is not None:
            name = queue_name.encode()
            # A full pipe means that the parent hangs: the next count heals what is lost here.
            with contextlib.suppress(OSError):
                os.write(self._pipe[1], _HEAD.pack(len(name), kind, at, value) + name)
        else:
            self._records.append(Record(kind, queue_name, at, value))

    def drain(self, batch: Batch) -> None:
        """Move all records that there are by now into *batch*.

        Those that others add meanwhile are left for the next time: they may come without end.
        """
        for record in chain(self._own_records(), self._children_records()):
            batch.add(record)

    def _own_records(self) -> Iterator[Record]:
        for _ in range(len(self._records)):
            try:
                yield self._records.popleft()
            except IndexError:  # another thread drains too
                return

    def _children_records(self) -> Iterator[Record]:
        if self._pipe is None or self._in_child:
            return
        # All that a pipe can hold. Not os.read(): eventlet's would wait for it to have something.
        data = self._rest + (self._pipe[0].read(_PIPE_SIZE) or b"")
        start = 0
        while len(data) - start >= _HEAD.size:
            size, kind, at, value = _HEAD.unpack_from(data, start)
            end = start + _HEAD.size + size
            if end > len(data):
                break
            yield Record(kind, data[start + _HEAD.size : end].decode(), at, value)
            start = end
        self._rest = data[start:]
