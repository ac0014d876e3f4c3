"""The queues and the workers of one pool, in virtual time.

Time passes in :meth:`Cluster.advance`, from event to event: a task is published, a task ends, a
worker comes up, is killed or ends. Everything is exact to the precision of a float; times are in
seconds from the first task.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any

from celery_middle_management.core.prefetch import AdaptivePrefetch, PrefetchLimit
from celery_middle_management.core.roster import LIFETIME
from celery_middle_management.sim.model import Model
from celery_middle_management.sim.trace import Trace


class Worker:
    """One worker, from its hire to its end."""

    __slots__ = (
        "adaptive",
        "consuming",
        "done",
        "gone",
        "held",
        "hire_id",
        "hired_at",
        "id",
        "listed",
        "local",
        "name",
        "number",
        "running",
        "second",
        "stopping",
        "told",
        "turn",
        "up",
    )

    def __init__(
        self, id: int, number: int, name: str, hire_id: str, hired_at: float
    ) -> None:
        #: The place in the order of hires.
        self.id = id
        #: The number in the formation, 0 for a one-off worker, which has the id of its hire instead.
        self.number = number
        self.name = name
        self.hire_id = hire_id
        self.hired_at = hired_at
        self.up = False
        self.consuming = False
        self.stopping = False
        self.gone = False
        #: It is among the workers that may have room.
        self.listed = False
        #: When each task that it runs began.
        self.running: dict[int, float] = {}
        #: Tasks that it holds and has not begun.
        self.local: deque[int] = deque()
        #: The number of tasks that it holds, those that run included.
        self.held = 0
        #: The tasks that it has ended.
        self.done = 0
        #: How far it prefetches, if that is adapted to its tasks.
        self.adaptive = AdaptivePrefetch()
        #: The queue that it takes from next.
        self.turn = 0
        #: In which second *held* last changed, and what it was when that second began.
        self.second = -1
        self.told = 0


class Cluster:
    """All there is, as it really is.

    If it is *managed*, its workers are those of Middle Management: they prefetch as it has them do,
    and one that has come up takes no tasks until it is told to.
    """

    def __init__(self, trace: Trace, model: Model, *, managed: bool = False) -> None:
        self.model = model
        self._managed = managed
        self.now = 0.0
        #: The second in which *now* is: whoever reports every second has reported at its beginning.
        self.second = 0
        self.tasks = trace.tasks
        #: When the last task is published.
        self.span = trace.span
        #: When the last task ended.
        self.finished_at = 0.0
        self._published = array("d", trace.published)
        self._published.append(inf)
        self._runtimes = trace.runtimes
        self._queue_of = trace.queue_of
        self._queues: list[deque[int]] = [deque() for _ in trace.queues]
        self._adapts = managed and model.prefetch > 1
        #: Since when each task could start.
        self._ready_at = array("d", trace.published)
        #: How long each task has waited.
        self.waits = array("d", bytes(8 * trace.tasks))
        #: Every worker that has not ended, in the order of hires.
        self.workers: dict[int, Worker] = {}
        #: The workers that came up, were asked to stop or ended since a scaler last took note.
        self.news: list[Worker] = []
        self._with_room: deque[Worker] = deque()
        self._events: list[tuple[float, int, Any, int]] = []
        self._order = count()
        self._ids = count(1)
        self.arrived = 0
        self.waiting = 0
        self.running = 0
        self.finished = 0
        #: The run times (s) of the finished tasks: their sum, the sum of their squares, the longest.
        self.runtime = 0.0
        self.runtime_squares = 0.0
        self.longest = 0.0
        self.killed = 0
        #: When a task was last begun, and how many were at that moment.
        self._begun_at, self._begun = -1.0, 0
        self.hires = 0
        self.peak = 0
        #: The time (s) for which ended workers were paid.
        self._paid = 0.0

    # -- what is known

    @property
    def paid(self) -> float:
        """The time (s) for which workers have been paid so far."""
        return self._paid + sum(self.now - w.hired_at for w in self.workers.values())

    @property
    def next_arrival(self) -> float:
        """When the next task is published; infinite after the last one."""
        return self._published[self.arrived]

    @property
    def next_event(self) -> float:
        """When something happens next; infinite if nothing will."""
        return min(self._events[0][0] if self._events else inf, self.next_arrival)

    @property
    def just_begun(self) -> int:
        """The tasks that were begun at this very moment."""
        return self._begun if self._begun_at == self.now else 0

    @property
    def longest_wait(self) -> float:
        """How long (s) the first task of a queue has waited; 0 if none waits."""
        heads = [self._ready_at[queue[0]] for queue in self._queues if queue]
        return self.now - min(heads) if heads else 0.0

    def published_at(self, task: int) -> float:
        """Return when a task, by its place in the trace, is published; infinite if there is none."""
        return self._published[task]

    def arrivals_until(self, until: float, begin: int, end: int) -> int:
        """Return how many tasks are published by *until*, a number from *begin* to *end*."""
        return bisect_right(self._published, until, begin, end)

    # -- time

    def advance(self, until: float) -> bool:
        """Let time pass until *until*; return False if it stopped before.

        It stops at each event of a worker's life, of which a scaler can take note at once, and at
        the end of the last task.
        """
        events, published = self._events, self._published
        while True:
            arrival = published[self.arrived]
            if events and events[0][0] <= arrival:
                at = events[0][0]
                if at > until:
                    break
                self.now = at
                _, _, subject, task = heappop(events)
                if task < 0:
                    subject()
                    return False
                self._finish(subject, task)
                if self.finished == self.tasks:
                    self.finished_at = at
                    return False
            elif arrival <= until:
                self.now = arrival
                self._arrive()
            else:
                break
        self.now = until
        return True

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        """Have *event* happen after some time."""
        heappush(self._events, (self.now + seconds, next(self._order), event, -1))

    # -- tasks

    def _arrive(self) -> None:
        task = self.arrived
        self.arrived = task + 1
        with_room = self._with_room
        while with_room:
            worker = with_room.popleft()
            worker.listed = False
            if self._has_room(worker):
                self._give(worker, task)
                if self._has_room(worker):
                    worker.listed = True
                    with_room.append(worker)
                return
        self.waiting += 1
        self._queue(task).append(task)

    def _has_room(self, worker: Worker) -> bool:
        if not worker.consuming:
            return False
        slots = self.model.concurrency
        if self._adapts:
            self._adapt(worker)
            if worker.adaptive.limit is PrefetchLimit.ONE_PER_SLOT:
                return worker.held < slots
        return worker.held < slots * self.model.prefetch

    def _adapt(self, worker: Worker) -> None:
        """Have a worker learn from the tasks that it runs how far to prefetch."""
        began = min(worker.running.values(), default=self.now)
        worker.adaptive = worker.adaptive.after(self.now - began, worker.done)

    def _queue(self, task: int) -> deque[int]:
        return self._queues[self._queue_of[task] if self._queue_of is not None else 0]

    def _give(self, worker: Worker, task: int) -> None:
        """Have a worker hold a task, and begin it if it has a free slot."""
        if worker.second != self.second:
            worker.second, worker.told = self.second, worker.held
        worker.held += 1
        if len(worker.running) < self.model.concurrency:
            self._start(worker, task)
        else:
            worker.local.append(task)

    def _start(self, worker: Worker, task: int) -> None:
        now = self.now
        self.waits[task] += now - self._ready_at[task]
        worker.running[task] = now
        self.running += 1
        if now != self._begun_at:
            self._begun_at, self._begun = now, 0
        self._begun += 1
        heappush(
            self._events, (now + self._runtimes[task], next(self._order), worker, task)
        )

    def _finish(self, worker: Worker, task: int) -> None:
        if worker.gone:
            return
        if worker.second != self.second:
            worker.second, worker.told = self.second, worker.held
        if self._adapts:
            self._adapt(worker)
        del worker.running[task]
        worker.held -= 1
        worker.done += 1
        self.running -= 1
        self.finished += 1
        runtime = self._runtimes[task]
        self.runtime += runtime
        self.runtime_squares += runtime * runtime
        if runtime > self.longest:
            self.longest = runtime
        if worker.local:
            self._start(worker, worker.local.popleft())
        if self.waiting:
            self._take(worker)
        elif not worker.listed and self._has_room(worker):
            worker.listed = True
            self._with_room.append(worker)
        if worker.stopping and not worker.running:
            self.later(self.model.shutdown, partial(self._end, worker))

    def _take(self, worker: Worker) -> None:
        """Have a worker take from its queues in turn while it has room."""
        while self.waiting and self._has_room(worker):
            while not self._queues[worker.turn]:
                worker.turn = (worker.turn + 1) % len(self._queues)
            task = self._queues[worker.turn].popleft()
            worker.turn = (worker.turn + 1) % len(self._queues)
            self.waiting -= 1
            self._give(worker, task)
        if not worker.listed and self._has_room(worker):
            worker.listed = True
            self._with_room.append(worker)

    def _give_back(self, worker: Worker, tasks: Iterable[int]) -> None:
        """Put tasks back in front of their queues."""
        for task in tasks:
            self.waiting += 1
            worker.held -= 1
            self._queue(task).appendleft(task)

    def _serve(self) -> None:
        """Have workers with room take what waits."""
        while self.waiting and self._with_room:
            worker = self._with_room.popleft()
            worker.listed = False
            self._take(worker)

    # -- workers

    def hire(
        self, number: int, name: str, *, hire_id: str = "", booted: bool = False
    ) -> None:
        """Start a worker, which comes up after its boot, or at once if it is *booted*."""
        worker = Worker(next(self._ids), number, name, hire_id, self.now)
        self.workers[worker.id] = worker
        self.hires += 1
        self.peak = max(self.peak, len(self.workers))
        if booted:
            self._come_up(worker)
        else:
            self.later(self.model.boot, partial(self._come_up, worker))
        if hire_id:
            self.later(LIFETIME, partial(self._expire, worker))

    def _come_up(self, worker: Worker) -> None:
        if worker.stopping:
            return
        worker.up = True
        self.news.append(worker)
        if not self._managed:
            self.consume(worker, True)

    def consume(self, worker: Worker, consumes: bool) -> None:
        """Have a worker take tasks, or no more of them."""
        worker.consuming = consumes
        if consumes:
            self._take(worker)

    def stop(self, worker: Worker) -> None:
        """Send SIGTERM: it finishes what it runs, and is killed when its grace is over."""
        worker.consuming = False
        worker.stopping = True
        if worker.up:
            self.news.append(worker)
        self._give_back(worker, reversed(worker.local))
        worker.local.clear()
        self._serve()
        if worker.running:
            self.later(self.model.grace, partial(self._kill, worker))
        else:
            self.later(self.model.shutdown if worker.up else 0.0, partial(self._end, worker))

    def _expire(self, worker: Worker) -> None:
        if not worker.gone and not worker.stopping:
            self.stop(worker)

    def _kill(self, worker: Worker) -> None:
        if worker.gone or not worker.running:
            return
        self.killed += len(worker.running)
        self.running -= len(worker.running)
        for task in worker.running:
            self._ready_at[task] = self.now
        self._give_back(worker, sorted(worker.running, reverse=True))
        self._end(worker)
        self._serve()

    def _end(self, worker: Worker) -> None:
        worker.gone = True
        worker.consuming = worker.up = False
        self.news.append(worker)
        self._paid += self.now - worker.hired_at
        del self.workers[worker.id]
