"""The tasks of a trace, and the queues in which they wait."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from math import inf

from celery_middle_management.sim.trace import Trace
from celery_middle_management.sim.worker import Worker


class Queues:
    """Tasks by their places in the trace. Times are in seconds from the first task."""

    def __init__(self, trace: Trace) -> None:
        self.tasks = trace.tasks
        #: When the last task is published.
        self.span = trace.span
        #: The last is followed by one that never comes.
        self.published = array("d", trace.published)
        self.published.append(inf)
        self.runtimes = trace.runtimes
        #: How long each task has waited.
        self.waits = array("d", bytes(8 * trace.tasks))
        #: The number of tasks published so far.
        self.arrived = 0
        #: The number of tasks in the queues.
        self.waiting = 0
        self._queue_of = trace.queue_of
        self._queues: list[deque[int]] = [deque() for _ in trace.queues]
        #: Since when each task could start.
        self._ready_at = array("d", trace.published)

    @property
    def next_arrival(self) -> float:
        """When the next task is published; infinite after the last one."""
        return self.published[self.arrived]

    def longest_wait(self, now: float) -> float:
        """Return how long (s) the first task of a queue has waited; 0 if none waits."""
        heads = [self._ready_at[queue[0]] for queue in self._queues if queue]
        return now - min(heads) if heads else 0.0

    def published_by(self, until: float, begin: int, end: int) -> int:
        """Return how many tasks are published by *until*, a number from *begin* to *end*."""
        return bisect_right(self.published, until, begin, end)

    def put(self, task: int) -> None:
        """Put a task at the end of its queue."""
        self.waiting += 1
        self._queue(task).append(task)

    def put_back(self, tasks: Iterable[int]) -> None:
        """Put tasks back in front of their queues, in this order."""
        for task in reversed([*tasks]):
            self.waiting += 1
            self._queue(task).appendleft(task)

    def take(self, worker: Worker) -> int:
        """Take out the next task for a worker, which takes from the queues in turn."""
        queues = self._queues
        while not queues[worker.turn]:
            worker.turn = (worker.turn + 1) % len(queues)
        task = queues[worker.turn].popleft()
        worker.turn = (worker.turn + 1) % len(queues)
        self.waiting -= 1
        return task

    def pass_by(self, worker: Worker, task: int) -> None:
        """Note that a worker takes a task that need not wait in its queue."""
        if self._queue_of is not None:
            worker.turn = (self._queue_of[task] + 1) % len(self._queues)

    def begin(self, task: int, now: float) -> float:
        """Note that a task begins, and return how long (s) it runs."""
        self.waits[task] += now - self._ready_at[task]
        return self.runtimes[task]

    def was_killed(self, task: int, now: float) -> None:
        """Note that a task waits again from now on."""
        self._ready_at[task] = now

    def break_off(self, now: float, others: Iterable[int]) -> None:
        """Note that the tasks in the queues, and *others*, have waited until now, and no longer."""
        for task in (*others, *(task for queue in self._queues for task in queue)):
            self.waits[task] += now - self._ready_at[task]

    def _queue(self, task: int) -> deque[int]:
        return self._queues[self._queue_of[task] if self._queue_of is not None else 0]
