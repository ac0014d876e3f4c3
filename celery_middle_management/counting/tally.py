"""The records of what happened in this process since its last report.

Recording costs the caller one append to a deque, which is safe under threads, signal handlers and
garbage collection. It wakes no thread; the reporting thread checks from time to time. A blocking
queue would not work where gevent or eventlet patches the standard library after the queue was made.

Children of a prefork pool have no connection of their own: they write their records into a pipe to
their worker, each in one piece (a record is far below ``PIPE_BUF``). So a child that is killed at
any point loses at most the record that it had not written yet.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import struct
from collections import deque
from collections.abc import Iterator
from itertools import chain
from time import monotonic, time

from celery_middle_management.core.batch import (
    BEGUN,
    ENDED,
    FINISHED,
    STARTED,
    Batch,
    Moment,
    Record,
)

_HEAD = struct.Struct("<HBddI")
_PIPE_SIZE = 1 << 20


class Tally:
    """Collects the records of this process and, in a worker, of its pool's children."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self._pipe: tuple[io.FileIO, int] | None = None
        self._rest = b""
        self._in_child = False
        #: The pool's processes whose last record says that they run something; they may have died
        #: since.
        self.at_work: set[int] = set()
        #: The ledger's time minus that of our clock (s); 0 until the first reply.
        self.ahead = 0.0

    def now(self) -> float:
        """Return the ledger's time, Unix (s), as this process knows it."""
        return time() + self.ahead

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
        """In a fresh child, forget the parent's unreported records: the parent will report them."""
        self._records = deque()
        self._in_child = self._pipe is not None

    @property
    def shared(self) -> bool:
        """True if this process is a worker or its child: the worker's agent reports for both."""
        return self._pipe is not None

    def add(self, kind: int, queue_name: str, value: float) -> None:
        """Record an event now. Never blocks and never raises."""
        at = monotonic()
        if self._in_child and self._pipe is not None:
            name = queue_name.encode()
            # A full pipe means that the parent hangs: the next count corrects what is lost here.
            with contextlib.suppress(OSError):
                head = _HEAD.pack(len(name), kind, at, value, os.getpid())
                os.write(self._pipe[1], head + name)
        else:
            self._records.append(Record(kind, queue_name, at, value))

    def drain(self, batch: Batch) -> None:
        """Move all records that exist by now into *batch*.

        Records that other threads or processes add meanwhile are left for the next time: they may
        never stop coming.
        """
        now = Moment(monotonic(), time())
        for record in chain(self._own_records(), self._children_records()):
            batch.add(record, now)

    def _own_records(self) -> Iterator[Record]:
        for _ in range(len(self._records)):
            try:
                yield self._records.popleft()
            except IndexError:  # another thread drains too
                return

    def _children_records(self) -> Iterator[Record]:
        if self._pipe is None or self._in_child:
            return
        # Read all that a pipe can hold, but not with os.read(): eventlet's would wait for data.
        data = self._rest + (self._pipe[0].read(_PIPE_SIZE) or b"")
        start = 0
        while len(data) - start >= _HEAD.size:
            size, kind, at, value, pid = _HEAD.unpack_from(data, start)
            end = start + _HEAD.size + size
            if end > len(data):
                break
            if kind in (STARTED, BEGUN):
                self.at_work.add(pid)
            elif kind in (FINISHED, ENDED):
                self.at_work.discard(pid)
            yield Record(kind, data[start + _HEAD.size : end].decode(), at, value)
            start = end
        self._rest = data[start:]
