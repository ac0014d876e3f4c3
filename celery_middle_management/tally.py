"""What happened in this process since the last flush.

Recording costs the caller one append to a queue that is safe under threads, signal handlers and
garbage collection. Children of a prefork pool have no connection of their own: they write their
records into a pipe of their worker, whole (a record is far below ``PIPE_BUF``), so that a child
killed at any point loses at most the record that it had not yet written.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import queue
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from time import monotonic
from typing import NamedTuple

PUBLISHED = 1
FINISHED = 2
_WAKE = 0

#: Publishing times are kept this exactly (s), so that a count can tell what it has seen already.
SLICE = 0.001

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


@dataclass
class Batch:
    """Records added up, by queue."""

    published: dict[str, dict[int, int]] = field(default_factory=dict)
    scheduled: dict[str, dict[int, int]] = field(default_factory=dict)
    finished: dict[str, Finished] = field(default_factory=lambda: defaultdict(Finished))

    def __bool__(self) -> bool:
        return bool(self.published or self.scheduled or self.finished)

    def add(self, record: Record) -> None:
        if record.kind == FINISHED:
            done = self.finished[record.queue]
            done.tasks += 1
            done.runtime += record.value
            done.runtime_squares += record.value**2
        elif record.value:
            _count(self.scheduled, record.queue, int(record.value))
        else:
            # Rounded up: rather reckoned twice, till the next count, than by nobody.
            _count(self.published, record.queue, ceil(record.at / SLICE))

    def collapse(self) -> None:
        """Forget the exact publishing times: what waits for Redis to return must not grow."""
        for slot in self.published.values():
            total, latest = sum(slot.values()), max(slot)
            slot.clear()
            slot[latest] = total


def _count(counts: dict[str, dict[int, int]], queue_name: str, slot: int) -> None:
    slots = counts.setdefault(queue_name, {})
    slots[slot] = slots.get(slot, 0) + 1


class Tally:
    """Collects the records of this process and, in a worker, of its pool's children."""

    def __init__(self) -> None:
        self._records: queue.SimpleQueue[Record] = queue.SimpleQueue()
        self._waited: Record | None = None
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
        self._records = queue.SimpleQueue()
        self._waited = None
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
            self._records.put(Record(kind, queue_name, at, value))

    def wait(self, timeout: float | None) -> bool:
        """Block until there is a record, at most *timeout* seconds; whether there is one."""
        if self._waited is None:
            try:
                self._waited = self._records.get(timeout=timeout)
            except queue.Empty:
                return False
        if self._waited.kind == _WAKE:
            self._waited = None
        return self._waited is not None

    def wake(self) -> None:
        """End a :meth:`wait` at once."""
        self._records.put(Record(_WAKE, "", 0.0, 0.0))

    def drain(self, batch: Batch) -> None:
        """Move all records into *batch*."""
        for record in self._own_records():
            if record.kind != _WAKE:
                batch.add(record)
        for record in self._children_records():
            batch.add(record)

    def _own_records(self) -> Iterator[Record]:
        if self._waited is not None:
            yield self._waited
            self._waited = None
        while True:
            try:
                yield self._records.get_nowait()
            except queue.Empty:
                return

    def _children_records(self) -> Iterator[Record]:
        if self._pipe is None or self._in_child:
            return
        while True:
            # Not os.read(): eventlet's would wait for the pipe to have something.
            data = self._pipe[0].read(_PIPE_SIZE)
            if not data:
                return
            data = self._rest + data
            start = 0
            while len(data) - start >= _HEAD.size:
                size, kind, at, value = _HEAD.unpack_from(data, start)
                end = start + _HEAD.size + size
                if end > len(data):
                    break
                yield Record(kind, data[start + _HEAD.size : end].decode(), at, value)
                start = end
            self._rest = data[start:]
